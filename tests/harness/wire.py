"""An engine without packets: connections in memory that a test can hold back, cut, and tamper with."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from core.errors import LinkError, Reason
from tunnel.limits import MAX_DATAGRAM

if TYPE_CHECKING:
    from collections.abc import Callable

    from tunnel.engines.seam import Address, Connection, ConnectionHandler

    type Tamper = Callable[[int, bytes], bytes]

HOME = "127.0.0.1"
"""The host that who is dialled sees."""

DATAGRAM = -1
HELD_DATAGRAMS = 64
"""How many a stalled connection takes."""


class WireConnection:
    """One end of a connection in memory. See `tunnel.engines.seam.Connection`.

    `stalled`: what is written waits here instead of going out, as with a neighbour that takes nothing.
    `deaf`: what arrives is lost.
    `mute`: what is sent is lost; with `deaf`, it is as if the process hangs.
    `tamper`: sees the bytes of each write on their way and returns what shall arrive instead; a datagram's are shown
    with `DATAGRAM` for a stream number.
    `lose`: sees each datagram and says whether it gets lost.
    `delay_s`: how long everything that is sent takes to arrive; not to be lowered.
    `peer_address`: where the other end seems to be.
    """

    other: WireConnection

    def __init__(self, *, dialled: bool) -> None:
        self.handler: ConnectionHandler | None = None
        self.dialled = dialled
        self.over = False
        self.stalled = False
        self.deaf = False
        self.mute = False
        self.delay_s = 0.0
        self.peer_address: Address | None = ("127.0.0.1", 1)
        self.tamper: Tamper | None = None
        self.lose: Callable[[bytes], bool] = lambda data: False
        self.datagrams: list[bytes] = []
        self.written: list[tuple[int, bytes]] = []
        self.ended: list[int] = []
        self.resets: list[int] = []
        self._held: dict[int, deque[tuple[bytes, bool]]] = {}
        self._held_datagrams: deque[bytes] = deque()
        self._under_way: deque[Callable[[], None]] = deque()
        self._next = 0 if dialled else 1

    def open_stream(self) -> int:
        self._next += 4
        return self._next - 4

    def write(self, stream: int, data: bytes, end: bool = False) -> bool:
        if self.over or self.mute:
            return True
        if self.stalled:
            self._held.setdefault(stream, deque()).append((data, end))
            return False
        self._pass(stream, data, end)
        return True

    def _pass(self, stream: int, data: bytes, end: bool) -> None:
        if len(data) and self.tamper is not None:
            data = self.tamper(stream, data)
        self.written.append((stream, data))
        if end:
            self.ended.append(stream)
        self._soon(self.other._received, stream, data, end)

    @property
    def datagram_room(self) -> int:
        return MAX_DATAGRAM

    def send_datagram(self, data: bytes) -> bool:
        if self.over or len(data) > MAX_DATAGRAM:
            return False
        if not self.stalled:
            self._pass_datagram(data)
        elif len(self._held_datagrams) < HELD_DATAGRAMS:
            self._held_datagrams.append(data)
        else:
            return False
        return True

    def _pass_datagram(self, data: bytes) -> None:
        self.datagrams.append(data)
        if self.lose(data):
            return
        if self.tamper is not None:
            data = self.tamper(DATAGRAM, data)
        self._soon(self.other._got_datagram, data)

    def go_on(self) -> None:
        """Let out what is held back, and tell the owner."""
        self.stalled = False
        while self._held_datagrams:
            self._pass_datagram(self._held_datagrams.popleft())
        held, self._held = self._held, {}
        for stream, parts in held.items():
            for data, end in parts:
                self._pass(stream, data, end)
            if self.handler is not None:
                self._soon(self.handler.stream_drained, stream)

    def queued(self, stream: int) -> int:
        return sum(len(data) for data, _ in self._held.get(stream, ()))

    def unsent(self, stream: int) -> int:
        return self.queued(stream)

    @property
    def queued_bytes(self) -> int:
        return sum(self.queued(stream) for stream in self._held)

    def drop(self, stream: int) -> int:
        held = self._held.pop(stream, deque())
        if any(end for _, end in held):
            self._held[stream] = deque([(b"", True)])
        return sum(len(data) for data, _ in held)

    def reset(self, stream: int) -> None:
        self._held.pop(stream, None)
        if not self.over and not self.mute:
            self.resets.append(stream)
            self._soon(self.other._was_reset, stream)

    def close(self) -> None:
        if not self.over:
            if not self.mute:
                self._soon(self.other._was_closed)
            self._end()

    # -- what arrives

    def _soon(self, call: Callable[..., None], *args: Any) -> None:
        loop = asyncio.get_running_loop()
        if not self.delay_s:
            loop.call_soon(call, *args)
            return
        self._under_way.append(partial(call, *args))  # timers of one moment come in any order
        loop.call_later(self.delay_s, self._arrive)

    def _arrive(self) -> None:
        self._under_way.popleft()()

    def _received(self, stream: int, data: bytes, end: bool) -> None:
        if self.handler is not None and not self.over and not self.deaf:
            self.handler.stream_received(stream, memoryview(data), end)

    def _got_datagram(self, data: bytes) -> None:
        if self.handler is not None and not self.over and not self.deaf:
            self.handler.datagram_received(memoryview(data))

    def _was_reset(self, stream: int) -> None:
        if self.handler is not None and not self.over and not self.deaf:
            self.handler.stream_reset(stream)

    def _was_closed(self) -> None:
        if not self.over and not self.deaf:
            self._end()

    def _end(self) -> None:
        self.over = True
        if self.handler is not None:
            self.handler.connection_closed()

    # -- for tests that play the neighbour

    def sent_on(self, stream: int) -> bytes:
        """All bytes that went out on a stream."""
        return b"".join(data for number, data in self.written if number == stream)


def wire() -> tuple[WireConnection, WireConnection]:
    """Two joined ends: the dialling one, and the other."""
    near, far = WireConnection(dialled=True), WireConnection(dialled=False)
    near.other, far.other = far, near
    return near, far


class Board:
    """Where engines in memory find each other by port.

    Args:
        delay_s: from one to another, on every connection.
    """

    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self.engines: dict[int, WireEngine] = {}

    def engine(self) -> WireEngine:
        return WireEngine(self)


class WireEngine:
    """See `tunnel.engines.seam.Engine`. `connections` holds its ends, in the order in which they were made.

    `hung`: nobody answers a dial, as with a process that hangs.
    """

    name = "wire"

    def __init__(self, board: Board) -> None:
        self._board = board
        self._accept: Callable[[Connection], ConnectionHandler] | None = None
        self._port = 0
        self.connections: list[WireConnection] = []
        self.dialled: list[Address] = []
        self.hung = False

    async def listen(self, port: int, accept: Callable[[Connection], ConnectionHandler]) -> int:
        self._port = port or len(self._board.engines) + 1
        self._board.engines[self._port] = self
        self._accept = accept
        return self._port

    async def dial(
        self, address: Address, handle: Callable[[Connection], ConnectionHandler], timeout_s: float
    ) -> Connection:
        self.dialled.append(address)
        other = self._board.engines.get(address[1])
        if self._accept is None or other is None or other._accept is None:
            raise LinkError(Reason.NEXT_HOP)
        if other.hung:
            await asyncio.sleep(timeout_s)
            raise LinkError(Reason.NEXT_HOP)
        near, far = wire()
        near.delay_s = far.delay_s = self._board.delay_s
        near.peer_address, far.peer_address = address, (HOME, self._port)
        self.connections.append(near)
        other.connections.append(far)
        far.handler = other._accept(far)
        near.handler = handle(near)
        await asyncio.sleep(0)
        return near

    async def close(self) -> None:
        self._accept = None
        for connection in self.connections:
            connection.close()
