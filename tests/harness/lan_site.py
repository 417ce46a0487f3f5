"""A web server, as a process: `/page` is a page, `/go?URL` sends the browser on. Datagrams to its port come back.

python -m tests.harness.lan_site PORT
"""

from __future__ import annotations

import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

_PKTINFO_SPACE = socket.CMSG_SPACE(20)
"""An address of 16 bytes and the number of an interface. Source: RFC 3542, section 6."""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path, _, target = self.path.partition("?")
        self.send_response(302 if path == "/go" else 200)
        if path == "/go":
            self.send_header("Location", unquote(target))
        self.end_headers()
        if path == "/page":
            self.wfile.write(b"a page")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def _echo(port: int) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as door:
        door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        door.bind(("::", port))
        while True:
            data, came_to, _, sender = door.recvmsg(2048, _PKTINFO_SPACE)
            door.sendmsg([data], came_to, 0, sender)  # from the address that was asked


def main(port: int) -> None:
    threading.Thread(target=_echo, args=(port,), daemon=True).start()
    _Server(("::", port), _Handler).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
