"""An HTTP and HTTPS server and a name server on loopback, in threads, that remember who came."""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import trustme

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

_BLOCK = bytes(range(256)) * 4096


def content(size: int) -> bytes:
    """The body of `/bytes/SIZE`."""
    whole, rest = divmod(size, len(_BLOCK))
    return _BLOCK * whole + _BLOCK[:rest]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.owner.saw(self.client_address[0], "")

    def do_GET(self) -> None:
        self.server.owner.saw(self.client_address[0], self.headers.get("Host", ""))
        size = int(self.path.removeprefix("/bytes/")) if self.path.startswith("/bytes/") else 0
        body = None if size else f"<title>origin</title><p id=who>{self.client_address[0]}</p>{self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream" if size else "text/html")
        self.send_header("Content-Length", str(size or len(body or b"")))
        self.end_headers()
        if body is not None:
            self.wfile.write(body)
            return
        for at in range(0, size, len(_BLOCK)):
            self.wfile.write(_BLOCK[: size - at])

    def do_POST(self) -> None:
        self.server.owner.saw(self.client_address[0], self.headers.get("Host", ""))
        state, left = hashlib.sha256(), int(self.headers["Content-Length"])
        while left:
            part = self.rfile.read(min(left, 1 << 18))
            if not part:
                return
            left -= len(part)
            state.update(part)
        answer = state.hexdigest().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024
    owner: Origin

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error."""


class Origin:
    """The destination of the tests.

    Attributes:
        http, https: ports.
        seen: (source address, Host header) of every connection (empty header) and request.
        ca: file with the certificate authority of the HTTPS side.

    Args:
        folder: for the certificate.
        host: the loopback address to listen on.
    """

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        self._host = host
        self.seen: list[tuple[str, str]] = []
        self.ca = folder / "ca.pem"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1", "site.test", "direct.test", "www.site.test").configure_cert(context)
        self._servers = [self._server(None), self._server(context)]
        self.http, self.https = (server.server_address[1] for server in self._servers)

    def _server(self, context: ssl.SSLContext | None) -> _Server:
        server = _Server((self._host, 0), _Handler)
        server.owner = self
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server

    def saw(self, address: str, host: str) -> None:
        self.seen.append((address, host))

    def __enter__(self) -> Origin:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


class NameServer:
    """Answers A queries for `*.test` with one address, and nothing else. `held.*` is never answered.

    Args:
        address: for those names.
        others: for other names, the address that each look-up finds, the last one again and again.
    """

    def __init__(self, address: str = "127.0.0.1", others: Mapping[str, Sequence[str]] | None = None) -> None:
        self._address = address
        self._others = {name: list(addresses) for name, addresses in (others or {}).items()}
        self.asked: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            data, address = self._socket.recvfrom(2048)
            if data == b"stop":
                return
            query = dns.message.from_wire(data)
            answer = dns.message.make_response(query)
            question = query.question[0]
            name = question.name.to_text(omit_final_dot=True)
            self.asked.append(name)
            if name.startswith("held."):
                continue
            if name in self._others:
                left = self._others[name]
                kind = dns.rdatatype.AAAA if ":" in left[0] else dns.rdatatype.A
                if question.rdtype == kind:
                    address_found = left.pop(0) if len(left) > 1 else left[0]
                    answer.answer.append(dns.rrset.from_text(question.name, 1, "IN", kind, address_found))
            elif not name.endswith(".test") or name.startswith("missing."):
                answer.set_rcode(dns.rcode.NXDOMAIN)
            elif question.rdtype == dns.rdatatype.A:
                answer.answer.append(dns.rrset.from_text(question.name, 1, "IN", "A", self._address))
            self._socket.sendto(answer.to_wire(), address)

    def __enter__(self) -> NameServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stopper:
            stopper.sendto(b"stop", self._socket.getsockname())
        self._thread.join(5)
        self._socket.close()


class DatagramEcho:
    """Sends every datagram back, and remembers from where and what it got.

    Args:
        host: the loopback address to listen on.
        port: where; 0 for any free port.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.got: list[tuple[str, bytes]] = []
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, port))
        self.port: int = self._socket.getsockname()[1]
        self._over = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._over:
            data, address = self._socket.recvfrom(1 << 16)
            self.got.append((address[0], data))
            self._socket.sendto(data, address)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        with socket.socket(self._socket.family, socket.SOCK_DGRAM) as stopper:
            stopper.sendto(b"", self._socket.getsockname())
        self._thread.join(5)
        self._socket.close()
