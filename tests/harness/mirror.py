"""A web server that answers with the address from which it is asked, and writes the same into a file.

    python -m tests.harness.mirror PORT LOG

`/hold` is answered, too, and then a dot a tenth of a second, until the asker is gone.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        asker = self.client_address[0]
        with _log.open("a") as file:
            file.write(f"{asker}\n")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(asker.encode())
        with suppress(OSError):
            while self.path == "/hold":
                self.wfile.write(b".")
                time.sleep(0.1)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


if __name__ == "__main__":
    _log = Path(sys.argv[2])
    ThreadingHTTPServer(("", int(sys.argv[1])), _Handler).serve_forever()
