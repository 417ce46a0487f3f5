"""The one switch of a node: whether it carries what its own user does. What it does for others goes on.

Off outlives the node, by a file without content: one that is started again by itself, after a crash or at login, is off
as well. `macrovpn up` means on.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from core.errors import MacroVpnError
from node.files import write_private

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.front import Front
    from tunnel.pool import CircuitPool

OFF: Final = (
    "It is switched off, and stays so when it is started again at login or after a crash. Switch it on where you "
    "switched it off, or with `macrovpn on`."
)
OFF_NAME: Final = "switched-off"
"""The file in the home that is there while the switch is off."""


def is_left_off(home: Path) -> bool:
    """Whether the switch was off when the last node of a home ended, or is off in the one that runs."""
    return (home / OFF_NAME).exists()


def keep(home: Path, *, on: bool) -> None:
    """Remember for the next start whether the switch is on.

    Raises:
        MacroVpnError: the file cannot be written or removed.
    """
    try:
        if on:
            (home / OFF_NAME).unlink(missing_ok=True)
        else:
            write_private(home / OFF_NAME, "")
    except OSError as error:
        kept, done = ("off", "removed") if on else ("on", "written")
        raise MacroVpnError(
            f"A node that starts here again will be {kept}: {home / OFF_NAME} cannot be {done}: {error.strerror}."
        ) from error


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
    """As it was left, from the start.

    Args:
        home: the node's folder, which remembers it.
        system_proxy: the system's proxy settings; None where the node leaves them alone.

    Attributes:
        is_on: as it says.
    """

    def __init__(self, home: Path, system_proxy: SystemProxy | None) -> None:
        self.is_on = not is_left_off(home)
        self._home = home
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
        tunnel because of the switch. Whichever it is, it is remembered.

        Args:
            front: the local port; None at a node that only serves others, or that is not up yet.
            pool: its circuits; None likewise.
            on: which.

        Raises:
            MacroVpnError: there is nothing to switch; or the system's proxy settings cannot be changed, and the node is
                off; or it cannot be remembered, and the node is as it was told to be. Telling it again tries again.
        """
        if front is None or pool is None:
            raise MacroVpnError("This node has no proxy, or is not up yet, so there is nothing to switch.")
        async with self._lock:
            if on == self.is_on and on != is_left_off(self._home):
                return
            if on:
                if self._system_proxy is not None:
                    await asyncio.to_thread(self._system_proxy.take)
                pool.wake()
                front.switch(on=True)
                self.is_on = True
                keep(self._home, on=True)
                return
            self.is_on = False
            front.switch(on=False)
            pool.rest()
            keep(self._home, on=False)
            if self._system_proxy is not None:
                await asyncio.to_thread(self._system_proxy.give_back)
