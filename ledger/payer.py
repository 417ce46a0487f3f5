"""The paying end of a link: it shows a channel and keeps the payee paid, a voucher at a time. Messages in, events out.

    ASK → TERMS → the owner finds or opens a channel → CHANNEL → STATE → VOUCHER → PAID → VOUCHER → …

An amount is stored before it is signed. No more than `UNDER_WAY` vouchers and a window wait for the payee's word at
once. Each voucher says all that was ever paid, so after any crash STATE and the last one bring the books of the two
ends together.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple

from core.errors import DecodeError, PaymentError, Reason
from ledger import messages
from ledger.account import UNDER_WAY, PayerAccount
from ledger.amounts import MAX_AMOUNT, PARTS_PER_UNIT
from ledger.messages import Side, Stopped
from ledger.voucher import check

if TYPE_CHECKING:
    from ledger.voucher import SigningKey

COUNTS_S: Final = 2.0
"""How long a payee may wait for money although half a window is paid ahead, seconds."""

QUIET_S: Final = 0.5
"""A payee that waits says so each `payee.DUE_S`. After this long without a word it no longer waits, seconds."""


ANSWER_S: Final = 10.0
"""How long a payee may take for any answer, seconds. It may have to ask a chain, or to wait for its disk."""


class Stage(Enum):
    """Where the session stands."""

    START = auto()
    ASKED = auto()
    OPENING = auto()
    SHOWN = auto()
    UP = auto()
    STOPPED = auto()


_LEGAL: Final = {
    (Stage.START, Stage.ASKED),
    (Stage.ASKED, Stage.OPENING),
    (Stage.OPENING, Stage.SHOWN),
    (Stage.SHOWN, Stage.UP),
    *((stage, Stage.STOPPED) for stage in Stage if stage is not Stage.STOPPED),
}


@dataclass(frozen=True, slots=True)
class OwnChannel:
    """What a payer knows of a channel of its own.

    Args:
        channel: its id, 32 bytes.
        key: that it signs with.
        deposit: units, as far as they are final.
        paid: units that are stored as signed.
        used: parts that were used on it by this end's own count.
        sure: whether that is the last count, and not what a crash may have left in the store.
        rate: the highest that it was paid for since the node started, units per MB: what is paid ahead was so for it.
    """

    channel: bytes
    key: SigningKey
    deposit: int
    paid: int = 0
    used: int = 0
    sure: bool = False
    rate: int = 0


class NeedChannel(NamedTuple):
    """Find or open a channel to an account (20 bytes), then call `show`, or `stop`."""

    account: bytes


class Commit(NamedTuple):
    """Store the amount as paid (units), and what is used (parts). Then call `stored`, or `not_stored`."""

    cumulative: int
    used: int


class Adopt(NamedTuple):
    """As `Commit`, for what this node has signed and forgot: no cap stops it. The deposit may be forgotten too."""

    cumulative: int
    used: int


class Acknowledged(NamedTuple):
    """The payee has stored a voucher, and carries what it pays for."""

    cumulative: int


class NeedDeposit(NamedTuple):
    """The deposit is too small for the next voucher by so many units. Set `deposit` when there is more."""

    units: int


class CapReached(NamedTuple):
    """The spending cap leaves less than the next voucher needs. Set `cap` if it leaves more, or `stop`."""


type Event = NeedChannel | Commit | Adopt | Acknowledged | NeedDeposit | CapReached | Stopped


class Payer:
    """The paying end of one link, for one session.

    Take what is to be sent from `outgoing` after every call, and call `tick` at `next_at`. All events are the owner's
    to act on. When the link is gone, call `stop`. After the end, keep `own` once nothing is being stored, and begin no
    other session on the same link within `payee.LOOK_S`. Every `now` is in monotonic seconds.

    Args:
        separator: of the domain in which this node pays, 32 bytes.
        link: what the two ends of this link know, and no other link has, 32 bytes.
        rate: the highest rate of a circuit on the link, units per MB.

    Attributes:
        account: what is counted here, once `stage` is `UP`.
        acknowledged: units that the payee has stored.
        deposit: units that the channel holds, ever.
        cap: units that may ever be signed on the channel, by what the user allows.
    """

    def __init__(self, separator: bytes, link: bytes, rate: int) -> None:
        self._separator = separator
        self._link = link
        self._rate = self._highest_rate = rate
        self._channel: OwnChannel | None = None
        self._pending: int | None = None
        self._told: tuple[int, int] | None = None
        self._differ_since = 0.0
        self._due_at: float | None = None
        self._answer_by: float | None = None
        self._under_way: deque[int] = deque()
        self._account: PayerAccount | None = None
        self.stage = Stage.START
        self.acknowledged = 0
        self.deposit = 0
        self.cap = MAX_AMOUNT
        self.outgoing: list[bytes] = []

    @property
    def account(self) -> PayerAccount:
        assert self._account is not None, "there is no account before the payee has answered"
        return self._account

    @property
    def ahead(self) -> int:
        """Parts that are acknowledged and not used: what the payee would carry now."""
        return self.acknowledged * PARTS_PER_UNIT - self.account.used

    @property
    def own(self) -> OwnChannel | None:
        """The channel as it is now, to be shown on the next link; None before there is one."""
        if self._channel is None:
            return None
        own = replace(self._channel, deposit=self.deposit, rate=self._highest_rate)
        if self._account is None:
            return own
        return replace(own, paid=self._account.paid, used=self._account.own, sure=True)

    @property
    def next_at(self) -> float | None:
        """When to call `tick`, if nothing happens before."""
        return self._answer_by

    def _enter(self, stage: Stage) -> None:
        if (self.stage, stage) not in _LEGAL:
            raise DecodeError("payment", "out of order")
        self.stage = stage

    # -- what the owner does

    def ask(self, now: float) -> None:
        """Begin."""
        self._enter(Stage.ASKED)
        self._answer_by = now + ANSWER_S
        self._say(messages.Ask())

    def show(self, own: OwnChannel, now: float) -> None:
        """Answer `NeedChannel`. Nothing happens if the session has stopped since."""
        if self.stage is Stage.STOPPED:
            return
        self._enter(Stage.SHOWN)
        self._answer_by = now + ANSWER_S
        self._channel, self.deposit, self._highest_rate = own, own.deposit, max(own.rate, self._rate)
        self._say(messages.Channel(own.channel, own.key.prove(self._separator, own.channel, self._link)))

    def rates(self, rate: int) -> list[Event]:
        """Set the highest rate in use, units per MB; 0 while there is no circuit that costs."""
        self._rate = rate
        self._highest_rate = max(self._highest_rate, rate)
        if self._account is not None:
            self._account.rate = rate
        return self.due()

    def due(self) -> list[Event]:
        """Pay ahead if it is time. Call this after everything that changed the account, the deposit or the cap."""
        if self.stage is not Stage.UP or self._pending is not None or not self._rate:
            return []
        account = self.account
        if len(self._under_way) >= UNDER_WAY:
            return []
        limit = min(self.deposit, self.cap)
        amount = account.next_amount(min(limit, self.acknowledged + account.window // PARTS_PER_UNIT))
        if amount is not None:
            self._pending, self._due_at = amount, None
            return [Commit(amount, account.own)]
        wanted = self._wanted
        if wanted is None or wanted <= limit or self._told == (self.deposit, self.cap):
            return []
        self._told = (self.deposit, self.cap)
        return [CapReached() if self.cap <= self.deposit else NeedDeposit(wanted - self.deposit)]

    def stored(self, now: float) -> list[Event]:
        """What `Commit` or `Adopt` named is durable: sign it, if the payee has not got it."""
        assert self._pending is not None, "nothing was to be stored"
        amount, self._pending = self._pending, None
        self.account.paid = amount
        if self.stage is Stage.UP and amount > self.acknowledged:
            self._sign(now)
        return self.due()

    def not_stored(self) -> None:
        """It was refused, and is not signed. Change what stood against it or `stop`, or it is asked for again."""
        self._pending = None

    def tick(self, now: float) -> list[Event]:
        """Do what is due by now."""
        if self._answer_by is None or now < self._answer_by:
            return []
        # Who takes a voucher and says nothing is to blame, but not who only has no time for payments.
        return self.stop(Reason.COUNTS_DIFFER if self.stage is Stage.UP else Reason.NO_CHANNEL)

    def stop(self, reason: Reason) -> list[Event]:
        """End the session, and say why. Nothing happens if it is over."""
        if self.stage is Stage.STOPPED:
            return []
        if self.stage is not Stage.START:
            self._say(messages.Stop(Side.PAYER, reason))
        return self._end(reason, Side.PAYER)

    # -- what the payee says

    def receive(self, message: messages.Message, now: float) -> list[Event]:
        """Take a message. After the end nothing is listened to, since it may have been under way.

        Args:
            message: one that `messages.reader_of` gives to the payer.
            now: monotonic seconds.

        Raises:
            DecodeError: the payee broke the protocol; drop the link.
        """
        if self.stage is Stage.STOPPED:
            return []
        match self.stage, message:
            case Stage.ASKED, messages.Terms():
                return self._terms(message)
            case Stage.ASKED, _:
                return []  # It belongs to the session before this one.
            case stage, messages.Stop(Side.PAYEE, reason) if stage is not Stage.START:
                return self._end(reason, Side.PAYEE)
            case Stage.SHOWN, messages.State():
                return self._state(message, now)
            case Stage.UP, messages.Paid():
                return self._paid(message, now)
            case Stage.UP, messages.Due():
                return self._due(message, now)
            case _:
                raise DecodeError("payment", "out of order")

    def _terms(self, terms: messages.Terms) -> list[Event]:
        if terms.separator != self._separator:
            return self.stop(Reason.NO_CHANNEL)
        self._enter(Stage.OPENING)
        self._answer_by = None
        return [NeedChannel(terms.account)]

    def _state(self, state: messages.State, now: float) -> list[Event]:
        own = self._channel
        assert own is not None
        if state.reason is not Reason.DONE:
            return self._end(state.reason, Side.PAYEE)
        lost = state.cumulative > own.paid
        if lost:
            try:
                check(own.key.address, self._separator, own.channel, state.cumulative, state.signature)
            except PaymentError as error:
                return self.stop(error.reason)
        if state.used > state.cumulative * PARTS_PER_UNIT:
            return self.stop(Reason.COUNTS_DIFFER)
        paid = max(own.paid, state.cumulative)
        # Who has lost count cannot blame the other for remembering more.
        surplus = max(0, state.used - own.used) if own.sure and not lost else 0
        self._enter(Stage.UP)
        self._answer_by = None
        self.acknowledged = state.cumulative
        self._account = PayerAccount(paid, state.used, surplus)
        self._account.rate = self._highest_rate
        self._account.rate = self._rate
        events: list[Event] = [Acknowledged(state.cumulative)]
        if lost:
            self._pending = paid
            return [*events, Adopt(paid, self._account.own)]
        if state.cumulative < paid:
            self._sign(now)
        return events + self.due()

    def _paid(self, paid: messages.Paid, now: float) -> list[Event]:
        if paid.cumulative > self.account.paid:
            return self.stop(Reason.PROTOCOL)
        if paid.cumulative <= self.acknowledged:
            return []
        self.account.states(paid.counted, paid.cumulative)
        self.acknowledged = paid.cumulative
        while self._under_way and self._under_way[0] <= paid.cumulative:
            self._under_way.popleft()
            self._answer_by = now + ANSWER_S if self._under_way else None
        return [Acknowledged(paid.cumulative), *self.due()]

    def _due(self, due: messages.Due, now: float) -> list[Event]:
        self.account.states(due.counted)
        events = self.due()
        if self.acknowledged < self.account.paid or self._wanted is not None:
            self._due_at = None
            return events
        if self._due_at is None or now - self._due_at > QUIET_S:
            self._differ_since = now
        self._due_at = now
        return self.stop(Reason.COUNTS_DIFFER) if now - self._differ_since >= COUNTS_S else events

    # -- both

    @property
    def _wanted(self) -> int | None:
        """What would be signed next if there were no limit."""
        return self.account.next_amount(MAX_AMOUNT)

    def _sign(self, now: float) -> None:
        own, amount = self._channel, self.account.paid
        assert own is not None
        signature = own.key.sign(self._separator, own.channel, amount)
        self._say(messages.Voucher(amount, signature, self.account.datagrams))
        self._under_way.append(amount)
        if self._answer_by is None:
            self._answer_by = now + ANSWER_S

    def _say(self, message: messages.Message) -> None:
        self.outgoing.append(messages.encode(message))

    def _end(self, reason: Reason, side: Side) -> list[Event]:
        self._enter(Stage.STOPPED)
        self._answer_by = None
        return [Stopped(reason, side)]
