"""The server of the control interface: one address on loopback, a token file, and a file that says where it is."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from contextlib import suppress
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from core.errors import MacroVpnError
from core.fault import place
from node.control.access import FOREIGN, Access, Denial, Who
from node.control.files import HEADERS as FILE_HEADERS
from node.control.files import dashboard, may_have, read_files
from node.control.openapi import describe
from node.control.pairing import Pairings
from node.control.refused import RefusedError
from node.control.routes import HEADERS, TABLE, Asked, Desk
from node.files import load_token, make_home, write_private

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from importlib.resources.abc import Traversable
    from pathlib import Path

    from aiohttp.base_protocol import BaseProtocol
    from aiohttp.typedefs import Middleware

    from node.control.access import Caller
    from node.control.controlled import Controlled
    from node.control.events import Events
    from node.control.routes import Route

CONTROL_NAME: Final = "control.json"
TOKEN_NAME: Final = "control.token"
PORT_NAME: Final = "control.port"
TOKEN_BYTES: Final = 32
MAX_BODY_BYTES: Final = 64 << 10
READ_LIMIT_S: Final = 10.0
STOP_LIMIT_S: Final = 1.0
MAX_CONNECTIONS: Final = 256
"""A browser opens six to a host. One more costs the oldest on which nothing is being answered its place, so that who
only holds connections, or sends no end of a header, keeps nobody out."""
_ANYBODY: Final = Who.PROGRAM | Who.EXTENSION | Who.PAGE

_log = logging.getLogger(__name__)

type _Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Control:
    """The server of the control interface.

    Args:
        node: the running node.
        home: its folder; gets `control.token`, `control.port` and `pairings`, and `control.json` while the server is
            up.
        folder: of the dashboard; None for the one that is shipped.
    """

    def __init__(self, node: Controlled, home: Path, folder: Traversable | None = None) -> None:
        self._node = node
        self._home = home
        self._files = read_files(dashboard() if folder is None else folder)
        self._access: Access | None = None
        self._desk: Desk | None = None
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._answering: set[BaseProtocol] = set()
        self._port = 0

    @property
    def url(self) -> str:
        """Where it answers, such as `http://127.0.0.1:41081`; valid after `start`."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def events(self) -> Events:
        """Who listens; valid after `start`."""
        assert self._desk is not None
        return self._desk.events

    async def start(self, port: int) -> None:
        """Listen, and then write `control.json`.

        Args:
            port: TCP port on 127.0.0.1; 0 for the one used last, so that browsers find it again, or else any free one.

        Raises:
            MacroVpnError: the port is taken, or the home cannot be written.
        """
        make_home(self._home)
        try:
            token = load_token(self._home / TOKEN_NAME, TOKEN_BYTES)
            self._access = Access(Pairings(self._home))
            self._desk = Desk(self._node, self._home, self._access, lambda: describe(_version()))
            self._runner = web.AppRunner(
                self._application(self._access, self._desk), access_log=None, shutdown_timeout=STOP_LIMIT_S
            )
            await self._runner.setup()
            self._server = await self._listen(port)
            self._port = int(self._server.sockets[0].getsockname()[1])
            self._access.open(token, self._port)
            self._announce()
        except OSError as error:
            await self.stop()
            raise MacroVpnError(f"The control interface cannot start: {error.strerror}.") from error

    async def _listen(self, port: int) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        if not port and (last := self._last_port()):
            with suppress(OSError):
                return await loop.create_server(self._connection, "127.0.0.1", last)
        return await loop.create_server(self._connection, "127.0.0.1", port)

    def _connection(self) -> asyncio.Protocol:
        server = self._runner.server if self._runner is not None else None
        if server is None:
            return _Full()
        there = [connection for connection in server.connections if connection.transport is not None]
        if len(there) >= MAX_CONNECTIONS:
            idle = next((connection for connection in there if connection not in self._answering), None)
            if idle is None:
                return _Full()
            idle.force_close()
        return server()

    def _last_port(self) -> int:
        with suppress(OSError, ValueError):
            port = int((self._home / PORT_NAME).read_text(encoding="ascii"))
            return port if 0 < port < 1 << 16 else 0
        return 0

    async def stop(self) -> None:
        """Remove `control.json` and stop listening; running answers get a second to finish."""
        if self._port:
            with suppress(FileNotFoundError):
                (self._home / CONTROL_NAME).unlink()
            self._port = 0
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._desk is not None:
            await self._desk.events.close()
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    def _announce(self) -> None:
        facts = {"url": self.url, "token_file": str(self._home / TOKEN_NAME), "pid": os.getpid()}
        write_private(self._home / PORT_NAME, f"{self._port}\n")
        write_private(self._home / CONTROL_NAME, json.dumps(facts) + "\n")

    # -- from request to answer

    def _application(self, access: Access, desk: Desk) -> web.Application:
        guards = [_busy(self._answering), _guard(access)]
        application = web.Application(middlewares=guards, client_max_size=MAX_BODY_BYTES)
        for route in TABLE:
            application.router.add_route(route.method, route.path, _answering(route, access, desk))
        for path, file in self._files.items():
            application.router.add_route("GET", path, _giving(file, access))
        return application


class _Full(asyncio.Protocol):
    """A connection for which there is no room."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


def _busy(answering: set[BaseProtocol]) -> Middleware:
    """Note the connections on which something is being answered."""

    @web.middleware
    async def busy(request: web.Request, handler: _Handler) -> web.StreamResponse:
        answering.add(request.protocol)
        try:
            return await handler(request)
        finally:
            answering.discard(request.protocol)

    return busy


def _guard(access: Access) -> Middleware:
    """Turn what goes wrong into answers, and tell strangers nothing, not even what there is."""

    @web.middleware
    async def guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
        try:
            if request.match_info.http_exception is not None:
                _admit(access.caller(request, _ANYBODY))
            return await handler(request)
        except web.HTTPRequestEntityTooLarge:
            return _error(413, f"A request's body may have {MAX_BODY_BYTES} bytes.")
        except (web.RequestPayloadError, HttpProcessingError):
            return _error(400, "The body of the request is no HTTP.")
        except web.HTTPNotFound:
            return _error(404, "There is nothing at this path.")
        except web.HTTPMethodNotAllowed as error:
            methods = sorted(error.allowed_methods)
            answer = _error(405, f"This path answers {' and '.join(methods)}.")
            answer.headers["Allow"] = ", ".join(methods)
            return answer
        except RefusedError as error:
            return _error(error.status, str(error))
        except MacroVpnError as error:
            return _error(409, str(error))
        except ConnectionError:
            raise  # who asked is gone
        except Exception as error:
            _log.error("the control interface failed: %s", place(error))
            return _error(500, "The node has made a mistake, which its log names.")

    return guard


def _admit(caller: Caller | Denial) -> Caller:
    if isinstance(caller, Denial):
        raise RefusedError(caller.status, caller.sentence)
    return caller


def _answering(route: Route, access: Access, desk: Desk) -> _Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        caller = _admit(access.caller(request, route.who))
        found = await route.do(desk, Asked(request, caller, await _body(request, route.body)))
        return found if isinstance(found, web.StreamResponse) else _json(found)

    return answer


async def _body(request: web.Request, shape: Any) -> Any:
    """Read what came with a request, as its route wants it; a missing one is an empty object."""
    try:
        async with asyncio.timeout(READ_LIMIT_S):
            text = await request.read()
    except TimeoutError as error:
        raise RefusedError(408, "The request took too long.") from error
    return None if shape is None else read_body(text, shape)


def read_body(text: bytes, shape: Any) -> Any:
    """Read what came with a request.

    Args:
        text: JSON; none at all is an empty object.
        shape: what it must be.

    Raises:
        RefusedError: it is something else.
    """
    try:
        return msgspec.json.decode(text or b"{}", type=shape)
    except msgspec.ValidationError as error:
        raise RefusedError(400, f"The body has another form than it must: {error}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(400, "The body must be a JSON object.") from error


def _giving(file: tuple[str, bytes], access: Access) -> _Handler:
    kind, content = file

    async def give(request: web.Request) -> web.StreamResponse:
        if isinstance(origin := access.origin_of(request), Denial):
            _admit(origin)
        if not may_have(request.headers):
            _admit(FOREIGN)
        return web.Response(body=content, content_type=kind, charset=_charset(kind), headers=HEADERS | FILE_HEADERS)

    return give


def _charset(kind: str) -> str | None:
    return None if kind.startswith(("image/", "font/")) else "utf-8"


def _json(value: dict[str, Any], status: int = 200) -> web.Response:
    headers = HEADERS | ({"WWW-Authenticate": "Bearer"} if status == 401 else {})
    return web.json_response(value, status=status, headers=headers)


def _error(status: int, sentence: str) -> web.Response:
    return _json({"error": sentence}, status)


def _version() -> str:
    try:
        return metadata.version("macro-vpn")
    except metadata.PackageNotFoundError:
        return "0"
