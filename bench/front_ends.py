"""What stands behind the local port while it is measured, in processes of their own.

`python -m bench.front_ends origin` is the destination: it answers as `Words` say. `python -m bench.front_ends front
PIPE PORT HANDSHAKE_S` is the local port alone, set up as in a node, with a time for handshakes. In place of the tunnel
it has a pipe: `memory` answers in the same process, in pieces as the tunnel's; `tcp` connects to an origin at that
port. Both print a port, and stay until their input ends.
"""

from __future__ import annotations

import asyncio
import gc
import struct
import sys
from typing import TYPE_CHECKING, Final, cast

from core.errors import FlowError, Reason
from node.app import GC_YOUNG
from proxy.direct import DirectFlow
from proxy.front import Front, FrontLimits

if TYPE_CHECKING:
    from core.flow import Buffer, DatagramFlow, Flow, FlowListener, FlowRequest

WORDS: Final = struct.Struct(">cQ")
"""What a client says first: `DOWN` and how many bytes shall come; or `UP` and how many it will send, before one byte
says that all have come."""
DOWN: Final = b"D"
UP: Final = b"U"

PIECE_BYTES: Final = 32752
"""About as much as one message of the tunnel carries."""
WINDOW_BYTES: Final = 1 << 20
_TURN_BYTES: Final = 1 << 18
"""What the pipe delivers before other work gets its turn."""
_BLOCK: Final = memoryview(bytes(1 << 20))


class Words:
    """What a client has said, and what is still to be done for it.

    Attributes:
        to_send: bytes that shall still be sent to it.
    """

    def __init__(self) -> None:
        self._head = b""
        self._to_take = 0
        self.to_send = 0

    def came(self, data: Buffer) -> None:
        """Take bytes of the client's."""
        if len(self._head) < WORDS.size:
            needed = WORDS.size - len(self._head)
            self._head += bytes(data[:needed])
            if len(self._head) < WORDS.size:
                return
            data = data[needed:]
            kind, size = WORDS.unpack(self._head)
            if kind == DOWN:
                self.to_send = size
            else:
                self._to_take = size
        if self._to_take and len(data):
            self._to_take -= len(data)
            self.to_send += not self._to_take


class _Origin(asyncio.BufferedProtocol):
    """The destination's end of a connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._words = Words()
        self._full = False
        self._room = _ROOM

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        self._words.came(self._room[:nbytes])
        self._send()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._send()

    def _send(self) -> None:
        while self._words.to_send and not self._full:
            part = min(self._words.to_send, len(_BLOCK))
            self._words.to_send -= part
            self._transport.write(_BLOCK[:part])


_ROOM: Final = memoryview(bytearray(1 << 18))


class PipeFlow:
    """A flow that ends in this process. Implements `core.flow.Flow`."""

    def __init__(self) -> None:
        self._words = Words()
        self._listener: FlowListener | None = None
        self._window = WINDOW_BYTES
        self._going: asyncio.Handle | None = None

    def attach(self, listener: FlowListener) -> None:
        self._listener = listener
        self._go_on()

    def write(self, data: Buffer) -> bool:
        self._words.came(data)
        self._go_on()
        return True

    def finish(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.flow_eof()
            listener.flow_closed(Reason.DONE)

    def reset(self, reason: Reason) -> None:
        self._listener = None

    def consumed(self, count: int) -> None:
        self._window += count
        self._go_on()

    def _go_on(self) -> None:
        if self._going is None and self._listener is not None and self._words.to_send and self._window > 0:
            self._going = asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        turn = _TURN_BYTES
        while turn > 0 and self._listener is not None and self._words.to_send and self._window > 0:
            part = min(self._words.to_send, PIECE_BYTES, self._window)
            self._words.to_send -= part
            self._window -= part
            turn -= part
            self._listener.flow_data(_BLOCK[:part])
        self._going = None
        self._go_on()


class _MemoryDialer:
    async def dial(self, request: FlowRequest, *, early: bool) -> Flow:
        return PipeFlow()

    async def dial_datagrams(self, isolation: str) -> DatagramFlow:
        raise FlowError(Reason.NOT_ALLOWED)


class _TcpDialer(_MemoryDialer):
    def __init__(self, port: int) -> None:
        self._port = port

    async def dial(self, request: FlowRequest, *, early: bool) -> Flow:
        _, flow = await asyncio.get_running_loop().create_connection(DirectFlow, "127.0.0.1", self._port)
        return flow


async def _until_input_ends(port: int) -> None:
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_YOUNG, 20, 20)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def _origin() -> None:
    server = await asyncio.get_running_loop().create_server(_Origin, "127.0.0.1", 0, backlog=1024)
    await _until_input_ends(server.sockets[0].getsockname()[1])


async def _front(pipe: str, port: int, handshake_s: float) -> None:
    limits = FrontLimits(handshake_s=handshake_s)
    front = Front(_TcpDialer(port) if pipe == "tcp" else _MemoryDialer(), limits=limits)
    await front.start("127.0.0.1", 0)
    await _until_input_ends(front.address[1])


if __name__ == "__main__":
    import uvloop

    what, *rest = sys.argv[1:]
    uvloop.run(_origin() if what == "origin" else _front(rest[0], int(rest[1]), float(rest[2])))
