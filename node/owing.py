"""What a hop is ready to owe other hops for what it carries for a payer, beyond what that one used.

The next hop is paid for all that comes from it, so who asks for much and pays nothing more would have this node pay for
it. A window is what a node may lose to a payer (`ledger.account`). It ends circuits early enough for what is under way
by then to stay within it, and earliest where next to nothing was paid: keys cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ledger.account import window_units
from ledger.amounts import PARTS_PER_UNIT

FIRST_SHARE: Final = 8
TRUST_SHARE: Final = 4
"""A node is ready to owe these parts of the first window, and of all that was ever paid on the channel."""

WARY_SHARE: Final = 4
"""It is ready to owe a window less this part of it at most: the rest is for what is under way. At what it is ready to
owe less this part of that, circuits end for which something waits, and at all of it all circuits."""

LATE_SHARE: Final = 2
"""The part of that by which it may be more, as far as it came for circuits that had ended: a payer that keeps to the
rules cannot help it when its own payers end theirs."""

EDGE_SHARE: Final = 8
"""But never more than a window less this part of it."""


@dataclass(slots=True)
class Spent:
    """What this node owes others for what it carries on a channel, in parts. Links that are over may still add to it.

    Attributes:
        owed: beyond what was used of the channel on links that are over.
        late: how much of it came for circuits that had ended.
    """

    owed: int = 0
    late: int = 0


def _ready_to_owe(paid: int, rate: int) -> int:
    first, window = (window_units(units, rate) * PARTS_PER_UNIT for units in (0, paid))
    return min(window - window // WARY_SHARE, first // FIRST_SHARE + paid * PARTS_PER_UNIT // TRUST_SHARE)


def wary_from(paid: int, rate: int) -> int:
    """Parts owed beyond which the next circuits end for which something waits.

    Args:
        paid: units, all that was ever paid on the channel.
        rate: the highest rate in use, units per MB.
    """
    ready = _ready_to_owe(paid, rate)
    return ready - ready // WARY_SHARE


def most_owed(paid: int, rate: int, late: int) -> int:
    """Parts owed beyond which all circuits end, and what is paid counts as used.

    Args:
        paid, rate: as above.
        late: parts of what is owed that came for circuits that had ended.
    """
    ready, window = _ready_to_owe(paid, rate), window_units(paid, rate) * PARTS_PER_UNIT
    return min(ready + min(late, ready // LATE_SHARE), window - window // EDGE_SHARE)
