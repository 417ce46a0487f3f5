"""The description of the control interface, made of its table of routes.

Source: OpenAPI Specification 3.1.1, whose schemas are those of JSON Schema 2020-12.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_args, get_type_hints

import msgspec

from node.control.access import Who
from node.control.routes import TABLE, Changes
from node.control.shapes import Failure
from node.settings import FIELDS
from node.wallet_orders import WalletOrder

if TYPE_CHECKING:
    from node.control.routes import Route

_REFUSALS: Final = {
    400: "The request has another form.",
    401: "There is no token, or a wrong one.",
    403: "Who asks may not, or asks from elsewhere.",
    408: "The request came too slowly.",
    413: "The request is too large.",
}
_ORDERS: Final = get_args(get_type_hints(WalletOrder)["what"])
_OPEN: Final = Who.NEW_EXTENSION | Who.NEW_PAGE


def describe(version: str) -> dict[str, Any]:
    """Write the description.

    Args:
        version: of this program.
    """
    shapes = list({id(shape): shape for route in TABLE for shape in (route.answer, route.body, Failure)}.values())
    shapes = [shape for shape in shapes if shape is not None and not isinstance(shape, str)]
    schemas, components = msgspec.json.schema_components(shapes, ref_template="#/components/schemas/{name}")
    found = {id(shape): schema for shape, schema in zip(shapes, schemas, strict=True)}
    found[id(Changes)] = _changes()
    paths: dict[str, dict[str, Any]] = {}
    for route in TABLE:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, found)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Macro VPN: the control interface of a node",
            "version": version,
            "description": "On loopback only. See docs/control.md for who may ask, and with which token.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _changes() -> dict[str, Any]:
    """What a change of settings is: every setting may be in it."""
    kinds, _ = msgspec.json.schema_components(list(FIELDS.values()))
    return {
        "type": "object",
        "description": "Settings by their names. docs/settings.md says what each must be.",
        "properties": dict(zip(FIELDS, kinds, strict=True)),
        "minProperties": 1,
        "additionalProperties": False,
    }


def _operation(route: Route, schemas: dict[int, dict[str, Any]]) -> dict[str, Any]:
    callers = [who.name.lower().replace("_", " ") for who in Who if who in route.who and who.name]
    operation: dict[str, Any] = {
        "operationId": route.do.__name__,
        "summary": route.summary,
        "description": f"For: {', '.join(callers)}.",
        "responses": {"200": {"description": "Done.", "content": _content(route.answer, schemas)}},
    }
    failure = {"application/json": {"schema": schemas[id(Failure)]}}
    for status, text in (_REFUSALS | (route.refusals or {})).items():
        operation["responses"][str(status)] = {"description": text, "content": failure}
    if route.body is not None:
        needed = "{what}" not in route.path
        operation["requestBody"] = {"required": needed, "content": _content(route.body, schemas)}
    if "{what}" in route.path:
        schema = {"enum": list(_ORDERS)}
        operation["parameters"] = [{"name": "what", "in": "path", "required": True, "schema": schema}]
    if route.who & _OPEN:
        operation["security"] = []
    return operation


def _content(shape: Any, schemas: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """A shape as JSON, or a media type of which no more is said."""
    if isinstance(shape, str):
        return {shape: {"schema": {"type": "string"}}}
    return {"application/json": {"schema": schemas[id(shape)]}}
