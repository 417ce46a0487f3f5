"""What the control interface asks of a running node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from node.wallet_orders import WalletOrder


class Controlled(Protocol):
    """What a running node tells of itself. Calls come from the event loop and must not block."""

    def status(self) -> dict[str, Any]:
        """State, route and counters of now."""

    def route(self) -> dict[str, Any]:
        """The present circuits."""

    def explain(self) -> dict[str, Any]:
        """The present circuits, and for each hop why it is there."""

    def second(self) -> dict[str, Any]:
        """What this node's own flows did in the last second; see `node.own_traffic`."""

    def peers(self) -> dict[str, Any]:
        """The peers that this node knows."""

    def health(self) -> dict[str, Any]:
        """Clock, links, guards, and the exit that sites see; see `node.health`."""

    def new_probe(self) -> str:
        """Make a name that only the local port knows; see `proxy.probes`.

        Raises:
            MacroVpnError: this node has no proxy. Likewise below.
        """

    def probe_came(self, name: str) -> bool:
        """Whether a client of the local port wanted to go to such a name."""

    async def ask_site(self, url: str) -> dict[str, Any]:
        """Ask a site through the tunnel; see `node.site_asking`.

        Raises:
            MacroVpnError: it was not asked, or did not answer.
        """

    def regions(self) -> list[dict[str, Any]]:
        """The regions with exits, and those that are wanted."""

    def invite(self) -> str:
        """An invite to this node's private network; empty in the public one."""

    def pac(self) -> str:
        """The text of the PAC; empty when this node has no proxy."""

    def request_stop(self) -> float:
        """Begin to stop; return at once.

        Returns:
            For how many seconds at most what runs for others goes on. Asked again, the node does not wait for it.
        """

    async def confirm_trust(self) -> dict[str, Any]:
        """Trust the present network, which looks like a trusted one, until it changes.

        Returns:
            Where this machine stands then.

        Raises:
            MacroVpnError: it does not.
        """

    async def reload_trust(self) -> None:
        """Read the trusted networks anew.

        Raises:
            MacroVpnError: the settings cannot be read.
        """

    def rules(self) -> dict[str, Any]:
        """How many rules are obeyed (`count`), and their `digest`."""

    async def reload_rules(self) -> None:
        """Read the rules of the settings file again, and obey them from the next connection on.

        Raises:
            MacroVpnError: the file, or a list that it names, is wrong; the rules stay as they were.
        """

    def settings(self) -> dict[str, Any]:
        """Every setting with its value, and whether a change of it takes effect at once."""

    async def change(self, changes: dict[str, Any]) -> dict[str, Any]:
        """Change settings, in the file and as far as possible in the running node.

        Returns:
            Which were `applied`, which of these only `for_new` circuits and connections, and which are obeyed
            `after_restart`.

        Raises:
            ConfigError: one is wrong; nothing was changed.
        """

    async def switch(self, on: bool) -> None:
        """Take part, or end all flows and refuse new ones until switched on again."""

    async def wallet(self) -> dict[str, Any]:
        """What the node holds, paid and earned."""

    async def wallet_do(self, order: WalletOrder) -> dict[str, Any]:
        """Do something with its money.

        Returns:
            What came of it.

        Raises:
            MacroVpnError: it was refused, and nothing was changed.
        """

    async def hop(self) -> None:
        """Change the route: replace the circuits by new ones.

        Raises:
            MacroVpnError: no other path can be built now.
        """
