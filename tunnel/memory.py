"""The bytes that a node holds for flows that end here, and which flow goes when there are too many."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tunnel.limits import NODE_BYTES

if TYPE_CHECKING:
    from tunnel.credit import CircuitCredit


class Memory:
    """Counts bytes over all circuits of a node.

    Beyond the limit, the circuit that holds most loses the flow that holds most, until there is room: whoever takes
    more than a share pays, and nobody else.

    Args:
        limit: bytes.

    Attributes:
        shed: how many flows were ended for want of memory.
    """

    def __init__(self, limit: int = NODE_BYTES) -> None:
        self._limit = limit
        self._circuits: dict[CircuitCredit[Any], None] = {}
        self._shedding = False
        self.held_bytes = 0
        self.shed = 0

    def add(self, circuit: CircuitCredit[Any]) -> None:
        self._circuits[circuit] = None

    def remove(self, circuit: CircuitCredit[Any]) -> None:
        self._circuits.pop(circuit, None)

    def hold(self, count: int) -> None:
        """Count bytes, negative ones for bytes that are free again."""
        self.held_bytes += count
        if self.held_bytes > self._limit and not self._shedding:
            # Not now: the caller is in the midst of the very flow that may have to go.
            self._shedding = True
            asyncio.get_running_loop().call_soon(self._shed)

    def _shed(self) -> None:
        self._shedding = False
        while self.held_bytes > self._limit and self._circuits:
            circuit = max(self._circuits, key=lambda one: one.held_bytes)
            flow = max(circuit.flows, key=lambda one: one.held_bytes)
            if not flow.held_bytes:
                return
            self.shed += 1
            flow.shed()
