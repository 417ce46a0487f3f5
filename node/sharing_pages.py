"""The pages that go with sharing, each on a listener of its own and off unless the settings name one."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING, Final

from core.errors import ConfigError
from node.metrics import Metrics
from node.notice import notice
from node.pages import PageServer
from node.settings import join_endpoint, split_endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from ipaddress import IPv4Address, IPv6Address

    from node.metrics import Sample
    from node.pages import Asked, Page
    from node.settings import Settings

_LOOPBACK: Final = {4: "127.0.0.1", 6: "::1"}


class SharingPages:
    """`/metrics` and the notice of an exit.

    Args:
        settings: the node's.
        look: takes a sample for the metrics.
        ports: summary of the exit's policy; empty for a node that is no exit, which has no notice.
    """

    def __init__(self, settings: Settings, look: Callable[[], Sample], ports: str) -> None:
        serves = {"relay", "exit"}.intersection(settings.node.roles)
        self._metrics = settings.sharing.metrics if serves else ""
        self._notice = settings.exit.notice if ports else ""
        self._contact = settings.exit.contact
        self._look = look
        self._ports = ports
        self._servers: list[PageServer] = []
        self.endpoints: dict[str, str] = {}
        """Where each page is served, as `HOST:PORT`."""

    async def start(self) -> None:
        """Serve what the settings name.

        Raises:
            ConfigError: an address or port cannot be used.
        """
        if self._metrics:
            loopback = ipaddress.ip_address(split_endpoint(self._metrics)[0]).is_loopback
            metrics = Metrics(self._look, asyncio.get_running_loop().time, loopback=loopback)
            await self._serve("sharing.metrics", self._metrics, metrics.answer)
        if self._notice:
            await self._serve("exit.notice", self._notice, notice(self._contact, self._ports))

    async def _serve(self, setting: str, endpoint: str, answer: Callable[[Asked], Page]) -> None:
        host, port = split_endpoint(endpoint)
        server = PageServer(answer)
        try:
            found = await server.start(host, port)
        except OSError as error:
            problem = f"{endpoint} cannot be used; choose another address or port, or 0 for any"
            raise ConfigError(setting, problem) from error
        self._servers.append(server)
        self.endpoints[setting.partition(".")[2]] = join_endpoint(host, found)

    def own(self) -> Iterator[tuple[IPv4Address | IPv6Address, int]]:
        """Name the addresses and ports that this machine's exit must not dial; one that stands for every address of
        the machine is named as its loopback address, since exits refuse a machine's other addresses anyway."""
        for endpoint in self.endpoints.values():
            host, port = split_endpoint(endpoint)
            address = ipaddress.ip_address(host)
            yield (ipaddress.ip_address(_LOOPBACK[address.version]) if address.is_unspecified else address), port

    async def stop(self) -> None:
        """Stop serving."""
        for server in self._servers:
            await server.stop()
        self._servers.clear()
        self.endpoints.clear()
