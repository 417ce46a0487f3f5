"""How a circuit is built in one pass, and what its hops' verdicts mean."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING

from core.errors import CircuitError, LinkError, Reason
from tunnel.blame import PAYEES_FAULT
from tunnel.circuit import Circuit
from tunnel.creation import Creation
from tunnel.limits import BUILD_S
from tunnel.padding import Shape
from tunnel.path import rates_of
from tunnel.toll import NO_TOLL, account_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tunnel.circuit import CircuitEvents
    from tunnel.links import Links
    from tunnel.memory import Memory
    from tunnel.path import Path
    from tunnel.toll import Toll


class _Owner:
    """Hears from the link how the circuit does, also while it is being built."""

    def __init__(self) -> None:
        self.circuit: Circuit | None = None
        self.reason: Reason | None = None
        self.hops: int | None = None

    def leaving(self, hops: int) -> None:
        self.hops = hops
        if self.circuit is not None:
            self.circuit.leaving(hops)

    def destroyed(self, reason: Reason) -> None:
        self.reason = reason
        if self.circuit is not None:
            self.circuit.destroyed(reason)


async def build(
    path: Path,
    links: Links,
    retire_after_s: float,
    events: CircuitEvents,
    memory: Memory,
    shape: Shape = Shape.STEPS,
    toll: Toll = NO_TOLL,
    begin: Callable[[], None] = lambda: None,
) -> Circuit:
    """Build a circuit in one pass, once the guard is paid ahead.

    Args:
        begin: called when the guard is there and the creation is about to be sent; may raise CircuitError.

    Raises:
        CircuitError: `hop` says which place reports the failure, 0 for the guard, -1 for this node itself.
    """
    try:
        link = await links.to(path[0])
    except LinkError as error:
        links.tried(path, 0, True)
        raise CircuitError(error.reason, -1) from error
    rate = rates_of(path)[0]
    try:
        account = await account_for(toll, link, path[0].peer, rate)
    except CircuitError as error:
        if error.reason in PAYEES_FAULT or error.reason is Reason.NEXT_HOP:
            links.tried(path, 0, True)
        raise CircuitError(error.reason, -1) from error
    begin()
    indices = [secrets.randbits(32) for _ in path]
    creation = Creation(path, indices, time.time(), secrets.token_bytes, links.preshared)
    owner = _Owner()
    try:
        number, answer = await link.create(creation.message, owner, BUILD_S)
    except CircuitError as error:
        links.tried(path, 0, error.reason is Reason.NEXT_HOP)
        raise CircuitError(error.reason, -1) from error
    try:
        keys = creation.consume_answer(answer)
        if owner.reason is not None:
            raise CircuitError(owner.reason)
    except CircuitError as error:
        link.destroy(number, Reason.CLOSED)
        if error.hop is not None:
            links.tried(path, *_verdict(error.hop, error.reason))
        raise
    links.tried(path, len(path), False)
    retire_at = asyncio.get_running_loop().time() + retire_after_s
    price = None if account is None else (account, rate)
    circuit = owner.circuit = Circuit(path, link, number, keys, retire_at, events, memory, shape, price)
    if owner.hops is not None:
        circuit.leaving(owner.hops)
    return circuit


def _verdict(place: int, reason: Reason) -> tuple[int, bool]:
    """Say what the answer of the hop at `place` tells, as `PathWitness` is told it."""
    if reason in (Reason.NEXT_HOP, Reason.UNKNOWN_PEER):
        return place + 1, True
    if reason in PAYEES_FAULT:
        return place + 1, True
    if reason in (Reason.TIMED_OUT, Reason.NO_CHANNEL):
        return place + 1, False  # the next hop lives, and waited for somebody in turn, or is nobody's fault
    if reason is Reason.LEAVING:
        return place, False
    return place, True
