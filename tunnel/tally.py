"""What the messages of one circuit cost at one end of a link, and what waits there until it is paid.

A message counts with its layers, without the record around it. The paying end asks before it sends and counts what
comes. The paid end asks before it sends, and before it hands on what came. What may not move yet waits, in the order
in which it was to move, and behind it everything of the circuit that must be asked for at this end.

A circuit that costs nothing here has no tally.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Final, Protocol

from tunnel.layers import RECORD_BYTES
from tunnel.limits import CIRCUIT_WINDOW, LEFT_EXTRA, MAX_CIRCUIT_WINDOW

if TYPE_CHECKING:
    from collections.abc import Callable

    from tunnel.link_stream import LinkStream
    from tunnel.toll import Account, Income


ITEM_COST: Final = 128
"""Bytes that something that waits is reckoned at beside its own; with a message's layers less than `DATA_COST` on paths
of up to three hops, so that a circuit's credit covers it."""


class _Waiting(Protocol):
    """Something that waits for its turn on a stream."""

    stream: LinkStream
    size: int
    outward: bool

    def move(self) -> None:
        """Its turn has come."""


class _Out:
    """A record to send."""

    __slots__ = ("last", "record", "size", "stream")
    outward = True

    def __init__(self, stream: LinkStream, record: bytearray, last: bool) -> None:
        self.stream = stream
        self.record = record
        self.last = last
        self.size = len(record) - RECORD_BYTES

    def move(self) -> None:
        if self.stream.send(self.record, last=self.last):
            self.stream.link.stream_drained(self.stream.id)


class _Finish:
    """The end of what is sent."""

    __slots__ = ("stream",)
    outward = True
    size = 0

    def __init__(self, stream: LinkStream) -> None:
        self.stream = stream

    def move(self) -> None:
        self.stream.finish()
        if not self.stream.queued:
            self.stream.link.stream_drained(self.stream.id)


class _In:
    """A message to hand on."""

    __slots__ = ("body", "size", "stream")
    outward = False

    def __init__(self, stream: LinkStream, body: memoryview) -> None:
        self.stream = stream
        self.body = bytes(body)
        self.size = len(body)

    def move(self) -> None:
        self.stream.deliver(memoryview(self.body))


class _End:
    """The end of what comes."""

    __slots__ = ("stream",)
    outward = False
    size = 0

    def __init__(self, stream: LinkStream) -> None:
        self.stream = stream

    def move(self) -> None:
        self.stream.ended()


class Tally:
    """One circuit at one end of one link.

    Args:
        account: of that link.
        rate: what the circuit costs there, units per MB, not 0.
        holds: told how many bytes more wait here, negative ones when they do no more, and none when a datagram was
            dropped because it is not paid. May end the circuit.
        income: of the link before, at a hop that is paid there and pays here. The next hop is paid for what comes from
            it, whether the link before pays for that or not: a payer that asks for much and then pays nothing would
            have the hop pay for it. So that account is told of what is owed here, and circuits end before the hop has
            paid out a window more than it was paid.
    """

    __slots__ = (
        "_asked",
        "_came_bytes",
        "_count",
        "_granted",
        "_holds",
        "_in",
        "_income",
        "_items",
        "_late_bytes",
        "_out",
        "_over",
        "_pays",
        "_rate",
        "_turns",
        "account",
    )

    def __init__(
        self,
        account: Account,
        rate: int,
        holds: Callable[[int], None],
        income: Income | None = None,
    ) -> None:
        self.account = account
        self._income = income
        self._pays = account.pays
        self._rate = rate
        self._holds = holds
        self._items: dict[LinkStream, deque[_Waiting]] = {}
        self._turns: deque[LinkStream] = deque()
        """For whom something waits, once for each thing. Of streams that were cut some may be left."""
        self._count = 0
        self._out: Counter[LinkStream] = Counter()
        self._in: Counter[LinkStream] = Counter()
        self._granted = False
        self._asked = False
        self._over = False
        self._came_bytes = self._late_bytes = 0

    @property
    def waits(self) -> bool:
        """Whether something waits until it is paid."""
        return self._count > 0

    # -- messages on streams

    def may_send(self, stream: LinkStream, record: bytearray, *, last: bool) -> bool:
        """Ask to send a record; True for now, else it is sent in its turn, if that comes."""
        if self._granted:
            self._granted = False
            return True
        if self._may_take(len(record) - RECORD_BYTES):
            return True
        self._wait(_Out(stream, record, last))
        return False

    def may_come(self, stream: LinkStream, body: memoryview) -> bool:
        """Ask to hand on a message; True for now, else it is handed on in its turn, if that comes."""
        if self._granted:
            self._granted = False
            return True
        if self._pays:
            self._took(len(body))
            return not stream.cut
        if self._over:
            self._take(len(body))  # it was under way
            return False
        if self._may_take(len(body)):
            return True
        self._wait(_In(stream, body))
        return False

    def may_come_late(self, size: int) -> bool:
        """Count a message that came on a stream that was left, and goes nowhere; False when no more of that counts.

        Both ends count what was under way when either heard of the end. The payer counts no more of it than an honest
        end can have had under way: a circuit's credit, which is `CIRCUIT_WINDOW` at first, and grows with what is dealt
        with, up to `MAX_CIRCUIT_WINDOW`. Nor does a hop count more than it is ready to lose to the payer before it.
        """
        if not self._pays:
            self._take(size)
            return True
        if self._income is not None and self._income.exhausted:
            return False
        credit = min(max(CIRCUIT_WINDOW, self._came_bytes - self._late_bytes), MAX_CIRCUIT_WINDOW)
        if self._late_bytes + size > credit + LEFT_EXTRA:
            return False
        self._late_bytes += size
        self._took(size)
        if self._income is not None:
            self._income.came_late(self._rate * size)
        return True

    def _may_take(self, size: int) -> bool:
        return not self._count and not self._over and self._take(size)

    def _take(self, size: int) -> bool:
        """Count bytes that may move now; False if they may not."""
        parts = self._rate * size
        meter = self.account.meter
        counted = meter.counted + parts
        if counted <= meter.until:
            meter.counted = counted
        elif not self.account.take(self._rate, size):
            return False
        if self._income is not None:
            self._income.owes(parts)
        return True

    def may_finish(self, stream: LinkStream) -> bool:
        """Ask to end what is sent on a stream; True for now, else it is ended after what waits."""
        if stream not in self._out:
            return True
        self._wait(_Finish(stream))
        return False

    def may_end(self, stream: LinkStream) -> bool:
        """Ask to tell that nothing more comes; True for now, else it is told after what waits."""
        if stream not in self._in:
            return True
        self._wait(_End(stream))
        return False

    def holds_up(self, stream: LinkStream) -> bool:
        """Whether something that is to be sent on a stream waits here."""
        return stream in self._out

    # -- datagrams, which do not wait

    def may_send_datagram(self, size: int) -> bool:
        """Ask to send one; it is dropped else."""
        taken = not self._count and not self._over and self.account.take_datagram(self._rate, size)
        if taken:
            self._owes(size)
        elif not self._over:
            self._holds(0)
        return taken

    def datagram_unsent(self, size: int) -> None:
        """One that was asked for found no room. To the payee it is one of those that get lost."""
        if self._pays:
            self._give_back(size)

    def may_come_datagram(self, size: int) -> bool:
        """Ask to hand one on; it is dropped else."""
        if not self._pays:
            return self._may_take(size)
        self.account.took(self._rate, size, datagram=True)
        self._owes(size)
        return True

    def _took(self, size: int) -> None:
        self._came_bytes += size
        parts = self._rate * size
        meter = self.account.meter
        counted = meter.counted + parts
        if counted <= meter.until:
            meter.counted = counted
        else:
            self.account.took(self._rate, size, datagram=False)
        if self._income is not None:
            self._income.owes(parts)

    def _give_back(self, size: int) -> None:
        self.account.give_back(self._rate, size)
        self._owes(-size)

    def _owes(self, size: int) -> None:
        if self._income is not None:
            self._income.owes(self._rate * size)

    # -- what waits

    def _wait(self, waiting: _Waiting) -> None:
        if self._over:
            return
        stream = waiting.stream
        self._items.setdefault(stream, deque()).append(waiting)
        self._turns.append(stream)
        self._count += 1
        self._ways(waiting)[stream] += 1
        self._ask()
        self._holds(waiting.size + ITEM_COST)

    def _ways(self, waiting: _Waiting) -> Counter[LinkStream]:
        return self._out if waiting.outward else self._in

    def _ask(self) -> None:
        if self._count and not self._asked:
            self._asked = True
            self.account.wait(self._go)

    def _go(self) -> None:
        """Something was paid: move what may move now."""
        self._asked = False
        while self._count:
            stream = self._turns[0]
            if (items := self._items.get(stream)) is None:
                self._turns.popleft()
                continue
            first = items[0]
            if first.size and not self._take(first.size):
                break
            self._turns.popleft()
            self._take_out(items)
            self._granted = first.size > 0
            stream.link.guarded(first.move)
            self._granted = False
        self._ask()

    def _take_out(self, items: deque[_Waiting]) -> None:
        first = items.popleft()
        self._count -= 1
        ways = self._ways(first)
        ways[first.stream] -= 1
        if not ways[first.stream]:
            del ways[first.stream]
        if not items:
            del self._items[first.stream]
        self._holds(-first.size - ITEM_COST)

    # -- endings

    def forget(self, stream: LinkStream, unsent: int) -> None:
        """A stream is cut: what waits for it does not matter any more.

        Args:
            stream: which.
            unsent: bytes of messages that were counted here and did not leave.
        """
        if unsent:
            self._give_back(unsent)
        items = self._items.get(stream)
        while items:
            self._take_out(items)
        if len(self._turns) > 2 * self._count:  # so that cutting many streams costs little, and nothing piles up
            self._turns = deque(other for other in self._turns if other in self._items)

    def clear(self) -> None:
        """The circuit is over: nothing moves any more, and streams for which something waits are left."""
        self._over = True
        for stream in list(self._items):
            stream.leave()
