"""A man in the middle of QUIC: he ends TLS towards both sides with real engines, and has every byte in his hands."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from core.errors import LinkError
from core.tasks import Tasks
from tunnel.assembler import PREFIX_BYTES, Assembler
from tunnel.limits import MAX_DATAGRAM
from tunnel.link_stream import LinkStream

if TYPE_CHECKING:
    import pytest

    from tunnel.engines.seam import Address, Connection, Engine

DIAL_S = 3.0
DATAGRAM = -1
"""What stands for the number of a stream where a datagram is shown."""


class Way(Enum):
    """Which way bytes go."""

    TO_GUARD = "to the guard"
    TO_CLIENT = "to the client"

    @property
    def back(self) -> Way:
        return Way.TO_CLIENT if self is Way.TO_GUARD else Way.TO_GUARD


class Seen(NamedTuple):
    """A record or a datagram in his hands."""

    tap: Tap
    way: Way
    stream: int
    record: bytes


type Act = Callable[[Seen], list[bytes]] | Callable[[Seen, Seen], list[bytes]]
"""Is shown one record, or two that follow each other, and says what goes on instead."""


class Attack:
    """An act against what passes one way, done once.

    Args:
        way: which way.
        fits: which records and datagrams are shown to the act.
        act: what he does.
        shown: how many records the act is shown at once; those before the last are held back.
    """

    def __init__(self, way: Way, fits: Callable[[int, bytes], bool], act: Act, shown: int = 1) -> None:
        self.way = way
        self._fits = fits
        self._act: Callable[..., list[bytes]] = act
        self._shown = shown
        self._held: list[Seen] = []

    @property
    def over(self) -> bool:
        return len(self._held) == self._shown

    def meet(self, seen: Seen) -> list[bytes]:
        """What shall go on instead of a record."""
        if self.over or not self._fits(seen.stream, seen.record):
            return [seen.record]
        self._held.append(seen)
        return self._act(*self._held) if self.over else []


def framed(record: bytes) -> bytes:
    """A record as it stands on a stream."""
    return len(record).to_bytes(PREFIX_BYTES) + record


class _Side:
    """His end of one of the two connections. See `tunnel.engines.seam.ConnectionHandler`."""

    def __init__(self, tap: Tap, way: Way) -> None:
        self._tap = tap
        self._way = way
        self._assemblers: dict[int, Assembler] = {}

    def stream_received(self, stream: int, data: memoryview, end: bool) -> None:
        assembler = self._assemblers.setdefault(stream, Assembler(0xFFFF))
        records = [bytes(record) for record in assembler.feed(data)]
        self._tap.passes(self._way, stream, records, end)

    def stream_reset(self, stream: int) -> None:
        self._tap.reset(self._way, stream)

    def stream_drained(self, stream: int) -> None: ...

    def datagram_received(self, data: memoryview) -> None:
        self._tap.datagram_passes(self._way, bytes(data))

    def connection_closed(self) -> None:
        self._tap.close()


class Tap:
    """One client's connection, and his own to the guard. Streams have the same numbers on both."""

    def __init__(self, middle: Middle, near: Connection) -> None:
        self._middle = middle
        self._ends: dict[Way, Connection] = {Way.TO_CLIENT: near}
        self._early: list[Callable[[], None]] = []
        self._silent: set[tuple[Way, int]] = set()
        self.seen: list[tuple[Way, int, bytes]] = []
        self.closed = False

    async def dial(self, engine: Engine, guard: Address) -> None:
        """Go on to the guard, then pass on what has come meanwhile."""
        try:
            self._ends[Way.TO_GUARD] = await engine.dial(guard, lambda far: _Side(self, Way.TO_CLIENT), DIAL_S)
        except LinkError:
            self.close()
        early, self._early = self._early, []
        for call in early:
            call()

    def side(self) -> _Side:
        return _Side(self, Way.TO_GUARD)

    # -- what passes

    def passes(self, way: Way, stream: int, records: list[bytes], end: bool) -> None:
        if way not in self._ends:
            self._early.append(lambda: self.passes(way, stream, records, end))
            return
        out: list[bytes] = []
        for record in records:
            self.seen.append((way, stream, record))
            out += self._middle.meet(Seen(self, way, stream, record))
        if out or end:
            self.send(way, stream, b"".join(map(framed, out)), end=end)

    def datagram_passes(self, way: Way, data: bytes) -> None:
        self.seen.append((way, DATAGRAM, data))
        for datagram in self._middle.meet(Seen(self, way, DATAGRAM, data)):
            self.send_datagram(way, datagram)

    # -- what he does

    def send(self, way: Way, stream: int, data: bytes, *, end: bool = False) -> None:
        """Write raw bytes."""
        if not self.closed and (way, stream) not in self._silent:
            self._ends[way].write(stream, data, end)

    def send_datagram(self, way: Way, data: bytes) -> None:
        if not self.closed and way in self._ends:
            self._ends[way].send_datagram(data)

    def cut(self, way: Way, stream: int, last: bytes = b"") -> None:
        """End a stream one way, after some last bytes; what its sender still sends goes nowhere."""
        self.send(way, stream, last, end=True)
        self._silent.add((way, stream))

    def reset(self, way: Way, stream: int) -> None:
        """Cut a stream off towards one side, both ways."""
        if not self.closed and way in self._ends:
            self._ends[way].reset(stream)
        self._silent |= {(way, stream)}

    def close(self) -> None:
        """Hang up on both."""
        if not self.closed:
            self.closed = True
            for connection in self._ends.values():
                connection.close()


class Middle:
    """Stands on a port of his own that clients take for the guard's.

    Args:
        engine: his engine; it listens and dials.
        guard: where the guard is.

    Attributes:
        attacks: what he does; nothing, if empty.
        taps: every connection of a client, the oldest first.
    """

    def __init__(self, engine: Engine, guard: Address) -> None:
        self._engine = engine
        self._guard = guard
        self._tasks = Tasks()
        self.attacks: list[Attack] = []
        self.taps: list[Tap] = []
        self.address: Address = ("127.0.0.1", 0)

    async def start(self) -> None:
        self.address = "127.0.0.1", await self._engine.listen(0, self._accept)

    def _accept(self, near: Connection) -> _Side:
        tap = Tap(self, near)
        self.taps.append(tap)
        self._tasks.spawn(tap.dial(self._engine, self._guard), "onward")
        return tap.side()

    async def dial(self) -> Tap:
        """Go to the guard himself, as a client of nobody's."""
        tap = Tap(self, _Nobody())
        self.taps.append(tap)
        await tap.dial(self._engine, self._guard)
        return tap

    def meet(self, seen: Seen) -> list[bytes]:
        """What goes on instead of a record."""
        for attack in self.attacks:
            if attack.way is seen.way and not attack.over:
                return attack.meet(seen)
        return [seen.record]

    def count(self, way: Way) -> int:
        """How many records and datagrams he has seen that way."""
        return sum(passed is way for tap in self.taps for passed, *_ in tap.seen)

    async def close(self) -> None:
        for tap in self.taps:
            tap.close()
        await self._tasks.cancel()
        with suppress(LinkError):
            await self._engine.close()


class _Nobody:
    """The client's end of a connection that he makes for himself: keeps what comes. See `Connection`."""

    queued_bytes = 0
    peer_address = None

    def __init__(self) -> None:
        self.written: list[tuple[int, bytes]] = []

    def open_stream(self) -> int:
        return 0

    def write(self, stream: int, data: bytes, end: bool = False) -> bool:
        self.written.append((stream, data))
        return True

    def queued(self, stream: int) -> int:
        return 0

    def unsent(self, stream: int) -> int:
        return 0

    @property
    def datagram_room(self) -> int:
        return MAX_DATAGRAM

    def send_datagram(self, data: bytes) -> bool:
        return True

    def drop(self, stream: int) -> int:
        return 0

    def reset(self, stream: int) -> None: ...

    def close(self) -> None: ...


class Ledger:
    """What honest ends sent on each stream, and what was taken for theirs at the other end."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.sent: dict[tuple[object, int], list[bytes]] = {}
        self.taken: dict[tuple[object, int], list[bytes]] = {}
        send, deliver = LinkStream.send, LinkStream.deliver

        def noting_send(stream: LinkStream, record: bytearray, **options: Any) -> bool:
            self.sent.setdefault((stream.link, stream.id), []).append(bytes(record[2:-16]))
            return send(stream, record, **options)

        def noting_deliver(stream: LinkStream, body: memoryview) -> None:
            self.taken.setdefault((stream.link, stream.id), []).append(bytes(body))
            deliver(stream, body)

        patch.setattr(LinkStream, "send", noting_send)
        patch.setattr(LinkStream, "deliver", noting_deliver)

    def check(self) -> None:
        """Each end took what the other end of some one link sent on that stream, from its beginning, in order."""
        for (link, number), taken in self.taken.items():
            said = [sent for (other, stream), sent in self.sent.items() if stream == number and other is not link]
            assert any(sent[: len(taken)] == taken for sent in said), "taken, and sent by nobody"
