"""Whether and how this node pays: everything of it behind one door, also while payments are off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core.errors import MacroVpnError
from node.price_view import price_per_gb
from tunnel.toll import NO_TOLL

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path as Folder

    from core.errors import Reason
    from node.paying import PayingNode
    from node.settings import PaymentsSettings
    from node.wallet import Wallet
    from node.wallet_orders import WalletOrder
    from tunnel.link import Link
    from tunnel.service import Tunnel
    from tunnel.toll import Toll


class PaymentsOffError(MacroVpnError):
    """There is no wallet."""

    def __init__(self) -> None:
        super().__init__('Payments are off. Set payments.settlement to "local" or "evm", and start the node again.')


class Money:
    """The money of one node.

    Args:
        settings: the section `payments`.
        home: the node's folder.
        relays: whether this node carries for others.
    """

    def __init__(self, settings: PaymentsSettings, home: Folder, *, relays: bool) -> None:
        self._settings = settings
        self._home = home
        self._relays = relays
        self._wallet: Wallet | None = None
        self._paying: PayingNode | None = None
        self._tunnel: Tunnel | None = None

    async def open(self) -> None:
        """Open the books, if payments are on.

        Raises:
            ConfigError: a setting or a file is wrong.
            PaymentError: the settlement does not answer.
        """
        if self._settings.settlement == "off":
            return
        from node.paying import PayingNode  # only who pays needs what paying needs
        from node.wallet import Wallet

        self._wallet = await Wallet.open(self._settings, self._home, relays=self._relays)
        self._paying = PayingNode(self._wallet, self._settings.tariff, self._stopped)

    async def use(self, settings: PaymentsSettings) -> None:
        """Go by other amounts from now on; how payments are settled stays as it is.

        Raises:
            StoreError: the spending cap could not be written.
        """
        if self._wallet is not None:
            await self._wallet.use(settings)

    @property
    def toll(self) -> Toll:
        """What the tunnel asks."""
        return NO_TOLL if self._paying is None else self._paying

    def start(self, tunnel: Tunnel) -> None:
        """Look after the channels, and tell a tunnel when somebody is not paid any more."""
        self._tunnel = tunnel
        if self._wallet is not None:
            self._wallet.start()

    def _stopped(self, link: Link, reason: Reason, pays: bool) -> None:
        if self._tunnel is not None:
            self._tunnel.end_paid(link, reason, pays=pays)

    async def close(self) -> None:
        """Write down how everything stands. The tunnel is closed by then."""
        if self._paying is not None:
            await self._paying.close()
        if self._wallet is not None:
            await self._wallet.close()

    # -- for people

    async def facts(self, steps: Sequence[int]) -> dict[str, Any]:
        """What `macrovpn wallet` shows.

        Args:
            steps: the tariffs of the present path's hops; empty without a path.
        """
        if self._paying is None:
            return {"settlement": "off"}
        return await self._paying.facts() | self.price(steps)

    def section(self, steps: Sequence[int]) -> dict[str, Any]:
        """What `status` says of it; empty while payments are off."""
        return {} if self._paying is None else self._paying.sums() | self.price(steps)

    def earned(self) -> int | None:
        """Units for what was carried, ever; None while payments are off."""
        return None if self._paying is None else int(self._paying.sums()["earned"])

    @staticmethod
    def price(steps: Sequence[int]) -> dict[str, Any]:
        """What the present path costs: its hops' steps, and units per GB; None without a path."""
        return {"tariffs": list(steps), "price_per_gb": price_per_gb(steps) if steps else None}

    async def do(self, order: WalletOrder) -> dict[str, Any]:
        """Do what somebody ordered.

        Raises:
            MacroVpnError: payments are off, or it was refused.
        """
        if self._wallet is None:
            raise PaymentsOffError
        return await self._wallet.do(order)
