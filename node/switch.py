"""The one switch of a node: whether it carries what its own user does. What it does for others goes on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from core.errors import MacroVpnError

if TYPE_CHECKING:
    from proxy.front import Front
    from tunnel.pool import CircuitPool

OFF: Final = "It is switched off. Switch it on where you switched it off, or with `macrovpn on`."


class SystemProxy(Protocol):
    """The system's proxy settings, while they are this node's to set. Calls block."""

    def take(self) -> None:
        """Have them point to this node.

        Raises:
            MacroVpnError: they cannot be set.
        """

    def give_back(self) -> None:
        """Put back what was there before.

        Raises:
            MacroVpnError: it cannot be put back.
        """


class Switch:
    """On from the start.

    Args:
        system_proxy: the system's proxy settings; None where the node leaves them alone.

    Attributes:
        is_on: as it says.
    """

    def __init__(self, system_proxy: SystemProxy | None) -> None:
        self.is_on = True
        self._system_proxy = system_proxy
        self._lock = asyncio.Lock()

    def carrying(self, front: Front | None, pool: CircuitPool | None) -> CircuitPool:
        """Give the circuits of a node that carries what its user does.

        Args:
            front: the local port; None at a node that only serves others, or that is not up yet.
            pool: its circuits; None likewise.

        Raises:
            MacroVpnError: it does not, or is switched off.
        """
        if front is None or pool is None:
            raise MacroVpnError("This node has no proxy, or is not up yet, so it has no route.")
        if not self.is_on:
            raise MacroVpnError(OFF)
        return pool

    async def turn(self, front: Front | None, pool: CircuitPool | None, *, on: bool) -> None:
        """Switch on or off.

        Off: the local port refuses everything, whatever ran is over, and no circuit is held; then the system's proxy
        settings become what they were before. On: the same backwards, so that at no time something is sent past the
        tunnel because of the switch.

        Args:
            front: the local port; None at a node that only serves others, or that is not up yet.
            pool: its circuits; None likewise.
            on: which.

        Raises:
            MacroVpnError: there is nothing to switch, or the system's proxy settings cannot be changed. In the second
                case the node is off.
        """
        if front is None or pool is None:
            raise MacroVpnError("This node has no proxy, or is not up yet, so there is nothing to switch.")
        async with self._lock:
            if on == self.is_on:
                return
            if on:
                if self._system_proxy is not None:
                    await asyncio.to_thread(self._system_proxy.take)
                pool.wake()
                front.switch(on=True)
                self.is_on = True
                return
            self.is_on = False
            front.switch(on=False)
            pool.rest()
            if self._system_proxy is not None:
                await asyncio.to_thread(self._system_proxy.give_back)
