"""A web server, as a process: `/page` is a page, `/go?URL` sends the browser on.

python -m tests.harness.lan_site PORT
"""

from __future__ import annotations

import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


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


if __name__ == "__main__":
    _Server(("::", int(sys.argv[1])), _Handler).serve_forever()
