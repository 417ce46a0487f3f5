"""Places that are shared out among holders, so that none of them can keep the others out.

Source: Choudhury and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches" (IEEE/ACM Transactions
on Networking 6, 1998), with a factor of 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable


class Shares:
    """So many places. Nobody holds more of them than are still free.

    One holder alone gets half of the places, each of two a third, and a newcomer always finds some free, however many
    the others want.

    Args:
        places: how many there are.
    """

    __slots__ = ("_held", "_places", "_taken")

    def __init__(self, places: int) -> None:
        self._places = places
        self._taken = 0
        self._held: dict[Hashable, int] = {}

    def __len__(self) -> int:
        """Places that are taken."""
        return self._taken

    def may_take(self, holder: Hashable) -> bool:
        """Tell whether a holder may have one more place."""
        return self._held.get(holder, 0) < self._places - self._taken

    def take(self, holder: Hashable) -> None:
        """Take a place. Ask `may_take` before, and give it back with `give`."""
        self._taken += 1
        self._held[holder] = self._held.get(holder, 0) + 1

    def give(self, holder: Hashable) -> None:
        """Give a place back."""
        self._taken -= 1
        self._held[holder] -= 1
        if not self._held[holder]:
            del self._held[holder]
