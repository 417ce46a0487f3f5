"""The memory that a node's own flows take, those that end here, and which flow goes when it is too much."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tunnel.limits import FLOW_COST, NODE_BYTES

if TYPE_CHECKING:
    from tunnel.credit import CircuitCredit


class Memory:
    """Counts flows, and the bytes that they hold, over all circuits of a node.

    Beyond the limit, the circuit that holds most loses a flow, until there is room: the one that holds most for
    longest, so that one which is not read goes before one which is under way.

    Args:
        limit: bytes, with `FLOW_COST` for each flow.

    Attributes:
        shed: how many flows were ended for want of memory.
    """

    def __init__(self, limit: int = NODE_BYTES) -> None:
        self._limit = limit
        self._circuits: dict[CircuitCredit[Any], None] = {}
        self._flows = 0
        self._shedding = False
        self.held_bytes = 0
        self.shed = 0

    def join(self, circuit: CircuitCredit[Any]) -> None:
        """Count a flow that a circuit has from now on."""
        self._circuits[circuit] = None
        self._flows += 1

    def leave(self, circuit: CircuitCredit[Any]) -> None:
        """Count it no more."""
        self._flows -= 1
        if not circuit.flows:
            self._circuits.pop(circuit, None)

    def hold(self, count: int) -> None:
        """Count bytes, negative ones for bytes that are free again."""
        self.held_bytes += count
        if self._too_much() and not self._shedding:
            # Not now: the caller is in the midst of the very flow that may have to go.
            self._shedding = True
            asyncio.get_running_loop().call_soon(self._shed)

    def _too_much(self) -> bool:
        return self.held_bytes + FLOW_COST * self._flows > self._limit

    def _shed(self) -> None:
        self._shedding = False
        while self._too_much() and self._circuits:
            circuit = max(self._circuits, key=lambda one: one.held_bytes)
            now = circuit.clock()
            flow = max(circuit.flows, key=lambda one: (one.held_bytes * (now - one.moved_at), one.held_bytes))
            if not flow.held_bytes:
                return
            self.shed += 1
            flow.shed()
