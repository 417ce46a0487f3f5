"""How often this node dials where nobody answers, at the word of others.

A descriptor names whatever addresses its peer likes, and whoever makes a circuit says over whom it goes. So a hop could
be had to send its packets to third parties, several for each creation, and with many hops as loud as one likes. What a
network has not answered is counted, and a peer that answers counts for nothing.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from tunnel.limits import MAX_UNANSWERED, UNANSWERED_BURST, UNANSWERED_PER_MINUTE
from tunnel.rate import Rate

if TYPE_CHECKING:
    from collections.abc import Callable

_NETWORK_BYTES = {4: 3, 6: 6}


class Unanswered:
    """The dials of one node.

    Args:
        clock: seconds that only rise.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rates: dict[bytes, Rate] = {}

    def dials(self, host: str) -> bool:
        """Count a dial that has no answer yet; returns False when there were too many in its network, /24 or /48.

        Args:
            host: an IP literal.
        """
        network = _network(host)
        rate = self._rates.pop(network, None) or Rate(UNANSWERED_BURST, UNANSWERED_PER_MINUTE / 60, self._clock())
        self._rates[network] = rate  # the last one used
        if len(self._rates) > MAX_UNANSWERED:
            del self._rates[next(iter(self._rates))]
        return rate.take(self._clock())

    def answered(self, host: str) -> None:
        """The peer that was dialled is there."""
        if (rate := self._rates.get(_network(host))) is not None:
            rate.give_back()


def _network(host: str) -> bytes:
    address = ipaddress.ip_address(host)
    return address.packed[: _NETWORK_BYTES[address.version]]
