"""The circuits that end because a hop owes too much for their payer."""

from __future__ import annotations

from tunnel.queues import CircuitQueue, Queues


class Held:
    """A circuit."""

    def __init__(self) -> None:
        self.queue = CircuitQueue(self, Queues([]))
        self.overdrawn = False
        self.ended = 0

    def over_budget(self) -> None:
        self.ended += 1


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
