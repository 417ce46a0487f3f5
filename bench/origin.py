"""An HTTP server that is never the bottleneck: `GET /N` answers with N bytes and closes.

`GET /N/M` does so with a send buffer of about M bytes, for those of whom thousands read nothing: the kernel gives each
connection up to 4 MB, and all of the machine together 2.4 GB here (tcp(7), tcp_wmem and tcp_mem).

Run as `python -m bench.origin [ADDRESS [PORT]]`; prints its port and stays until its input ends.
"""

from __future__ import annotations

import asyncio
import socket
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
        size, *buffer = (int(text) for text in self._head.split(b" ", 2)[1][1:].split(b"/"))
        if buffer:
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer[0])
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
