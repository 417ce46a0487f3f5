"""The way past the tunnel that is open while this machine is on a network that its user trusts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakSet

from proxy.direct import check_device, connect_direct

if TYPE_CHECKING:
    from collections.abc import Collection

    from proxy.direct import DirectFlow


class TrustedWay:
    """Open or not. Whoever knows about networks opens and closes it; what goes over it ends when it is closed.

    Its connections are tied to one device, so that none leaves by another network, whatever the routes say.
    """

    def __init__(self) -> None:
        self._device = ""
        self._paused = False
        self._flows: WeakSet[DirectFlow] = WeakSet()
        self._opening: set[asyncio.Timeout] = set()

    @property
    def is_open(self) -> bool:
        """Whether a new connection may go this way now."""
        return bool(self._device) and not self._paused

    def open(self, device: str) -> None:
        """Let connections leave through a device. Those through another one are cut.

        Args:
            device: name of an interface.

        Raises:
            OSError: this system does not tie connections to it. The way is closed then.
        """
        if device != self._device:
            self.close()
            check_device(device)
        self._device, self._paused = device, False

    def pause(self) -> None:
        """Let no new connection go this way, until `open` is called; those that exist go on."""
        self._paused = True

    def close(self) -> None:
        """Let nothing go this way, and cut what does."""
        self._device = ""
        now = asyncio.get_running_loop().time()
        for opening in self._opening:
            opening.reschedule(now)
        self._opening.clear()
        for flow in tuple(self._flows):
            flow.cut()
        self._flows.clear()

    async def reach(self, host: str, port: int, own_ports: Collection[int]) -> DirectFlow | None:
        """Open a connection that ends with this way.

        Args:
            host: as for `connect_direct`, like the others.

        Returns:
            None if the way is closed, or was meanwhile. Nothing has been sent over the connection then.

        Raises:
            FlowError: as `connect_direct`.
        """
        device = self._device
        if not self.is_open:
            return None
        try:
            async with asyncio.timeout(None) as opening:
                self._opening.add(opening)
                flow = await connect_direct(host, port, own_ports, device)
        except TimeoutError:
            return None
        finally:
            was_cut = opening not in self._opening
            self._opening.discard(opening)
        if was_cut:
            flow.cut()
            return None
        self._flows.add(flow)
        return flow
