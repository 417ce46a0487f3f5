"""Payment, as the tunnel sees it: whoever moves bytes asks first. Nothing here knows of money.

On every link of a circuit one end pays the other: the one that asked for the circuit pays the one that was asked, for
both directions. The paid end moves nothing that is not paid, the paying end sends nothing that it cannot pay. Control
messages cost nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from core.errors import CircuitError, LinkError, Reason
from core.tasks import Tasks
from tunnel.limits import PAYING_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.ids import PeerKey
    from tunnel.link import Link


class Meter(Protocol):
    """What was counted at one end of a link, and how far that may grow before the account must be asked again.

    It is there because it is looked at for every message: as long as `counted` and the message's parts (bytes times the
    circuit's rate) are at most `until`, whoever moves a message adds them to `counted`, and asks nobody.
    """

    counted: int

    @property
    def until(self) -> int: ...


class ShutMeter:
    """Of an account that must be asked for everything."""

    counted = 0
    until = -1


SHUT: Final = ShutMeter()


class Account(Protocol):
    """One end of one link, for what one of the two neighbours pays there. All its circuits share it."""

    pays: bool
    """Whether this end pays; else it is paid."""

    @property
    def window(self) -> int:
        """How far ahead is paid at most: bytes times units per MB."""

    @property
    def meter(self) -> Meter:
        """Stands for `take`, and for `took` of what is no datagram, as far as it goes. It may change at any time."""

    def take(self, rate: int, count: int) -> bool:
        """Ask to move bytes: at the paying end to send them, at the paid end to send them or to take them in.

        Args:
            rate: of the circuit on this link, units per MB, not 0.
            count: bytes, of a whole message with its layers.

        Returns:
            True when they are counted and may move; False to wait.
        """

    def take_datagram(self, rate: int, count: int) -> bool:
        """As `take`, for what may get lost on the way; dropped if False."""

    def took(self, rate: int, count: int, *, datagram: bool) -> None:
        """Count what came in at the paying end."""

    def give_back(self, rate: int, count: int) -> None:
        """Something that was counted here never left."""

    def wait(self, go: Callable[[], None]) -> None:
        """Call back, once, when something was paid since; never if nothing is."""


class Income(Account, Protocol):
    """The account of a link on which a neighbour pays this node, which may have to pay others for what it carries."""

    @property
    def overdrawn(self) -> bool:
        """Whether this node owes others so much more for what it carries here than it got that circuits for which
        something waits must end."""

    @property
    def exhausted(self) -> bool:
        """Whether that is all that this node is ready to lose: what comes late is not paid for any more."""

    def call_in(self) -> None:
        """One has ended for that. If this node owes much, all others end as well."""

    def owes(self, parts: int) -> None:
        """This node owes another peer so much more for it: bytes times units per MB, negative for what it owes no
        more."""

    def came_late(self, parts: int) -> None:
        """So much of what it owes came after its circuit had ended."""


class Toll(Protocol):
    """The payments of a node."""

    def accepts(self, paid: int, pays: int) -> Reason | None:
        """Why this hop does not serve at these rates, in units per MB; None when it does."""

    def paid_by(self, link: Link, rate: int) -> Income:
        """The account of a link for what the neighbour pays here.

        Args:
            link: to the neighbour.
            rate: of a circuit that is paid from it, units per MB.
        """

    async def paying(self, link: Link, peer: PeerKey, rate: int) -> Account:
        """The account of a link for what this node pays there, once it has paid ahead.

        Raises:
            core.errors.CircuitError: `NO_CHANNEL`, `SPENDING_CAP` or what else stands against it.
        """

    def payment(self, link: Link, body: bytes) -> None:
        """A PAYMENT message came.

        Raises:
            core.errors.DecodeError: it is malformed.
        """

    def link_down(self, link: Link) -> None:
        """A link is gone, and with it its accounts."""


class NoToll:
    """A node without money: it serves and takes what costs nothing."""

    def accepts(self, paid: int, pays: int) -> Reason | None:
        return Reason.NO_CHANNEL if paid or pays else None

    def paid_by(self, link: Link, rate: int) -> Income:
        raise CircuitError(Reason.NO_CHANNEL)

    async def paying(self, link: Link, peer: PeerKey, rate: int) -> Account:
        raise CircuitError(Reason.NO_CHANNEL)

    def payment(self, link: Link, body: bytes) -> None:
        """Means nothing here."""

    def link_down(self, link: Link) -> None:
        """There are no accounts."""


NO_TOLL: Final = NoToll()


async def account_for(toll: Toll, link: Link, peer: PeerKey, rate: int) -> Account | None:
    """The account from which a circuit is paid that goes on over a link; None if it costs nothing there.

    Args:
        toll: the node's.
        link: to the next hop.
        peer: the next hop.
        rate: what it is paid, units per MB.

    Raises:
        CircuitError: as `Toll.paying`; `NO_CHANNEL`, the next hop has not taken the money yet; `NEXT_HOP`, it does not
            answer.
    """
    if not rate:
        return None

    async def attempt() -> Account | CircuitError:
        try:
            return await toll.paying(link, peer, rate)
        except CircuitError as error:
            return error

    tasks = Tasks()
    try:
        paid: Account | CircuitError = await link.watch.until(tasks.spawn(attempt(), "payment ahead"), PAYING_S)
    except LinkError as error:
        raise CircuitError(error.reason) from error
    except TimeoutError as error:
        raise CircuitError(Reason.NO_CHANNEL) from error
    finally:
        await tasks.cancel()
    if isinstance(paid, CircuitError):
        raise paid
    return paid
