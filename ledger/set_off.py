"""What two neighbours that pay each other cancel, so that the same money need not go to and fro.

Each says how much use both ways it would cancel, ever more of it while their link lasts; the smaller of the two last
words is cancelled at both ends. What was paid stays paid.

A cancelled part lets the other end use a part here for which it never pays, in return for one of this end's there. So
this end offers only what it has not paid for there beyond its window: else who was paid both for the use and by the
set-off could leave with both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.amounts import check_parts

if TYPE_CHECKING:
    from ledger.account import PayeeAccount, PayerAccount


class SetOff:
    """One end of it, while one link lasts.

    Args:
        payer: the account of what this node pays the neighbour.
        payee: the account of what the neighbour pays this node.
    """

    __slots__ = ("_mine", "_payee", "_payer", "_theirs")

    def __init__(self, payer: PayerAccount, payee: PayeeAccount) -> None:
        self._payer = payer
        self._payee = payee
        self._mine = self._theirs = 0

    @property
    def agreed(self) -> int:
        """Parts that are cancelled on this link, at each end's account."""
        return min(self._mine, self._theirs)

    def next_word(self) -> int | None:
        """What to say next, in parts, ever, on this link; None while it would be hardly more than the last word.

        Do not ask between the payer's `next_amount` and setting its `paid`: each reckons with the other as it is.
        """
        word = min(self._payer.offerable(), self._payee.counted)
        if (word - self._mine) * 16 < self._payer.window:
            return None
        self._mine = word
        self._cancel()
        return word

    def hears(self, parts: int) -> None:
        """Hear the other end's word. A lower one than before changes nothing.

        Raises:
            ValueError: no parts.
        """
        self._theirs = max(self._theirs, check_parts(parts))
        self._cancel()

    def _cancel(self) -> None:
        self._payer.cancel(self.agreed, self._mine)
        self._payee.cancel(self.agreed)
