"""Payment channels, said once more and as plainly as possible: what every settlement is compared with.

A call has faults, any number of them; a settlement refuses it for one of these, whichever it looks for first, and does
it if there are none. A voucher is good if the channel's key signed just that: the model is told what was signed and
knows nothing of signatures.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from core.errors import Reason
from ledger.settlement import Channel, ChannelState

NOBODY = bytes(20)
LIMIT = 1 << 96
"""Of what is put into a channel, in units."""


@dataclass(frozen=True, slots=True)
class Open:
    caller: bytes
    payee: bytes
    signer: bytes
    deposit: int


@dataclass(frozen=True, slots=True)
class TopUp:
    caller: bytes
    channel: bytes
    units: int


@dataclass(frozen=True, slots=True)
class Claim:
    caller: bytes
    channel: bytes
    cumulative: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class StartClose:
    caller: bytes
    channel: bytes


@dataclass(frozen=True, slots=True)
class Close:
    caller: bytes
    channel: bytes


@dataclass(frozen=True, slots=True)
class FinishClose:
    caller: bytes
    channel: bytes


type Call = Open | TopUp | Claim | StartClose | Close | FinishClose


@dataclass(slots=True)
class Held:
    """A channel that is not closed."""

    payer: bytes
    payee: bytes
    signer: bytes
    deposit: int
    claimed: int = 0
    closes_at: int | None = None


@dataclass(slots=True)
class Model:
    """All accounts and channels.

    Args:
        balances: of each account, in units.
        separator: of the domain in which vouchers count.
    """

    balances: dict[bytes, int]
    separator: bytes
    held: dict[bytes, Held] = field(default_factory=dict)
    closed: set[bytes] = field(default_factory=set)
    signed: set[tuple[bytes, bytes, bytes, int, bytes]] = field(default_factory=set)
    """Each signer, domain separator, channel, amount and signature that there ever was."""

    @property
    def locked(self) -> int:
        return sum(held.deposit - held.claimed for held in self.held.values())

    def look(self, channel: bytes) -> Channel:
        """A channel that there is or was."""
        if channel in self.closed:
            return Channel(NOBODY, NOBODY, NOBODY, 0, 0, ChannelState.CLOSED)
        held = self.held[channel]
        state = ChannelState.OPEN if held.closes_at is None else ChannelState.CLOSING
        return Channel(held.payer, held.payee, held.signer, held.deposit, held.claimed, state, held.closes_at or 0)

    def faults(self, call: Call, now: int) -> set[Reason]:
        """What is wrong with a call."""
        if isinstance(call, Open):
            wrong = call.deposit == 0 or call.deposit >= LIMIT or NOBODY in (call.payee, call.signer)
            return _which(NOT_ALLOWED=wrong, NO_FUNDS=call.deposit > self.balances[call.caller])
        if call.channel in self.closed:
            return {Reason.NOT_OPEN}
        if call.channel not in self.held:
            return {Reason.NO_CHANNEL}
        held = self.held[call.channel]
        closing = held.closes_at is not None
        match call:
            case TopUp():
                lacks = call.units > self.balances[call.caller]
                wrong = call.units == 0 or held.deposit + call.units >= LIMIT
                return _which(NOT_OPEN=closing, NOT_ALLOWED=wrong, NO_FUNDS=lacks)
            case Claim():
                voucher = (held.signer, self.separator, call.channel, call.cumulative, call.signature)
                return _which(BAD_VOUCHER=voucher not in self.signed)
            case StartClose():
                return _which(NOT_OPEN=closing, NOT_ALLOWED=call.caller != held.payer)
            case Close():
                return _which(NOT_ALLOWED=call.caller != held.payee)
            case FinishClose():
                return _which(NOT_OPEN=not closing, TOO_EARLY=held.closes_at is not None and now < held.closes_at)

    def open(self, call: Open, channel: bytes) -> None:
        self.balances[call.caller] -= call.deposit
        self.held[channel] = Held(call.caller, call.payee, call.signer, call.deposit)

    def start_close(self, call: StartClose, closes_at: int) -> None:
        self.held[call.channel].closes_at = closes_at

    def do(self, call: TopUp | Claim | Close | FinishClose) -> int | None:
        """Do what has no faults; returns what a claim pays out."""
        held = self.held[call.channel]
        match call:
            case TopUp():
                self.balances[call.caller] -= call.units
                held.deposit += call.units
            case Claim():
                payable = call.cumulative if call.cumulative < held.deposit else held.deposit
                units = payable - held.claimed if payable > held.claimed else 0
                held.claimed += units
                self.balances[held.payee] += units
                return units
            case Close() | FinishClose():
                self.balances[held.payer] += held.deposit - held.claimed
                self.closed.add(call.channel)
                del self.held[call.channel]
        return None


def _which(**reasons: bool) -> set[Reason]:
    return {Reason[name] for name, so in reasons.items() if so}
