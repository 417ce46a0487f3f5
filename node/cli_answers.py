"""Which command prints what with `--json`: one table, out of which `node/schemas/` is written.

`python -m scripts.write_commands` writes the schemas and `docs/commands.md`, and tests hold real answers against them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from node import cli_shapes as own
from node.control import shapes as control


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command prints.

    Args:
        shape: of the object.
        when: which call prints this one, where there are several.
        lines: there may be many, a line each.
    """

    shape: Any
    when: str = ""
    lines: bool = False


ANSWERS: Final[dict[str, tuple[Answer, ...]]] = {
    "status": (
        Answer(own.Status),
        Answer(own.StatusEvent, "with `--watch`", lines=True),
        Answer(own.SecondEvent, "with `--watch`, every second", lines=True),
    ),
    "hop": (Answer(control.Route),),
    "pac": (Answer(own.Pac),),
    "demo": (Answer(own.Demo),),
    "up": (Answer(own.Started),),
    "down": (Answer(own.Stopped),),
    "on": (Answer(own.Switched),),
    "off": (Answer(own.Switched),),
    "env": (Answer(own.Env),),
    "share": (Answer(own.Started, "first"), Answer(own.SharingChange, "then, in the foreground", lines=True)),
    "network create": (Answer(own.NetworkInvite),),
    "network join": (Answer(own.Joined),),
    "network invite": (Answer(own.NetworkInvite),),
    "network list": (Answer(own.Networks),),
    "network leave": (Answer(own.Left),),
    "route": (Answer(control.Route), Answer(control.ExplainedRoute, "with `--explain`")),
    "peers": (Answer(control.Peers),),
    "bypass add": (Answer(own.Added),),
    "bypass remove": (Answer(own.Removed),),
    "bypass list": (Answer(control.Bypass),),
    "bypass import": (Answer(own.Imported),),
    "bypass test": (Answer(own.Examined),),
    "trust list": (Answer(own.TrustedNetworks),),
    "trust add": (Answer(own.TrustedRow),),
    "trust remove": (Answer(own.Left),),
    "trust confirm": (Answer(control.Trust),),
    "trust here": (Answer(own.Here),),
    "wallet": (Answer(control.Wallet),),
    "wallet claim": (Answer(own.Claimed),),
    "wallet close": (Answer(own.Closing),),
    "wallet cap": (Answer(own.Cap),),
    "wallet deposit": (Answer(own.Deposited),),
    "wallet export": (Answer(own.Exported),),
    "wallet books": (Answer(own.Books),),
    "config list": (Answer(own.Settings),),
    "config get": (Answer(own.OneSetting),),
    "config set": (Answer(own.SetSetting),),
    "service install": (Answer(own.Installed),),
    "service remove": (Answer(own.Uninstalled),),
    "service status": (Answer(own.Service),),
    "doctor": (Answer(own.Findings),),
    "pair": (Answer(control.GivenCode), Answer(own.Pairings, "with `--list` or `--revoke`")),
    "dashboard": (Answer(own.Url),),
    "completion": (Answer(own.Completion),),
}


def schema_of(command: str) -> dict[str, Any]:
    """Write the JSON Schema (2020-12) of what a command prints; of each line, where there are several.

    Args:
        command: its words, such as `bypass add`.
    """
    kinds, components = msgspec.json.schema_components(
        [answer.shape for answer in ANSWERS[command]], ref_template="#/$defs/{name}"
    )
    for shape in components.values():
        if (event := shape["properties"].get("event")) is not None:
            event["description"] = "what the line is about"
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"macrovpn {command} --json",
        **(kinds[0] if len(kinds) == 1 else {"anyOf": list(kinds)}),
        "$defs": components,
    }
