"""What one end of a link reckons: how much was used, how much is paid, and when the next voucher is due.

Everything is prepaid. The payee moves nothing that is not paid, so it risks nothing; the payer pays at most one window
ahead of its own count, which is all that it can lose. Both ends count the same bytes, and no clock decides anything.

In flight the two counts differ, and what is lost on the way makes them differ for good. Where the payee counted less,
the payer comes down to the payee's count. Where it counted more, the payer pays by the payee's count as long as that
takes it no further than its window, and 1/64 of all that it counted itself, ahead of its own. Both hold for the whole
life of a channel, so that nobody wins anything by reconnecting. All that is paid ahead may be under way when a link
dies, and then only the payee has counted it. So some of what a payer may still pay for such counts is always kept.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from ledger.amounts import PARTS_PER_UNIT, check_amount, check_parts, roundest

FIRST_WINDOW_MB: Final = 1
LEAST_WINDOW: Final = 4
"""Units. Vouchers are whole units, so that a window of fewer could not be kept filled."""

MAX_WINDOW_MB: Final = 64
HISTORY_SHARE: Final = 4
"""A window is at most this part of all that was paid on the channel before."""

SLACK_SHARE: Final = 64
"""The part of its own count that a payer pays for what only the payee counted, on top of a window."""

UNDER_WAY: Final = 3
"""Vouchers that a payer may have signed and the payee not acknowledged. Each is due a quarter of a window after the one
before, and three quarters are paid ahead, so that more would not be signed in a round trip."""

KEPT_SHARE: Final = 4
"""The part of what a payer may still pay beyond its own count that one link never takes, and so not its end either."""

LEAST_LEFT: Final = 2 * PARTS_PER_UNIT
"""So much of it is not kept: vouchers are whole units."""

EVEN_SHARE: Final = 8
"""The part of its window that a payer pays sooner than it must, so that the amount is a round one."""

EVEN_LEAST: Final = 10
"""Units. It is not worth it for less."""

LOST_SHARE: Final = 3
"""A payee gives back datagrams that got lost, up to this part of those that arrived: a quarter of all."""


def window_units(paid: int, rate: int) -> int:
    """How far ahead a payer pays.

    Args:
        paid: units, all that was ever paid on the channel.
        rate: the highest rate in use, units per MB.
    """
    grown = min(paid // HISTORY_SHARE, MAX_WINDOW_MB * rate)
    return max(LEAST_WINDOW, FIRST_WINDOW_MB * rate, grown)


def _start_of(paid: int, start: int) -> int:
    if check_parts(start) > check_amount(paid) * PARTS_PER_UNIT:
        raise ValueError("no more can be used than is paid")
    return start


class PayerAccount:
    """The paying end of a channel, while one link lasts.

    `take`, `took` and `next_amount` are called for every message, so what they compare with is reckoned beforehand.

    Args:
        paid: units signed on the channel so far.
        start: parts used on the channel before this link, as the payee says.
        surplus: parts of `start` that only the payee counted: `start` less the `own` of the link before, if above 0.

    Attributes:
        start: as above.
        counted: parts that this end counted on this link, less what is known never to have reached the payee; never
            below `offered`.
        stated: parts that the payee says it counted on this link.
        until: `counted` may grow so far before anybody looks again; see `look`.
        datagrams: parts of datagrams that arrived here, which are within `counted`; the payee is told.
        set_off: parts of use that were set against what the payee used here.
        offered: parts that this end would set off, and the payee may agree to at any time.

    Raises:
        ValueError: no amounts, or `surplus` is above `start`, or that above what is paid.
    """

    __slots__ = (
        "_due_above",
        "_highest_rate",
        "_limit",
        "_lost",
        "_marked",
        "_paid",
        "_rate",
        "_round",
        "_settled",
        "_surplus",
        "counted",
        "datagrams",
        "offered",
        "set_off",
        "start",
        "stated",
        "until",
    )

    def __init__(self, paid: int, start: int, surplus: int = 0) -> None:
        self.start = _start_of(paid, start)
        if check_parts(surplus) > start:
            raise ValueError("the surplus is a part of what was used")
        self._paid = paid
        self._surplus = surplus
        self.counted = self.stated = self.datagrams = self.set_off = self.offered = 0
        self._rate = self._highest_rate = self._lost = self._marked = self._settled = self._round = 0
        self._reckon()

    def _reckon(self) -> None:
        self._limit = self._paid * PARTS_PER_UNIT - self.start + self.set_off
        self._due_above = self._limit - self.window // 2
        self.until = -1

    @property
    def paid(self) -> int:
        """Units signed and stored. Set it when a voucher that was stored is sent.

        Raises:
            ValueError: no amount, or below what was signed before.
        """
        return self._paid

    @paid.setter
    def paid(self, cumulative: int) -> None:
        if check_amount(cumulative) < self._paid:
            raise ValueError("what is signed cannot be taken back")
        self._paid = cumulative
        if not self._round:
            self._round, self._marked = cumulative, self.counted + self._lost
        self._reckon()

    @property
    def rate(self) -> int:
        """The highest rate in use, units per MB; 0 while there is none."""
        return self._rate

    @rate.setter
    def rate(self, rate: int) -> None:
        self._rate = rate
        self._highest_rate = max(self._highest_rate, rate)
        self._reckon()

    @property
    def window(self) -> int:
        """Parts."""
        return window_units(self._paid, self._rate) * PARTS_PER_UNIT

    @property
    def widest(self) -> int:
        """Parts: the window at the highest rate that was in use on this link."""
        return window_units(self._paid, self._highest_rate) * PARTS_PER_UNIT

    @property
    def own(self) -> int:
        """Parts used on the channel by this end's count alone, to be stored with `paid` and when the link ends."""
        return self.start - self._surplus + self.counted - self.set_off

    @property
    def used(self) -> int:
        """Parts used on the channel, by whichever count is higher; never above what is paid."""
        return self.start + min(max(self.counted, self.stated), self._limit) - self.set_off

    @property
    def room(self) -> int:
        """Parts that are paid and not used."""
        return self._paid * PARTS_PER_UNIT - self.used

    def look(self, most: int) -> None:
        """Let `counted` grow by itself until a voucher is due, or nothing more is paid.

        Args:
            most: parts at which somebody will look in any case.
        """
        ahead = max(0, self.stated - self.counted)
        self.until = min(self._due_above, self._limit - ahead, most) if self.stated <= self._due_above else -1

    def take(self, parts: int) -> bool:
        """Ask to send; counted if True."""
        counted = self.counted
        if not 0 <= parts <= self._limit - (counted if counted > self.stated else self.stated):
            return False
        self.counted = counted + parts
        return True

    def took(self, parts: int, *, datagram: bool = False) -> None:
        """Count what came."""
        self.counted += parts
        if datagram:
            self.datagrams += parts

    def give_back(self, parts: int) -> None:
        """Something that was counted to be sent is known never to have left."""
        self.counted = max(self.offered, self.counted - parts)
        self.until = -1
        self._marked -= parts
        self._settled -= parts

    def states(self, parts: int, acknowledged: int = 0) -> None:
        """Hear the payee's count for this link.

        Vouchers make rounds: the first that is signed after the answer to the one that began the last round begins the
        next. What was counted here before a round, and is not in the payee's count at the end of the next one, never
        reached it. If it comes late after all, the next such word puts it right.

        Args:
            parts: the count.
            acknowledged: units of the voucher that it answers, 0 if it answers none.

        Raises:
            ValueError: no parts.
        """
        self.stated = check_parts(parts)
        self.until = -1
        if acknowledged >= self._round > 0:
            lost = min(max(0, self._settled - parts), self.counted + self._lost - self.offered)
            self.counted += self._lost - lost
            self._lost = lost
            self._settled, self._round = self._marked, 0

    def offerable(self) -> int:
        """Parts of use on this link that this end can set off without being more than one window ahead."""
        left = self.window - self._paid * PARTS_PER_UNIT + self.start - self._surplus + self.counted
        return min(self.counted, self.set_off + self.window // 4, left)

    def cancel(self, agreed: int, offered: int) -> None:
        """Set what is agreed to be set off, and what this end has offered, in parts, for this link."""
        self.set_off = agreed
        self.offered = offered
        self._reckon()

    def next_amount(self, limit: int) -> int | None:
        """What to sign next, in units; None while enough is paid, or nothing more can be.

        It is about three quarters of a window ahead, up to seven eighths if that makes it rounder: a chain shows what
        is claimed, and round amounts say less of what was carried.

        Sign it, store it as paid and send it, then set `paid`. If the payee waits for money and this is None for every
        limit, then the counts differ.

        Args:
            limit: units that may ever be signed on the channel: its deposit, or what a cap leaves.
        """
        if self.counted <= self._due_above >= self.stated:
            return None
        own = self.own + self.set_off - self.offered
        left = own // SLACK_SHARE + self.widest - self._surplus
        most = own + self._surplus + min(left, max(left - left // KEPT_SHARE, LEAST_LEFT))
        most = min(limit, most // PARTS_PER_UNIT)
        window = self.window
        target = min(most, (self.used + window * 3 // 4) // PARTS_PER_UNIT)
        if target <= self._paid:
            return None
        more = window // PARTS_PER_UNIT // EVEN_SHARE
        return roundest(target - 1, min(most, target + more)) if more >= EVEN_LEAST else target


class PayeeAccount:
    """The paid end of a channel, while one link lasts.

    `take` is called for every message, so what it compares with is reckoned beforehand.

    Args:
        paid: units of the highest voucher that is stored.
        start: parts used on the channel before this link.

    Attributes:
        paid: units of the highest voucher that is stored.
        start: as above.
        counted: parts that were moved on this link, both ways, less what is known to have been lost.
        until: as far as `counted` may grow.
        set_off: as the payer's.

    Raises:
        ValueError: no amounts, or `start` is above what is paid.
    """

    __slots__ = ("_datagrams", "_lost", "_marks", "counted", "paid", "set_off", "start", "until")

    def __init__(self, paid: int, start: int) -> None:
        self.start = _start_of(paid, start)
        self.paid = paid
        self.counted = self.set_off = 0
        self._datagrams = self._lost = 0
        self._marks: deque[int] = deque(maxlen=UNDER_WAY)
        """What was sent of datagrams at each of the last words of how much arrived."""
        self._reckon()

    def _reckon(self) -> None:
        self.until = self.paid * PARTS_PER_UNIT - self.start + self.set_off

    @property
    def used(self) -> int:
        """Parts used on the channel, to be stored; never above what is paid, never below `start`."""
        return self.start + self.counted - self.set_off

    @property
    def room(self) -> int:
        """Parts that are paid and not used."""
        return self.until - self.counted

    def take(self, parts: int) -> bool:
        """Ask to move something on, either way; counted if True."""
        if not 0 <= parts <= self.until - self.counted:
            return False
        self.counted += parts
        return True

    def take_datagram(self, parts: int) -> bool:
        """Ask to send a datagram, which may get lost: the payer says how many arrived."""
        if not self.take(parts):
            return False
        self._datagrams += parts
        return True

    def give_back(self, parts: int) -> None:
        """Something that was counted, and is no datagram, is known never to have left."""
        self.counted = max(self.set_off, self.counted - parts)

    def arrived(self, parts: int) -> None:
        """Hear how much of datagrams ever arrived on this link, in parts.

        The voucher with this word was signed after the answer to the one that came `UNDER_WAY` earlier. What was sent
        before that answer and is still missing is lost, and given back, as far as `LOST_SHARE` goes. It is not counted
        again if it comes late, since what it made room for may be used.

        Raises:
            ValueError: no parts.
        """
        arrived = min(check_parts(parts), self._datagrams)
        sent = self._marks[0] if len(self._marks) == UNDER_WAY else 0
        lost = max(self._lost, min(sent - arrived, arrived // LOST_SHARE))
        self.give_back(lost - self._lost)
        self._lost = lost
        self._marks.append(self._datagrams)

    def cancel(self, agreed: int) -> None:
        """Set what is agreed to be set off on this link, in parts; no more than is counted."""
        self.set_off = min(agreed, self.counted)
        self._reckon()

    def bound(self, most: int) -> None:
        """Take what is paid further ahead than any honest payer goes as used: a crash, or an old backup, forgot it.

        Args:
            most: parts that may be paid ahead.
        """
        if self.room > most:
            self.start += self.room - most
            self._reckon()

    def pays(self, cumulative: int) -> None:
        """A voucher was stored. A lower one changes nothing.

        Raises:
            ValueError: no amount.
        """
        self.paid = max(self.paid, check_amount(cumulative))
        self._reckon()
