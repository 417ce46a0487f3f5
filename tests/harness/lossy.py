"""A bad path on loopback: a UDP forwarder that loses, delays, repeats and reorders packets, as a seed decides."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

HOST = "127.0.0.1"

type Target = tuple[str, int]


class _Port(asyncio.DatagramProtocol):
    def __init__(self, take: Callable[[bytes, Target], None]) -> None:
        self._take = take

    def datagram_received(self, data: bytes, addr: Target) -> None:
        self._take(data, addr)


async def _open(take: Callable[[bytes, Target], None]) -> asyncio.DatagramTransport:
    port, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Port(take), local_addr=(HOST, 0))
    return port


class LossyPath:
    """One path to one target. What it does may be changed at any time.

    Attributes:
        loss: share of the packets that get lost, in each direction.
        twice: share that comes twice.
        delay_s: one way.
        jitter_s: at most this much more for each packet, so that packets overtake each other.
        largest: larger packets get lost, as where a tunnel is narrower than its ends know.
        frozen: everything gets lost, as with a machine that hangs.
        port: where packets go in.
        passed, lost: packets counted.
    """

    def __init__(self, target: Target, seed: int) -> None:
        self._target = target
        self._chance = random.Random(seed)
        self._near: asyncio.DatagramTransport | None = None
        self._far: asyncio.DatagramTransport | None = None
        self._client: Target | None = None
        self.loss = self.twice = self.delay_s = self.jitter_s = 0.0
        self.largest = 65535
        self.frozen = False
        self.passed = self.lost = self.port = 0

    async def open(self) -> Target:
        """Open the near side; packets to the address that is returned go through."""
        self._near = await _open(self._from_client)
        await self.rebind()
        self.port = self._near.get_extra_info("sockname")[1]
        return HOST, self.port

    async def rebind(self) -> None:
        """Go on from another port, as when an address translator forgets."""
        if self._far is not None:
            self._far.close()
        self._far = await _open(self._from_target)

    def _from_client(self, data: bytes, address: Target) -> None:
        self._client = address
        self._carry(data, lambda: self._far, self._target)

    def _from_target(self, data: bytes, address: Target) -> None:
        if self._client is not None:
            self._carry(data, lambda: self._near, self._client)

    def _carry(self, data: bytes, port: Callable[[], asyncio.DatagramTransport | None], to: Target) -> None:
        if self.frozen or len(data) > self.largest or self._chance.random() < self.loss:
            self.lost += 1
            return

        def send() -> None:
            out = port()
            if out is not None and not out.is_closing():
                out.sendto(data, to)

        for _ in range(2 if self._chance.random() < self.twice else 1):
            self.passed += 1
            if delay_s := self.delay_s + self._chance.random() * self.jitter_s:
                asyncio.get_running_loop().call_later(delay_s, send)
            else:
                send()

    def close(self) -> None:
        for port in (self._near, self._far):
            if port is not None:
                port.close()
        self._near = self._far = None


@asynccontextmanager
async def lossy(target: Target, seed: int = 1) -> AsyncIterator[tuple[LossyPath, Target]]:
    """A path to `target` that loses nothing yet, and the address of its near side."""
    path = LossyPath(target, seed)
    try:
        yield path, await path.open()
    finally:
        path.close()
