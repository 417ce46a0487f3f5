"""One peer of a town, as a process: a tunnel with a real QUIC stack, told what to do by lines of JSON.

    python -m tests.harness.nat_worker NAME ENGINE PORT

Keys follow from names, so that whoever knows a name knows the peer.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from core.errors import LinkError
from core.ids import PeerKey
from tests.harness.entropy import seeded
from tunnel.engines import load_engine
from tunnel.path import Hop
from tunnel.service import Tunnel, TunnelParts
from tunnel.wireguard.primitives import private_key, public_bytes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from tunnel.engines.seam import Address
    from tunnel.link import Link


def peer_of(name: str) -> PeerKey:
    return PeerKey(seeded(f"peer {name}")(32))


def link_private(name: str) -> X25519PrivateKey:
    return private_key(seeded(f"link {name}")(32))


def hop_of(name: str, *addresses: Address) -> Hop:
    return Hop(peer_of(name), public_bytes(link_private(name)), bytes(32), addresses)


class Worker:
    """What the peer knows and does."""

    def __init__(self, name: str, engine: str) -> None:
        self._hops: dict[PeerKey, Hop] = {}
        self._held_by: dict[PeerKey, list[PeerKey]] = {}
        self._told: list[Address] = []
        self._tunnel = Tunnel(
            load_engine(engine),
            TunnelParts(
                address_ok=lambda host: True,
                link_key=link_private(name),
                descriptor=lambda: b"descriptor",
                locate=self._hops.get,
                relays=True,
                seen_at=lambda link, address: self._told.append(address),
                held_by=lambda peer: self._held_by.get(peer, []),
                helps=lambda peer: peer_of(name) in self._held_by.get(peer, []),
                calls=lambda link: link.dialled,
            ),
        )

    async def start(self, port: int) -> None:
        await self._tunnel.start(port, client=False)

    async def close(self) -> None:
        await self._tunnel.close()

    def know(self, name: str, addresses: list[Address], held_by: list[str]) -> None:
        """Know a peer."""
        self._hops[peer_of(name)] = hop_of(name, *((host, port) for host, port in addresses))
        self._held_by[peer_of(name)] = [peer_of(other) for other in held_by]

    async def link(self, name: str) -> float | None:
        """Link to a peer that is known; seconds that it took, None if it failed."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            await self._tunnel.links.to(self._hops[peer_of(name)])
        except LinkError:
            return None
        return loop.time() - began

    def told(self) -> list[Address]:
        """Where neighbours see this peer."""
        return self._told

    async def reached(self, name: str, port: int) -> bool:
        """Ask a neighbour for a dial-back."""
        return await self._tunnel.observing.reached(self._link(name), port)

    def linked(self, name: str) -> bool:
        """Whether a link to a peer stands, whoever dialled it."""
        return self._tunnel.links.of_key(self._hops[peer_of(name)].link_key) is not None

    def _link(self, name: str) -> Link:
        link = self._tunnel.links.of_key(self._hops[peer_of(name)].link_key)
        assert link is not None, name
        return link


async def obey(name: str, engine: str, port: int) -> None:
    """Do what each line of standard input says, until it ends."""
    worker = Worker(name, engine)
    await worker.start(port)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    answers: Any = None
    while True:
        os.write(1, json.dumps(answers).encode() + b"\n")
        if not (line := await lines.readline()):
            break
        verb, *arguments = json.loads(line)
        answers = getattr(worker, verb)(*arguments)
        if asyncio.iscoroutine(answers):
            answers = await answers
    await worker.close()


if __name__ == "__main__":
    asyncio.run(obey(sys.argv[1], sys.argv[2], int(sys.argv[3])))
