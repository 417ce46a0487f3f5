"""What a hop owes for a payer, and the circuits that end for it."""

from __future__ import annotations

from tests.harness.tolls import Purse
from tunnel.behalf import OnBehalf
from tunnel.queues import CircuitQueue, Queues


class Held:
    """A circuit."""

    def __init__(self) -> None:
        self.queue = CircuitQueue(self, Queues([]))
        self.overdrawn = False
        self.ended = 0

    def over_budget(self) -> None:
        self.ended += 1


def test_what_is_counted_for_the_next_hop_is_owed() -> None:
    far, income = Purse(pays=True, paid=1000), Purse(pays=False, paid=0)
    account = OnBehalf(far, income)
    assert account.take(2, 100)
    assert account.take_datagram(2, 50)
    account.took(2, 150, datagram=False)
    account.took(2, 100, datagram=True)
    assert income.owed == far.used == 2 * 400
    assert far.datagrams == 2 * 150
    account.give_back(2, 100)
    assert income.owed == far.used == 2 * 300
    assert not account.take(2, 201)
    assert not account.take_datagram(2, 201)
    assert income.owed == far.used == 2 * 300
    account.meter.counted += 30
    assert account.meter.until == far.paid
    assert income.owed == far.used == 2 * 300 + 30
    account.wait(lambda: None)
    assert (far.waiting, income.waiting) == (1, 0)


def test_what_waits_ends_a_circuit_whose_payer_is_overdrawn() -> None:
    circuit = Held()
    circuit.queue.holds(100)
    circuit.queue.holds(0)
    assert not circuit.ended
    circuit.overdrawn = True
    circuit.queue.holds(-50)
    assert not circuit.ended, "something goes on"
    for turn, count in enumerate((50, 0), 1):
        circuit.queue.holds(count)
        assert circuit.ended == turn
