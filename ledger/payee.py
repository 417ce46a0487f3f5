"""The paid end of a link: it knows what is paid, and says when money is missing. Messages in, events out.

    ASK → TERMS → CHANNEL → the owner looks it up → STATE → VOUCHER → the owner stores it → PAID → VOUCHER → …

A voucher is verified, then stored, and only then acknowledged and moved on. One is stored at a time; of those that come
meanwhile only the highest is kept. So a flood of them costs one check of a signature per commit, and never more than
one each `CHECK_S`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, NamedTuple

from core.errors import DecodeError, PaymentError, Reason
from ledger import messages
from ledger.account import PayeeAccount
from ledger.messages import NO_SIGNATURE, Side, Stopped
from ledger.voucher import check, check_proof

DUE_S: Final = 0.1
"""Between two words that money is missing, seconds."""

UNPAID_S: Final = 5.0
"""How long something may wait without any voucher, seconds."""

LOOK_S: Final = 1.0
"""Between two questions to the settlement that one link causes, seconds; so also between two sessions on it."""

CHECK_S: Final = 1 / 64
"""Between two checks of a signature that one link causes, seconds, in the long run. An honest payer sends a voucher per
quarter of a window. At 15,000 checks a second (`bench vouchers`) this is 0.4 % of a core."""

CHECKS_AHEAD: Final = 32
"""Checks that may follow each other at once: the first windows are small and quickly used."""


class Stage(Enum):
    """Where the session stands."""

    START = auto()
    TOLD = auto()
    LOOKING = auto()
    UP = auto()
    STOPPED = auto()


_LEGAL: Final = {
    (Stage.START, Stage.TOLD),
    (Stage.TOLD, Stage.LOOKING),
    (Stage.LOOKING, Stage.UP),
    *((stage, Stage.STOPPED) for stage in Stage if stage is not Stage.STOPPED),
}


@dataclass(frozen=True, slots=True)
class TheirChannel:
    """What a payee knows of a channel that pays it.

    Args:
        signer: address of the key that signs, 20 bytes.
        deposit: units, as far as they are final.
        paid: units of the highest voucher that is stored; 0 for none.
        signature: that voucher's.
        used: parts, stored with it, or counted since.
    """

    signer: bytes
    deposit: int
    paid: int = 0
    signature: bytes = NO_SIGNATURE
    used: int = 0


class Look(NamedTuple):
    """Look a channel up in the store and the settlement. Answer with `accept` or `refuse`; once it is accepted, with
    `set_deposit`, or not at all.

    Only a channel to this node that is open is accepted. If another link has it, end that session first and take what
    its account says is used, so that one payment never pays on two links.
    """

    channel: bytes


class Commit(NamedTuple):
    """Store the voucher (units, and 65 bytes), and what is used (parts). Then call `stored`, or `stop`."""

    cumulative: int
    signature: bytes
    used: int


type Event = Look | Commit | Stopped


class Payee:
    """The paid end of one link, for one session.

    Take what is to be sent from `outgoing` after every call, and call `tick` at `next_at`. All events are the owner's
    to act on. When the link is gone, call `stop`. After the end, keep what `account` says is used, once nothing is
    being stored.

    Args:
        separator: of the domain in which this node is paid, 32 bytes.
        account: where it is paid, 20 bytes.
        link: what the two ends of this link know, and no other link has, 32 bytes.
        now: monotonic seconds.

    Attributes:
        account: what is counted here, once `stage` is `UP`.
    """

    def __init__(self, separator: bytes, account: bytes, link: bytes, now: float) -> None:
        self._separator = separator
        self._own = account
        self._link = link
        self._channel = b""
        self._proof = b""
        self._signer = b""
        self._deposit = 0
        self._pending: messages.Voucher | None = None
        self._waiting: messages.Voucher | None = None
        self._checks_until = self._look_at = now
        self._short_since: float | None = None
        self._due_at = now
        self._account: PayeeAccount | None = None
        self.stage = Stage.START
        self.outgoing: list[bytes] = []

    @property
    def account(self) -> PayeeAccount:
        assert self._account is not None, "there is no account before a channel is accepted"
        return self._account

    @property
    def next_at(self) -> float | None:
        """When to call `tick`, if nothing happens before."""
        if self.stage is not Stage.UP:
            return None
        times = []
        if self._waiting is not None and self._pending is None:
            times.append(self._look_at if self._waiting.cumulative > self._deposit else self._check_at)
        if self._short_since is not None:
            times.append(self._due_at)
            if self._pending is None:
                times.append(self._short_since + UNPAID_S)
        return min(times, default=None)

    @property
    def _check_at(self) -> float:
        return self._checks_until - (CHECKS_AHEAD - 1) * CHECK_S

    def _enter(self, stage: Stage) -> None:
        if (self.stage, stage) not in _LEGAL:
            raise DecodeError("payment", "out of order")
        self.stage = stage

    # -- what the owner does

    def may_follow(self, now: float) -> bool:
        """Whether an ASK may begin another session after this one. Else give it to this one: it breaks the protocol
        while this one lasts, and is not listened to after it."""
        return self.stage is Stage.STOPPED and now >= self._look_at

    def accept(self, found: TheirChannel) -> list[Event]:
        """Answer the first `Look`. Nothing happens if the session has stopped since."""
        if self.stage is Stage.STOPPED:
            return []
        try:
            check_proof(found.signer, self._separator, self._channel, self._link, self._proof)
        except PaymentError as error:
            return self.refuse(error.reason)
        self._enter(Stage.UP)
        self._signer, self._deposit = found.signer, found.deposit
        self._account = PayeeAccount(found.paid, found.used)
        self._say(messages.State(found.paid, found.signature, found.used))
        return []

    def refuse(self, reason: Reason) -> list[Event]:
        """Answer the first `Look`: no. Nothing happens if the session has stopped since."""
        if self.stage is Stage.STOPPED:
            return []
        self._say(messages.State(0, NO_SIGNATURE, 0, reason))
        return self._end(reason, Side.PAYEE)

    def set_deposit(self, units: int, now: float) -> list[Event]:
        """Hear what the channel holds, ever, as far as it is final."""
        self._deposit = units
        return self._take(now)

    def stored(self, now: float) -> list[Event]:
        """What `Commit` named is durable: acknowledge it. Then move on what waits, and say `enough` or `short`."""
        voucher, self._pending = self._pending, None
        assert voucher is not None, "nothing was to be stored"
        self.account.pays(voucher.cumulative)
        self.account.arrived(voucher.datagrams)
        self._short_since = None
        if self.stage is Stage.UP:
            self._say(messages.Paid(voucher.cumulative, self.account.counted))
        return self._take(now)

    def short(self, now: float) -> None:
        """Something waits for money."""
        if self.stage is Stage.UP and self._short_since is None:
            self._short_since = now
            self._ask_for_money(now)

    def enough(self) -> None:
        """Nothing waits for money."""
        self._short_since = None

    def tick(self, now: float) -> list[Event]:
        """Do what is due by now."""
        if self.stage is not Stage.UP:
            return []
        if self._short_since is not None:
            if self._pending is None and now - self._short_since >= UNPAID_S:
                return self.stop(Reason.UNPAID)
            self._ask_for_money(now)
        return self._take(now)

    def stop(self, reason: Reason) -> list[Event]:
        """End the session, and say why. Nothing happens if it is over."""
        if self.stage is Stage.STOPPED:
            return []
        self._say(messages.Stop(Side.PAYEE, reason))
        return self._end(reason, Side.PAYEE)

    # -- what the payer says

    def receive(self, message: messages.Message, now: float) -> list[Event]:
        """Take a message. After the end nothing is listened to, since it may have been under way.

        Args:
            message: one that `messages.reader_of` gives to the payee.
            now: monotonic seconds.

        Raises:
            DecodeError: the payer broke the protocol; drop the link.
        """
        if self.stage is Stage.STOPPED:
            return []
        match self.stage, message:
            case stage, messages.Stop(Side.PAYER, reason) if stage is not Stage.START:
                return self._end(reason, Side.PAYER)
            case Stage.START, messages.Ask():
                self._enter(Stage.TOLD)
                self._say(messages.Terms(self._separator, self._own))
                return []
            case Stage.TOLD, messages.Channel(channel, proof):
                self._enter(Stage.LOOKING)
                self._channel, self._proof = channel, proof
                return self._look(now)
            case Stage.UP, messages.Voucher():
                return self._voucher(message, now)
            case _:
                raise DecodeError("payment", "out of order")

    def _voucher(self, voucher: messages.Voucher, now: float) -> list[Event]:
        highest = self._waiting or self._pending
        if voucher.cumulative <= (highest.cumulative if highest else self.account.paid):
            return []
        self._waiting = voucher
        return self._take(now)

    def _take(self, now: float) -> list[Event]:
        """Verify what waits to be, if it may be now."""
        voucher = self._waiting
        if voucher is None or self._pending is not None or self.stage is not Stage.UP:
            return []
        if voucher.cumulative > self._deposit:
            return self._look(now)
        if now < self._check_at:
            return []
        self._checks_until = max(self._checks_until, now) + CHECK_S
        self._waiting = None
        try:
            check(self._signer, self._separator, self._channel, voucher.cumulative, voucher.signature)
        except PaymentError as error:
            return self.stop(error.reason)
        self._pending = voucher
        return [Commit(voucher.cumulative, voucher.signature, self.account.used)]

    def _look(self, now: float) -> list[Event]:
        if now < self._look_at:
            return []
        self._look_at = now + LOOK_S
        return [Look(self._channel)]

    # -- both

    def _ask_for_money(self, now: float) -> None:
        if now >= self._due_at:
            self._due_at = now + DUE_S
            self._say(messages.Due(self.account.counted))

    def _say(self, message: messages.Message) -> None:
        self.outgoing.append(messages.encode(message))

    def _end(self, reason: Reason, side: Side) -> list[Event]:
        self._enter(Stage.STOPPED)
        return [Stopped(reason, side)]
