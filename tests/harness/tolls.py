"""Payment without money: accounts in memory whose budgets the test sets and raises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import CircuitError, DecodeError, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.ids import PeerKey
    from tunnel.link import Link
    from tunnel.toll import Meter

PLENTY = 1 << 60


class _Meter:
    """A `tunnel.toll.Meter` that lets everything pass that is paid."""

    def __init__(self, purse: Purse) -> None:
        self._purse = purse

    @property
    def counted(self) -> int:
        return self._purse.used

    @counted.setter
    def counted(self, parts: int) -> None:
        self._purse.used = parts

    @property
    def until(self) -> int:
        return self._purse.paid


class Purse:
    """A `tunnel.toll.Account`, and an `Income` where it is paid.

    Attributes:
        paid: parts (bytes times units per MB) that may be used.
        used: parts that are.
        datagrams: parts of datagrams among them.
        given_back: parts that were counted and never left.
        asked: how often something could not be taken.
        owed: parts that are owed to others for it.
        advances: how many more of them than are used there may be.
        most: how many more than that is the end of it.
        calls: how often a circuit ended for that.
    """

    def __init__(self, *, pays: bool, paid: int) -> None:
        self.pays = pays
        self.paid = paid
        self.meter: Meter = _Meter(self)
        self.used = self.datagrams = self.given_back = self.asked = self.owed = self.late = self.calls = 0
        self.advances = self.most = PLENTY
        self._waiting: list[Callable[[], None]] = []

    @property
    def exhausted(self) -> bool:
        return self.owed > self.used + self.most

    @property
    def window(self) -> int:
        return self.paid

    def take(self, rate: int, count: int) -> bool:
        assert rate > 0
        assert count > 0
        if self.used + rate * count > self.paid:
            self.asked += 1
            return False
        self.used += rate * count
        return True

    def take_datagram(self, rate: int, count: int) -> bool:
        taken = self.take(rate, count)
        self.datagrams += taken * rate * count
        return taken

    def took(self, rate: int, count: int, *, datagram: bool) -> None:
        assert self.pays
        assert rate > 0
        self.used += rate * count
        self.datagrams += datagram * rate * count

    def give_back(self, rate: int, count: int) -> None:
        self.used -= rate * count
        self.given_back += rate * count

    @property
    def overdrawn(self) -> bool:
        return self.owed - self.used > self.advances

    def call_in(self) -> None:
        self.calls += 1

    def owes(self, parts: int) -> None:
        assert not self.pays
        self.owed += parts

    def came_late(self, parts: int) -> None:
        self.late += parts
        assert 0 < self.late <= self.owed

    def wait(self, go: Callable[[], None]) -> None:
        assert go not in self._waiting, "waits twice"
        self._waiting.append(go)

    # -- what the test does

    @property
    def waiting(self) -> int:
        """Circuits that wait here."""
        return len(self._waiting)

    def pay(self, parts: int) -> None:
        self.paid += parts
        waiting, self._waiting = self._waiting, []
        for go in waiting:
            go()

    def stop(self, more: int = 0) -> None:
        """Nothing more than so many parts may be used from now on."""
        self.paid = self.used + more


class Till:
    """A `tunnel.toll.Toll`: what one node pays and is paid on each of its links.

    Attributes:
        asks: units per MB that it keeps at least of what it is paid.
        refuses: what `paying` says instead.
        first_paid, first_pays: the budgets of new accounts.
    """

    def __init__(self, asks: int = 0) -> None:
        self.asks = asks
        self.refuses: Reason | None = None
        self.first_paid = self.first_pays = PLENTY
        self.paid: dict[Link, Purse] = {}
        self.pays: dict[Link, Purse] = {}
        self.offered: list[tuple[int, int]] = []
        self.rates: list[int] = []
        self.payments: list[bytes] = []
        self.downs: list[Link] = []

    def accepts(self, paid: int, pays: int) -> Reason | None:
        self.offered.append((paid, pays))
        return None if paid - pays >= self.asks else Reason.PRICE

    def paid_by(self, link: Link, rate: int) -> Purse:
        assert rate > 0
        return self.paid.setdefault(link, Purse(pays=False, paid=self.first_paid))

    async def paying(self, link: Link, peer: PeerKey, rate: int) -> Purse:
        assert link.peer == peer
        self.rates.append(rate)
        if self.refuses is not None:
            raise CircuitError(self.refuses)
        return self.pays.setdefault(link, Purse(pays=True, paid=self.first_pays))

    def payment(self, link: Link, body: bytes) -> None:
        if body == b"wrong":
            raise DecodeError("payment", "wrong")
        self.payments.append(body)

    def link_down(self, link: Link) -> None:
        self.downs.append(link)

    # -- for chains, where a node has one link to each neighbour

    @property
    def income(self) -> Purse:
        (purse,) = self.paid.values()
        return purse

    @property
    def expense(self) -> Purse:
        (purse,) = self.pays.values()
        return purse
