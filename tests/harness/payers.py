"""Nodes that pay each other over links in memory, with real books and one real ledger of test coins."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from core.ids import PeerKey
from ledger.messages import decode
from node.paying import PayingNode
from node.settings import PaymentsSettings
from node.wallet import Wallet
from tests.harness.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from core.errors import Reason
    from ledger.messages import Message
    from node.payment_ends import Incoming
    from tunnel.link import Link
    from tunnel.toll import Account


RATE: Final = 6
"""Units per MB at which members pay each other."""

PIECE: Final = 32_000
"""Bytes that are carried at a time."""


class Wire:
    """One end of a link. What is sent arrives at the other end in its turn, unless it is cut."""

    def __init__(self, binding: bytes) -> None:
        self.binding = binding
        self.other: Wire
        self.node: PayingNode
        self.said: list[Message] = []
        self.loses: Callable[[Message], bool] = lambda message: False
        self.coming: deque[bytes] = deque()
        self.cut = False

    def send_payment(self, body: bytes) -> None:
        message = decode(body)
        self.said.append(message)
        if not self.cut and not self.loses(message):
            self.other.coming.append(body)
            asyncio.get_running_loop().call_soon(self.other._deliver)

    def _deliver(self) -> None:
        if not self.cut:
            self.node.payment(cast("Link", self), self.coming.popleft())

    @property
    def link(self) -> Link:
        return cast("Link", self)


@dataclass
class Member:
    """A node with money.

    Attributes:
        stops: why nothing more was paid over a link, for each time.
    """

    home: Path
    peer: PeerKey
    settings: PaymentsSettings
    stops: list[Reason] = field(default_factory=list)
    wallet: Wallet = field(init=False)
    paying: PayingNode = field(init=False)

    async def start(self) -> None:
        self.wallet = await Wallet.open(self.settings, self.home, relays=True)
        self.paying = PayingNode(self.wallet, self.settings.tariff, lambda link, why, pays: self.stops.append(why))

    async def stop(self) -> None:
        await self.paying.close()
        await self.wallet.close()

    def incoming(self, wire: Wire) -> Incoming:
        return cast("Incoming", self.paying.paid_by(wire.link, RATE))


def connect(one: Member, other: Member) -> tuple[Wire, Wire]:
    """A link between two."""
    binding = secrets.token_bytes(32)
    near, far = Wire(binding), Wire(binding)
    near.other, far.other = far, near
    near.node, far.node = one.paying, other.paying
    return near, far


def part(near: Wire) -> None:
    """End a link, at both ends."""
    for wire in (near, near.other):
        wire.cut = True
        wire.node.link_down(wire.link)


async def up(client: Member, guard: Member) -> Wire:
    """A link over which one has paid ahead."""
    near, _ = connect(client, guard)
    await client.paying.paying(near.link, guard.peer, RATE)
    return near


@asynccontextmanager
async def members(folder: Path, count: int = 2, **settings: Any) -> AsyncIterator[list[Member]]:
    """Some nodes that share a ledger."""
    found: list[Member] = []
    for number in range(count):
        home = folder / f"node-{number}"
        home.mkdir()
        chosen = PaymentsSettings(settlement="local", ledger=str(folder / "ledger.db"), **({"tariff": 2} | settings))
        found.append(Member(home, PeerKey(bytes([number]) * 32), chosen))
    try:
        for member in found:
            await member.start()
        yield found
    finally:
        for member in found:
            await member.stop()


async def carry(near: Account, far: Account, rate: int, megabytes: int, piece: int = PIECE) -> int:
    """Carry towards the payer, as fast as it is paid; returns the pieces that were carried."""
    left, carried = megabytes * 1_000_000, 0
    while left > 0:
        if not far.take(rate, piece):
            paid = asyncio.Event()
            far.wait(paid.set)
            async with asyncio.timeout(5):
                await paid.wait()
            continue
        near.took(rate, piece, datagram=False)
        left -= piece
        carried += 1
        if carried % 8 == 0:
            await asyncio.sleep(0)
    return carried


async def quiet(*wires: Wire) -> None:
    """Wait until nothing is under way on some wires, and nothing is being stored at their ends."""
    await until(lambda: not any(wire.coming or len(wire.node.tasks) for wire in wires))
