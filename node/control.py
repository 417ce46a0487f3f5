"""The control interface: how programs on this machine ask a running node, as JSON over HTTP on loopback.

Who may ask: whoever can read the token file. A page in a browser cannot, and is refused twice more: a request that
carries an `Origin`, or names another host than this one (DNS rebinding), gets no answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiohttp import web

from core.errors import MacroVpnError
from node.files import load_token, make_home, write_private
from node.wallet_orders import WalletOrder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

CONTROL_NAME: Final = "control.json"
TOKEN_NAME: Final = "control.token"
TOKEN_BYTES: Final = 32
MAX_BODY_BYTES: Final = 64 << 10
READ_LIMIT_S: Final = 10.0
HOP_LIMIT_S: Final = 30.0
SETTLEMENT_LIMIT_S: Final = 300.0
STOP_LIMIT_S: Final = 1.0
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

type _Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Controlled(Protocol):
    """What a running node tells of itself. Calls come from the event loop and must not block."""

    def status(self) -> dict[str, Any]:
        """State, route and counters of now."""

    def route(self) -> dict[str, Any]:
        """The present circuits."""

    def explain(self) -> dict[str, Any]:
        """The present circuits, and for each hop why it is there."""

    def peers(self) -> dict[str, Any]:
        """The peers that this node knows."""

    def invite(self) -> str:
        """An invite to this node's private network; empty in the public one."""

    def pac(self) -> str:
        """The text of the PAC; empty when this node has no proxy."""

    def request_stop(self) -> float:
        """Begin to stop; return at once.

        Returns:
            For how many seconds at most what runs for others goes on. Asked again, the node does not wait for it.
        """

    async def confirm_trust(self) -> dict[str, Any]:
        """Trust the present network, which looks like a trusted one, until it changes.

        Returns:
            Where this machine stands then.

        Raises:
            MacroVpnError: it does not.
        """

    def reload_trust(self) -> None:
        """Read the trusted networks anew.

        Raises:
            MacroVpnError: the settings cannot be read.
        """

    def rules(self) -> dict[str, Any]:
        """How many rules are obeyed (`count`), and their `digest`."""

    async def reload_rules(self) -> None:
        """Read the rules of the settings file again, and obey them from the next connection on.

        Raises:
            MacroVpnError: the file, or a list that it names, is wrong; the rules stay as they were.
        """

    async def wallet(self) -> dict[str, Any]:
        """What the node holds, paid and earned."""

    async def wallet_do(self, order: WalletOrder) -> dict[str, Any]:
        """Do something with its money.

        Returns:
            What came of it.

        Raises:
            MacroVpnError: it was refused, and nothing was changed.
        """

    async def hop(self) -> None:
        """Change the route: replace the circuits by new ones.

        Raises:
            MacroVpnError: no other path can be built now.
        """


class Control:
    """The server of the control interface.

    Args:
        node: the running node.
        home: its folder; gets `control.token`, and `control.json` while the server is up.
    """

    def __init__(self, node: Controlled, home: Path) -> None:
        self._node = node
        self._home = home
        self._token = ""
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Where it answers, such as `http://127.0.0.1:41081`; valid after `start`."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self, port: int) -> None:
        """Listen, and then write `control.json`.

        Args:
            port: TCP port on 127.0.0.1; 0 for any free one.

        Raises:
            MacroVpnError: the port is taken, or the home cannot be written.
        """
        make_home(self._home)
        try:
            self._token = load_token(self._home / TOKEN_NAME, TOKEN_BYTES)
            self._runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=STOP_LIMIT_S)
            await self._runner.setup()
            await web.TCPSite(self._runner, "127.0.0.1", port).start()
            self._port = self._runner.addresses[0][1]
            self._announce()
        except OSError as error:
            await self.stop()
            raise MacroVpnError(f"The control interface cannot start: {error.strerror}.") from error

    async def stop(self) -> None:
        """Remove `control.json` and stop listening; running answers get a second to finish."""
        if self._port:
            with suppress(FileNotFoundError):
                (self._home / CONTROL_NAME).unlink()
            self._port = 0
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    def _announce(self) -> None:
        facts = {"url": self.url, "token_file": str(self._home / TOKEN_NAME), "pid": os.getpid()}
        write_private(self._home / CONTROL_NAME, json.dumps(facts) + "\n")

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._guard], client_max_size=MAX_BODY_BYTES)
        application.add_routes(
            [
                web.get("/v1/status", self._get_status),
                web.get("/v1/route", self._get_route),
                web.get("/v1/explain", self._get_explain),
                web.get("/v1/peers", self._get_peers),
                web.get("/v1/invite", self._get_invite),
                web.get("/v1/pac", self._get_pac),
                web.post("/v1/hop", self._post_hop),
                web.post("/v1/trust/confirm", self._post_confirm),
                web.post("/v1/trust/reload", self._post_reload),
                web.get("/v1/rules", self._get_rules),
                web.post("/v1/rules", self._post_rules),
                web.get("/v1/wallet", self._get_wallet),
                web.post("/v1/wallet/{what}", self._post_wallet),
                web.post("/v1/stop", self._post_stop),
            ]
        )
        return application

    # -- who may ask

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        try:
            if request.can_read_body:
                async with asyncio.timeout(READ_LIMIT_S):
                    await request.read()
            return await handler(request)
        except TimeoutError:
            return _error(408, "The request took too long.")
        except web.HTTPRequestEntityTooLarge:
            return _error(413, f"A request's body may have {MAX_BODY_BYTES} bytes.")
        except web.HTTPNotFound:
            return _error(404, "There is nothing at this path.")
        except web.HTTPMethodNotAllowed as error:
            return _error(405, f"This path answers {' and '.join(sorted(error.allowed_methods))}.")

    def _refusal(self, request: web.Request) -> web.Response | None:
        if request.headers.getall("Host", []) not in ([f"127.0.0.1:{self._port}"], [f"localhost:{self._port}"]):
            return _error(403, "The Host header names another host.")
        if "Origin" in request.headers:
            return _error(403, "Requests from web pages are refused.")
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not secrets.compare_digest(token.encode(), self._token.encode()):
            refused = _error(401, "The token is missing or wrong; it stands in the token file.")
            refused.headers["WWW-Authenticate"] = "Bearer"
            return refused
        return None

    # -- what is answered

    async def _get_status(self, request: web.Request) -> web.Response:
        return _json(self._node.status())

    async def _get_route(self, request: web.Request) -> web.Response:
        return _json(self._node.route())

    async def _get_explain(self, request: web.Request) -> web.Response:
        return _json(self._node.explain())

    async def _get_peers(self, request: web.Request) -> web.Response:
        return _json(self._node.peers())

    async def _get_invite(self, request: web.Request) -> web.Response:
        text = self._node.invite()
        if not text:
            return _error(404, "This node is in the public network, to which nobody is invited.")
        return _json({"invite": text})

    async def _get_pac(self, request: web.Request) -> web.Response:
        text = self._node.pac()
        if not text:
            return _error(404, "This node has no proxy, so it has no PAC.")
        return web.Response(text=text, content_type="application/x-ns-proxy-autoconfig", headers=_HEADERS)

    async def _post_hop(self, request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(HOP_LIMIT_S):
                await self._node.hop()
        except MacroVpnError as error:
            return _error(409, str(error))
        return _json(self._node.route())

    async def _post_confirm(self, request: web.Request) -> web.Response:
        try:
            return _json(await self._node.confirm_trust())
        except MacroVpnError as error:
            return _error(409, str(error))

    async def _post_reload(self, request: web.Request) -> web.Response:
        try:
            self._node.reload_trust()
        except MacroVpnError as error:
            return _error(409, str(error))
        return _json({"reloaded": True})

    async def _get_rules(self, request: web.Request) -> web.Response:
        return _json(self._node.rules())

    async def _post_rules(self, request: web.Request) -> web.Response:
        try:
            await self._node.reload_rules()
        except MacroVpnError as error:
            return _error(409, str(error))
        return _json(self._node.rules())

    async def _get_wallet(self, request: web.Request) -> web.Response:
        return _json(await self._node.wallet())

    async def _post_wallet(self, request: web.Request) -> web.Response:
        try:
            order = WalletOrder.read(request.match_info["what"], await request.read())
        except ValueError as error:
            return _error(400, str(error))
        try:
            async with asyncio.timeout(SETTLEMENT_LIMIT_S):
                return _json(await self._node.wallet_do(order))
        except TimeoutError:
            return _error(504, "The settlement did not answer in time; what was asked may still happen.")
        except MacroVpnError as error:
            return _error(409, str(error))

    async def _post_stop(self, request: web.Request) -> web.Response:
        return _json({"stopping": True, "drain_s": self._node.request_stop()})


def _json(value: dict[str, Any], status: int = 200) -> web.Response:
    return web.json_response(value, status=status, headers=_HEADERS)


def _error(status: int, sentence: str) -> web.Response:
    return _json({"error": sentence}, status)
