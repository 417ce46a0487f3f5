"""What the extension sees of a node: its control interface and its proxy, played by a test."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

from aiohttp import web

from pac.pac import build_pac
from pac.rules import RuleSet, parse_rules

if TYPE_CHECKING:
    from types import TracebackType

TOKEN: Final = "a-token-of-forty-characters-0123456789ab"
ID: Final = "3f9a"
SECRET: Final = "K7QF-2M9X"
THROUGH: Final = "came through the proxy"
DIRECTLY: Final = "came directly"


class FakeNode:
    """A node that says what a test wants.

    Attributes:
        status: what it tells of itself.
        rules: what it bypasses.
        regions: what `/v1/regions` answers.
        places: where guard, relay and exit are.
        revoked: it does not know the token any more.
        genuine: it is the node, and no other program at its port.
        calls: what was asked: method, path and body.
        origins: who asked, if that was said.
        shown: what stood in `Authorization`; emptied at each start.
        asked: what the proxy was asked for.
        site_port: of a site that is reached directly.
    """

    def __init__(self) -> None:
        self.status: dict[str, Any] = {
            "state": "up",
            "reason": "",
            "exit_region": "NL",
            "direct_because": "",
            "money": {"price_per_gb": 2_500, "spent": 1_200_000},
        }
        self.rules = ["local.test"]
        self.regions = [{"region": "NL", "exits": 3, "wanted": False}, {"region": "DE", "exits": 1, "wanted": False}]
        self.places = ["DE", "US-CA", "NL"]
        self.revoked = False
        self.genuine = True
        self.calls: list[tuple[str, str, Any]] = []
        self.origins: set[str] = set()
        self.shown: set[str] = set()
        self.asked: list[str] = []
        self.port = 0
        self.site_port = 0
        self._servers: list[asyncio.Server] = []
        self._runner: web.AppRunner | None = None

    @property
    def code(self) -> str:
        """What `macrovpn pair` would print."""
        return f"{self.port}-{SECRET}"

    async def start(self, port: int = 0, proxy_port: int = 0) -> None:
        """Listen; port 0: any free one."""
        self.shown.clear()
        proxy = await asyncio.start_server(partial(self._serve, THROUGH), "127.0.0.1", proxy_port)
        site = await asyncio.start_server(partial(self._serve, DIRECTLY), "127.0.0.1", self.site_port)
        self._servers = [proxy, site]
        ports = [server.sockets[0].getsockname()[1] for server in self._servers]
        self.status["proxy"], self.site_port = f"127.0.0.1:{ports[0]}", ports[1]
        application = web.Application()
        application.router.add_route("*", "/v1/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Be gone."""
        for server in self._servers:
            server.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def again(self) -> None:
        """Be back, where it was."""
        await self.start(self.port, int(self.status["proxy"].rpartition(":")[2]))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path, body = request.match_info["path"], await request.read()
        given: Any = json.loads(body) if body else None
        self.calls.append((request.method, path, given))
        self.origins.add(request.headers.get("Origin", ""))
        self.shown.add(request.headers.get("Authorization", ""))
        if path == "pair":
            if not str(given["code"]).endswith(SECRET):
                return web.json_response({"error": "This code is wrong, used or too old."}, status=403)
            return web.json_response({"id": ID, "token": TOKEN})
        if path == "hello":
            return self._hello(given)
        if self.revoked or request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"error": "The token is missing or wrong."}, status=401)
        if path == "pac":
            return web.Response(text=build_pac(self._rules, self.status["proxy"]))
        if path == "events":
            return await self._events(request)
        if path == "bypass" and request.method == "POST":
            self.rules.append(given["rule"])
        if path == "bypass" and request.method == "DELETE":
            self.rules.remove(given["rule"])
        return web.json_response(self._value(path))

    @property
    def _rules(self) -> RuleSet:
        return RuleSet(parse_rules(self.rules))

    def _value(self, path: str) -> dict[str, Any]:
        hops = zip(("guard", "relay", "exit"), self.places, (None, None, 41.3), strict=True)
        shown = [{"role": role, "region": region, "rtt_ms": rtt_ms} for role, region, rtt_ms in hops]
        values: dict[str, dict[str, Any]] = {
            "status": self.status,
            "rules": {"count": len(self.rules), "digest": self._rules.digest},
            "route": {"circuits": [{"flows": 0, "hops": shown[:1]}, {"flows": 2, "hops": shown}]},
            "regions": {"regions": self.regions},
            "bypass": {"rules": [{"rule": rule, "source": "your rules"} for rule in self.rules]},
            "settings": {"applied": ["tunnel.regions"], "for_new": [], "after_restart": []},
            "hop": {"circuits": []},
            "on": self.status,
        }
        return values[path]

    def _hello(self, given: dict[str, str]) -> web.Response:
        if self.revoked or given["id"] != ID:
            return web.json_response({"error": "This node knows no such pairing."}, status=404)
        key = hashlib.sha256((TOKEN if self.genuine else "guessed").encode()).digest()
        proof = hmac.digest(key, f"{self.port}:{given['nonce']}".encode(), "sha256").hex()
        return web.json_response({"proof": proof})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        second = {"forth_bytes_s": 1_500, "back_bytes_s": 2_340_000}
        with suppress(ConnectionError):
            await response.write(f"event: status\ndata: {json.dumps(self.status)}\n\n".encode())
            await response.write(f"event: second\ndata: {json.dumps(second)}\n\n".encode())
            await asyncio.Event().wait()
        return response

    async def _serve(self, how: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer plain requests as any site would; refuse tunnels."""
        with suppress(OSError, asyncio.IncompleteReadError):
            if (
                first := await reader.readexactly(1)
            ) == b"\5":  # SOCKS5: a name to connect to; Chromium's second attempt
                await reader.readexactly(2)
                writer.write(b"\5\0")
                request = await reader.readexactly(5)
                await reader.readexactly(request[4] + 2)
                writer.write(b"\5\0\0\1" + bytes(6))
                first = b""
            head = first + await reader.readuntil(b"\r\n\r\n")
            if how == THROUGH:
                self.asked.append(head.split()[1].decode())
            if head.startswith(b"CONNECT"):
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            else:
                page = f"<title>site</title><p>{how}".encode()
                answer = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(page)}\r\n"
                writer.write(f"{answer}Connection: close\r\n\r\n".encode() + page)
            await writer.drain()
        writer.close()
