"""Idle circuits through real peers, built with the tunnel's own parts: what a relay has to carry for many clients."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from core.errors import CircuitError
from peers.addresses import parse_address
from peers.descriptor import Descriptor
from peers.networks import PUBLIC_NAME, Network
from peers.paths import path_of
from tunnel.building import build
from tunnel.engines import load_engine
from tunnel.service import Tunnel, TunnelParts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from bench.network import Member
    from core.errors import Reason
    from tunnel.circuit import Circuit
    from tunnel.client_flow import ClientFlow
    from tunnel.path import Hop, Path

_FOREVER_S: Final = 3600.0
_TRIES: Final = 5


class Crowd:
    """Clients that hold circuits and do nothing with them. Implements `tunnel.circuit.CircuitEvents`."""

    def __init__(self, path: Path, clients: list[Tunnel]) -> None:
        self._path = path
        self._clients = clients
        self.circuits: list[Circuit] = []
        self.failures: Counter[str] = Counter()

    async def grow(self, count: int, per_s: float) -> None:
        """Build circuits, at most so many per second, spread over the clients.

        Raises:
            CircuitError: one could not be built in several attempts.
        """
        for number in range(count):
            started = time.monotonic()
            self.circuits.append(await self._one(self._clients[number % len(self._clients)]))
            await asyncio.sleep(max(0.0, started + 1 / per_s - time.monotonic()))

    async def _one(self, client: Tunnel) -> Circuit:
        for attempt in range(1, _TRIES + 1):
            try:
                return await build(self._path, client.links, _FOREVER_S, self, client.memory)
            except CircuitError as error:
                self.failures[error.reason.word] += 1
                if attempt == _TRIES:
                    raise
                await asyncio.sleep(attempt)
        raise AssertionError("not reached")

    async def close(self) -> None:
        for client in self._clients:
            await client.close()

    # -- tunnel.circuit.CircuitEvents

    def circuit_proved(self, circuit: Circuit, asked_at: float) -> None:
        """The exit answers; nothing depends on it here."""

    def circuit_over(self, circuit: Circuit, reason: Reason) -> None:
        if circuit in self.circuits:
            self.circuits.remove(circuit)
            self.failures[f"ended {reason.word}"] += 1

    def circuit_leaving(self, circuit: Circuit, place: int) -> None:
        """Nothing is moved here."""

    def flows_lost(self, circuit: Circuit, flows: list[ClientFlow]) -> None:
        """There are no flows here."""


async def _client() -> Tunnel:
    parts = TunnelParts(address_ok=lambda host: True, preshared=Network(PUBLIC_NAME).preshared)
    tunnel = Tunnel(load_engine("auto"), parts)
    await tunnel.start(0, client=False)
    return tunnel


async def learn(members: Sequence[Member]) -> Path:
    """Ask each member itself for its keys."""
    found: list[Hop] = []

    def verify(raw: bytes) -> Hop:
        found.extend(path_of([Descriptor.decode(raw, time.time())]))
        return found[-1]

    asker = await _client()
    for member in members:
        host, port, peer = parse_address(f"{member.address}/p2p/{member.peer_id}")
        assert peer is not None
        await asker.links.bootstrap((host, port), peer, verify)
    await asker.close()
    return tuple(found)


@asynccontextmanager
async def crowd(members: Sequence[Member], clients: int) -> AsyncIterator[Crowd]:
    """Start so many clients for circuits over the members, the guard first."""
    path = await learn(members)
    made = Crowd(path, [await _client() for _ in range(clients)])
    try:
        yield made
    finally:
        await made.close()
