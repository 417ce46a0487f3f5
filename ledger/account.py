"""What one end of a link reckons: how much was used, how much is paid, and when the next voucher is due.

Everything is prepaid. The payee moves nothing that is not paid, so it risks nothing; the payer pays at most one window
ahead, which is all that it can lose. Both ends count the same bytes, and no clock decides anything.

In flight the two counts differ, and what a broken circuit swallows makes them differ for good. The payer follows the
payee's count as far as its `slack`; beyond, it signs nothing more.
"""

from __future__ import annotations

from typing import Final

from ledger.amounts import PARTS_PER_UNIT

FIRST_WINDOW_MB: Final = 1
LEAST_WINDOW: Final = 4
"""Units. Vouchers are whole units, so that a window of fewer could not be kept filled."""

MAX_WINDOW_MB: Final = 64
HISTORY_SHARE: Final = 4
"""A window is at most this part of all that was paid on the channel before."""

SLACK_SHARE: Final = 64
DATAGRAM_SLACK_BYTES: Final = 256 * 1024


def window_units(paid: int, rate: int) -> int:
    """How far ahead a payer pays.

    Args:
        paid: units, all that was ever paid on the channel.
        rate: the highest rate in use, units per MB.
    """
    grown = min(paid // HISTORY_SHARE, MAX_WINDOW_MB * rate)
    return max(LEAST_WINDOW, FIRST_WINDOW_MB * rate, grown)


class PayerAccount:
    """The paying end of a channel, while one link lasts.

    Args:
        paid: units signed on the channel so far.
        start: parts used on the channel before this link, as both ends see it.

    Attributes:
        paid: units signed and stored.
        counted: parts that this end counted on this link.
        stated: parts that the payee says it counted on this link; never falls.
        datagrams: parts of datagrams that arrived here, which are within `counted`; the payee is told.
        set_off: parts of use that were set against what the payee used here.
        rate: the highest rate in use, units per MB.
    """

    __slots__ = ("counted", "datagrams", "paid", "rate", "set_off", "start", "stated")

    def __init__(self, paid: int, start: int) -> None:
        self.paid = paid
        self.start = start
        self.counted = self.stated = self.datagrams = self.set_off = self.rate = 0

    @property
    def window(self) -> int:
        """Parts."""
        return window_units(self.paid, self.rate) * PARTS_PER_UNIT

    @property
    def slack(self) -> int:
        """Parts by which the payee's count may be above this end's, and is still paid."""
        return self.window // 4 + self.counted // SLACK_SHARE

    @property
    def used(self) -> int:
        """Parts used on the channel: by this end's count, or the payee's as far as the slack goes."""
        return self.start + max(self.counted, min(self.stated, self.counted + self.slack)) - self.set_off

    @property
    def room(self) -> int:
        """Parts that are paid and not used."""
        return self.paid * PARTS_PER_UNIT - self.used

    def take(self, parts: int) -> bool:
        """Ask to send; counted if True."""
        if parts > self.room:
            return False
        self.counted += parts
        return True

    def took(self, parts: int, *, datagram: bool = False) -> None:
        """Count what came."""
        self.counted += parts
        if datagram:
            self.datagrams += parts

    def states(self, parts: int) -> None:
        """Hear the payee's count for this link."""
        self.stated = max(self.stated, parts)

    def next_amount(self, limit: int) -> int | None:
        """What to sign next, in units; None while enough is paid, or nothing more can be.

        Sign it, store it as paid and send it, then set `paid`.

        Args:
            limit: units that may ever be signed on the channel: its deposit, or what a cap leaves.
        """
        if self.room * 2 >= self.window:
            return None
        target = min(limit, (self.used + self.window * 3 // 4) // PARTS_PER_UNIT)
        return target if target > self.paid else None


class PayeeAccount:
    """The paid end of a channel, while one link lasts.

    Args:
        paid: units of the highest voucher that is stored.
        start: parts used on the channel before this link.

    Attributes:
        paid: units of the highest voucher that is stored.
        counted: parts that were moved on this link, both ways, less what is known to have been lost.
        set_off: as the payer's.
    """

    __slots__ = ("_datagrams", "_lost", "_marked", "_moved", "_reported", "paid", "set_off", "start")

    def __init__(self, paid: int, start: int) -> None:
        self.paid = paid
        self.start = start
        self.set_off = 0
        self._moved = self._datagrams = self._marked = self._reported = self._lost = 0

    @property
    def counted(self) -> int:
        return self._moved - self._lost

    @property
    def used(self) -> int:
        """Parts used on the channel; never above what is paid."""
        return self.start + self.counted - self.set_off

    @property
    def room(self) -> int:
        """Parts that are paid and not used."""
        return self.paid * PARTS_PER_UNIT - self.used

    def take(self, parts: int) -> bool:
        """Ask to move something on, either way; counted if True."""
        if parts > self.room:
            return False
        self._moved += parts
        return True

    def give_back(self, parts: int) -> None:
        """Something that was counted is known never to have left."""
        self._moved -= parts

    def take_datagram(self, parts: int, rate: int) -> bool:
        """Ask to send a datagram, which may get lost: the payer says how many arrived, and pays for those.

        False also while far more were sent than are said to have arrived.
        """
        unheard = self._datagrams - self._reported
        if unheard > self._reported // 3 + DATAGRAM_SLACK_BYTES * rate or not self.take(parts):
            return False
        self._datagrams += parts
        return True

    def arrived(self, parts: int) -> None:
        """Hear how much of datagrams ever arrived on this link. What was sent before the last such word and is still
        missing counts as lost."""
        self._reported = max(self._reported, min(parts, self._datagrams))
        self._lost = max(0, self._marked - self._reported)
        self._marked = self._datagrams

    def pays(self, cumulative: int) -> None:
        """A voucher was stored. A lower one changes nothing."""
        self.paid = max(self.paid, cumulative)
