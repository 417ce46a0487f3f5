"""A site that clients visit: pages, a repository of git and an echo over WebSocket, over http and https."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import subprocess
import threading
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import trustme
from aiohttp import WSMsgType, web
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests.harness.namespaces import run

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_NAMES: Final = ("127.0.0.1", "::1", "*.site.test", "six.test")
_LIMIT_S: Final = 10.0
_LARGEST_BYTES: Final = 1 << 26
_SCRIPT: Final = """<script>
if (location.pathname !== "/told") {
  const echo = new WebSocket(location.origin.replace("http", "ws") + "/echo");
  echo.onopen = () => echo.send(location.pathname);
  echo.onmessage = (event) => fetch("/told?" + event.data);
}
</script>"""


class Visit(NamedTuple):
    """One request.

    Attributes:
        source: the address that it came from.
        host: its Host header.
        path: with the query.
        agent: its User-Agent header; empty if there is none.
        owner: number of the process that it came from, where the address does not tell it: on ::1; else 0.
    """

    source: str
    host: str
    path: str
    agent: str
    owner: int = 0


class Site:
    """Listens on 127.0.0.1 and ::1, and remembers who came.

    `/echo` sends WebSocket messages back, `/git/…` is for `git`, and every other path is a page that says who
    came. In a browser such a page sends itself its path over WebSocket, and asks for `/told?PATH` when that is back.

    Args:
        folder: for the certificate, and with the repositories in `git/`.

    Attributes:
        http, https: ports, the same at both addresses.
        ca: file with the certificate authority of the https side.
        fingerprint: SHA-256 of its certificate, as browsers write it.
    """

    def __init__(self, folder: Path) -> None:
        self.seen: list[Visit] = []
        self.http = self.https = 0
        self.ca = folder / "ca.pem"
        self._repositories = folder / "git"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca)
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate = authority.issue_cert(*_NAMES)
        certificate.configure_cert(self._tls)
        self.fingerprint = _fingerprint(certificate.cert_chain_pems[0].bytes())
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(_LIMIT_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(_LIMIT_S)
        self._loop.close()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        app = web.Application(client_max_size=_LARGEST_BYTES)
        app.router.add_get("/echo", self._echo)
        app.router.add_route("*", "/git/{path:.*}", self._git)
        app.router.add_get("/{rest:.*}", self._page)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        self.http = await _listen(runner, None)
        self.https = await _listen(runner, self._tls)
        self._ready.set()
        await self._over.wait()
        await runner.cleanup()

    def _saw(self, request: web.Request) -> str:
        assert request.transport is not None
        source, port = request.transport.get_extra_info("peername")[:2]
        owner = _owner(port) if source == "::1" else 0
        self.seen.append(Visit(source, request.host, request.path_qs, request.headers.get("User-Agent", ""), owner))
        return str(source)

    async def _page(self, request: web.Request) -> web.Response:
        return web.Response(text=f"<p id=who>{self._saw(request)}</p>{_SCRIPT}", content_type="text/html")

    async def _echo(self, request: web.Request) -> web.WebSocketResponse:
        self._saw(request)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
        return socket

    async def _git(self, request: web.Request) -> web.Response:
        """Pass a request on to git's own CGI program. Source: git-http-backend(1), RFC 3875."""
        self._saw(request)
        environment = os.environ | {
            "GIT_PROJECT_ROOT": str(self._repositories),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "REMOTE_USER": "anybody",  # without one nobody may push
            "PATH_INFO": f"/{request.match_info['path']}",
            "QUERY_STRING": request.query_string,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
        }
        command, body = ["git", "http-backend"], await request.read()
        done = await asyncio.to_thread(subprocess.run, command, input=body, stdout=subprocess.PIPE, env=environment)
        head, _, answer = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().splitlines())
        return web.Response(body=answer, status=int(fields.pop("Status", "200")[:3]), headers=fields)


def _owner(port: int) -> int:
    """Find the process whose connection over IPv6 on this machine has this port at its end."""
    (pid,) = re.findall(r"pid=([0-9]+),", run("ss", "-6Htnp", f"sport = :{port}"))
    return int(pid)


def _fingerprint(pem: bytes) -> str:
    return x509.load_pem_x509_certificate(pem).fingerprint(hashes.SHA256()).hex(":").upper()


async def _listen(runner: web.AppRunner, tls: ssl.SSLContext | None) -> int:
    """Listen on a free port of 127.0.0.1, and on the same of ::1."""
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    port = int(runner.addresses[-1][1])
    await web.TCPSite(runner, "::1", port, ssl_context=tls).start()
    return port
