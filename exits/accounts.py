"""What is counted for each circuit, as long as it is there."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from tunnel.rate import Rate

if TYPE_CHECKING:
    from exits.limits import EgressLimits


class Account:
    """One circuit's.

    Args:
        limits: the exit's.
        now: loop time.

    Attributes:
        silent: permits for destinations of UDP that have not answered.
    """

    __slots__ = ("__weakref__", "silent")

    def __init__(self, limits: EgressLimits, now: float) -> None:
        self.silent = Rate(limits.datagrams.unanswered, limits.datagrams.unanswered_per_s, now)


class Accounts:
    """Every circuit's account. One that is gone is forgotten with all that was counted for it.

    Args:
        limits: the exit's.
    """

    def __init__(self, limits: EgressLimits) -> None:
        self._limits = limits
        self._accounts: WeakKeyDictionary[object, Account] = WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self._accounts)

    def of(self, circuit: object, now: float) -> Account:
        """Get the account of a circuit, see `core.flow.IncomingFlow.circuit`."""
        account = self._accounts.get(circuit)
        if account is None:
            account = self._accounts[circuit] = Account(self._limits, now)
        return account
