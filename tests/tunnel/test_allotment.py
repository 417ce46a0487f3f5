"""A circuit's credit while it is short: each flow gets as much of it as each other one, whoever comes first."""

from __future__ import annotations

import pytest

from core.errors import Reason
from tests.harness.joined import Clock, Later
from tunnel.allotment import SHORT_S
from tunnel.credit import CircuitCredit
from tunnel.limits import CIRCUIT_WINDOW, DATA_COST, FLOW_WINDOW, LEAST_CIRCUIT_WINDOW, LEAST_TURN
from tunnel.memory import Memory

PIECE = 32_756


class Circuit:
    """The sending end of a circuit, and flows on it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.later = Later()
        self.credit: CircuitCredit[Writer] = CircuitCredit(Memory(), self.clock, self.later)
        self._told = CIRCUIT_WINDOW

    def writers(self, count: int) -> list[Writer]:
        return [Writer(self.credit) for _ in range(count)]

    def credit_comes(self, count: int, window: int = CIRCUIT_WINDOW) -> None:
        """The other end allows `count` bytes more."""
        self._told += count
        self.credit.credit_came(self._told - window, window)


class Writer:
    """A flow that waits with one piece at most, as one that is read from a socket."""

    held_bytes = kept_bytes = 0
    moved_at = 0.0

    def __init__(self, credit: CircuitCredit[Writer]) -> None:
        self._credit = credit
        self.waiting = 0
        self.sent = 0
        self.calls = 0
        self.stopped = False
        self.leaves = False
        credit.join(self)

    def write(self, size: int = PIECE) -> None:
        if not self.waiting:
            self.waiting = size
            self._send()

    def go_on(self) -> None:
        self.calls += 1
        self._send()
        if self.leaves:
            self._credit.leave(self)

    def _send(self) -> None:
        while self.waiting and not self.stopped and (count := min(self.waiting, self._credit.room(0))) > 0:
            self._credit.sent(count)
            self.sent += count
            self.waiting -= count
        if self.waiting:
            self._credit.wait(self)

    def shed(self) -> None:
        raise AssertionError(Reason.BUSY)


@pytest.mark.parametrize("window", [LEAST_CIRCUIT_WINDOW, CIRCUIT_WINDOW])
@pytest.mark.parametrize("count", [2, 20])
def test_who_always_writes_first_gets_no_more(count: int, window: int) -> None:
    """When all that waited is sent, sockets are read again one after the other, and credit is left for some."""
    circuit = Circuit()
    writers = circuit.writers(count)
    use_up(circuit, writers)
    before = [writer.sent for writer in writers]
    for _ in range(200):
        circuit.clock.now += 0.02
        circuit.credit_comes(window // 4, window)
        use_up(circuit, writers)
    got = [writer.sent - old for writer, old in zip(writers, before, strict=True)]
    mean = sum(got) / count
    assert sum(got) > 0.85 * 50 * window
    assert max(abs(one - mean) for one in got) < 0.01 * mean


def use_up(circuit: Circuit, writers: list[Writer]) -> None:
    """Let flows send until the credit is gone and all of them wait."""
    while not all(writer.waiting for writer in writers):
        for writer in writers:
            writer.write()
        circuit.later.run()


def test_a_flow_by_itself_never_waits_for_others() -> None:
    circuit = Circuit()
    (writer,) = circuit.writers(1)
    use_up(circuit, [writer])
    circuit.credit_comes(CIRCUIT_WINDOW // 2)
    writer.write()
    assert not writer.waiting
    assert not circuit.later.run()


def test_flows_write_at_once_while_credit_is_plenty() -> None:
    circuit = Circuit()
    writers = circuit.writers(2)
    for writer in writers:
        writer.write()
        assert not writer.waiting
    use_up(circuit, writers)
    circuit.credit_comes(CIRCUIT_WINDOW)
    assert not any(writer.waiting for writer in writers)
    writers[0].write()
    assert writers[0].waiting, "credit was short a moment ago"
    circuit.later.run()
    circuit.clock.now += 1.01 * SHORT_S
    writers[0].write()
    assert not writers[0].waiting


def test_what_waits_for_the_loop_goes_in_one_call() -> None:
    circuit = Circuit()
    writers = circuit.writers(8)
    use_up(circuit, writers)
    circuit.credit_comes(CIRCUIT_WINDOW)
    for writer in writers:
        writer.calls = 0
        writer.write(1000)
    assert sum(writer.waiting for writer in writers) == 8000
    assert circuit.later.run() == 1
    assert [writer.calls for writer in writers] == [1] * 8
    assert not any(writer.waiting for writer in writers)
    assert not circuit.later.run()


@pytest.mark.parametrize("new", [False, True])
def test_a_small_flow_has_its_turn_with_the_next_credit(new: bool) -> None:
    circuit = Circuit()
    small, *writers = circuit.writers(20)
    small.write(500)
    for _ in range(50):
        use_up(circuit, writers)
        circuit.credit_comes(CIRCUIT_WINDOW // 4)
    use_up(circuit, writers)
    if new:
        small = Writer(circuit.credit)
    small.write(500)
    assert small.waiting
    circuit.credit_comes(CIRCUIT_WINDOW // 4)
    assert not small.waiting


@pytest.mark.parametrize(("new", "most"), [(False, FLOW_WINDOW), (True, 0)])
def test_one_that_comes_late_is_made_good_for_little(new: bool, most: int) -> None:
    circuit = Circuit()
    writers = circuit.writers(4)
    use_up(circuit, writers)
    for _ in range(50):
        circuit.credit_comes(CIRCUIT_WINDOW // 4)
        use_up(circuit, writers[1:])
    if new:
        circuit.credit.leave(writers[0])
        writers[0] = Writer(circuit.credit)
    before = [writer.sent for writer in writers]
    for _ in range(20):
        circuit.credit_comes(CIRCUIT_WINDOW // 4)
        use_up(circuit, writers)
    got = [writer.sent - old for writer, old in zip(writers, before, strict=True)]
    assert most - PIECE < got[0] - max(got[1:]) <= most + PIECE


def test_credit_that_is_less_than_a_turn_waits_for_more() -> None:
    circuit = Circuit()
    writers = circuit.writers(2)
    use_up(circuit, writers)
    sent = sum(writer.sent for writer in writers)
    circuit.credit_comes(LEAST_TURN - circuit.credit._left() - 1)
    circuit.later.run()
    assert sum(writer.sent for writer in writers) == sent
    circuit.credit_comes(1)
    assert sum(writer.sent for writer in writers) == sent + LEAST_TURN - DATA_COST


def test_one_that_cannot_send_stops_nobody_and_keeps_its_place() -> None:
    circuit = Circuit()
    writers = circuit.writers(3)
    use_up(circuit, writers)
    writers[0].stopped = True
    before = [writer.sent for writer in writers]
    for _ in range(10):
        circuit.credit_comes(CIRCUIT_WINDOW // 8)
        use_up(circuit, writers)
    assert writers[0].sent == before[0]
    assert min(writer.sent - old for writer, old in zip(writers[1:], before[1:], strict=True)) > CIRCUIT_WINDOW // 2
    calls = writers[0].calls
    writers[0].stopped = False
    circuit.credit_comes(CIRCUIT_WINDOW // 8)
    assert writers[0].calls > calls
    assert writers[0].sent > before[0]


def test_those_that_leave_are_not_called_and_not_remembered() -> None:
    circuit = Circuit()
    writers = circuit.writers(2)
    use_up(circuit, writers)
    gone = Writer(circuit.credit)
    gone.write()
    assert gone.waiting
    circuit.credit.leave(gone)
    last = Writer(circuit.credit)
    last.leaves = True
    last.write(1000)
    circuit.credit_comes(CIRCUIT_WINDOW // 4)
    assert last.sent
    allotment = circuit.credit._allotment
    assert set(allotment._had) == set(writers) >= set(allotment._waiting)
    assert not gone.calls
