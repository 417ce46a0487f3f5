"""An HTTP server that is never the bottleneck: `GET /N` answers with N bytes and closes.

Run as `python -m bench.origin [ADDRESS [PORT]]`; prints its port and stays until its input ends.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

_BLOCK = memoryview(bytes(1 << 20))


class _Answer(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._left = 0
        self._head = b""

    def data_received(self, data: bytes) -> None:
        self._head += data
        if b"\r\n\r\n" not in self._head:
            return
        size = int(self._head.split(b" ", 2)[1][1:])
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % size)
        self._left = size
        self._full = False
        self.resume_writing()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        while self._left and not self._full:
            part = min(self._left, len(_BLOCK))
            self._left -= part
            self._transport.write(_BLOCK[:part])
        if not self._left:
            self._transport.close()


async def _serve(address: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Answer, address, port, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    import uvloop

    given = [*sys.argv[1:3], *("127.0.0.1", "0")[len(sys.argv) - 1 :]]
    uvloop.run(_serve(given[0], int(given[1])))
