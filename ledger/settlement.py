"""Where channels live: one interface, two answers to it, `ledger.local` and `ledger.evm`.

A channel goes from one payer to one payee, holds a deposit, and pays out what the highest voucher says. It is open,
then closing, then closed, and never comes back; its id is never used again. While it is closing nothing is added to
it, and the payee has `CLOSE_DELAY_S` to claim. The payee may close at once, since only the payer gets what is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ledger.voucher import Domain

CLOSE_DELAY_S: Final = 24 * 3600
"""Between the start of a close by the payer and the moment from which it can be finished."""

MAX_DEPOSIT: Final = (1 << 96) - 1
"""Units of one channel: the room beside an address in a word of the contract's storage."""


class ChannelState(IntEnum):
    OPEN = 1
    CLOSING = 2
    CLOSED = 3


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel as the settlement has it, as far as that is final.

    Args:
        payer: account that gets back what is left, 20 bytes.
        payee: account that claims, 20 bytes.
        signer: address of the key that signs vouchers, 20 bytes.
        deposit: units put in, ever.
        claimed: units paid out to the payee.
        state: where it stands.
        closes_at: settlement's time in seconds from which a close can be finished; 0 while it is open.
    """

    payer: bytes
    payee: bytes
    signer: bytes
    deposit: int
    claimed: int
    state: ChannelState
    closes_at: int = 0


class Settlement(Protocol):
    """What both back ends do. All calls act for the account of this node.

    Every call raises `PaymentError`: `NO_FUNDS`, the account lacks it; `NO_CHANNEL`, no such channel;
    `NOT_OPEN`, its state does not allow it; `NOT_ALLOWED`, somebody else's, about nothing (0 units, the address of
    zeros), or above `MAX_DEPOSIT`; `TOO_EARLY`, the delay is not over; `BAD_VOUCHER`; `SETTLEMENT`, the ledger or the
    chain cannot be reached, or says something else. What is no amount, address or id at all is a `ValueError`. A
    call that raises has changed nothing.
    """

    @property
    def domain(self) -> Domain: ...

    @property
    def account(self) -> bytes:
        """This node's, 20 bytes."""

    async def balance(self) -> int:
        """Units that are free to put into channels."""

    async def now_s(self) -> int:
        """The settlement's time, which delays are reckoned in."""

    async def open(self, payee: bytes, signer: bytes, deposit: int) -> bytes:
        """Open a channel; returns its id, 32 bytes, once it is final."""

    async def top_up(self, channel: bytes, units: int) -> None:
        """Add to the deposit of an open channel. Anyone may."""

    async def look(self, channel: bytes) -> Channel:
        """The channel as it stands. Of a closed one nothing else is known: its addresses and amounts are zeros."""

    async def claim(self, channel: bytes, cumulative: int, signature: bytes) -> int:
        """Pay out to the payee what a voucher says beyond what was claimed, as far as the deposit goes. Anyone may.

        Returns:
            Units that were paid out; 0 for a voucher that says nothing new.
        """

    async def start_close(self, channel: bytes) -> None:
        """The payer ends it: the delay begins."""

    async def close(self, channel: bytes) -> None:
        """The payee ends it at once; claim before."""

    async def finish_close(self, channel: bytes) -> None:
        """After the delay, give the payer what is left. Anyone may."""

    async def find(self, payee: bytes, signer: bytes) -> bytes | None:
        """The id of the newest channel from this account to a payee, with a signer; None if there is none. It may be
        closed. For a node that was stopped while it opened one."""

    async def closing(self, channels: Iterable[bytes]) -> list[bytes]:
        """Those of some channels that are closing: what vouchers say has to be claimed now."""

    async def aclose(self) -> None:
        """Let go of files and connections."""
