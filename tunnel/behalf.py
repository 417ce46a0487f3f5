"""What a hop owes the next one for what it carries for a payer.

The next hop is paid for what comes from it, whether the link before pays for that or not: a payer that asks for much
and then pays nothing would have the hop pay for it. So the hop keeps count, and ends circuits before it has paid out a
window more than it was paid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tunnel.toll import Account, Income, Meter


class OnBehalf:
    """The account of the link after a hop, for a circuit for which the link before pays: that one is told of what is
    owed. A `tunnel.toll.Account`, and its `Meter`.

    Args:
        account: of the link after.
        income: the account of the link before.
    """

    __slots__ = ("_account", "_income", "pays")

    def __init__(self, account: Account, income: Income) -> None:
        self._account = account
        self._income = income
        self.pays = True

    @property
    def meter(self) -> Meter:
        return self

    @property
    def counted(self) -> int:
        return self._account.meter.counted

    @counted.setter
    def counted(self, parts: int) -> None:
        meter = self._account.meter
        self._income.owes(parts - meter.counted)
        meter.counted = parts

    @property
    def until(self) -> int:
        return self._account.meter.until

    def take(self, rate: int, count: int) -> bool:
        if not self._account.take(rate, count):
            return False
        self._income.owes(rate * count)
        return True

    def take_datagram(self, rate: int, count: int) -> bool:
        if not self._account.take_datagram(rate, count):
            return False
        self._income.owes(rate * count)
        return True

    def took(self, rate: int, count: int, *, datagram: bool) -> None:
        self._account.took(rate, count, datagram=datagram)
        self._income.owes(rate * count)

    def give_back(self, rate: int, count: int) -> None:
        self._account.give_back(rate, count)
        self._income.owes(-rate * count)

    def wait(self, go: Callable[[], None]) -> None:
        self._account.wait(go)
