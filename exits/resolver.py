"""Turn a name into addresses, at the exit, and remember them for the circuit that asked.

What comes back is unchecked, and what is remembered is too: the caller filters it at each use.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Protocol

from core.errors import FlowError, Reason
from core.tasks import Tasks
from exits.dns_encrypted import EncryptedTransport
from exits.dns_query import UdpTransport
from exits.lookup import Lookup
from exits.name_cache import NameCache
from exits.sources import MAX_LOOKUPS, ServerSource, SystemSource

if TYPE_CHECKING:
    from exits.addresses import Address
    from exits.name_server import NameServer
    from exits.sources import Source


class Resolver(Protocol):
    """Whoever looks names up."""

    async def resolve(
        self, name: str, circuit: object = None, late: asyncio.Future[list[Address]] | None = None
    ) -> list[Address]:
        """Look a name up.

        Args:
            name: an ASCII name without a trailing dot, as `names.parse_destination` returns it.
            circuit: for whom, hashable and weakly referenced; what was looked up for it is remembered and used for it
                alone. None to remember nothing.
            late: is set to the addresses that come too late to be returned, also to none. None to go without them.

        Returns:
            1 to 16 addresses, unchecked.

        Raises:
            FlowError: `NO_NAME` if there is no such name or it has no address, `TIMED_OUT` after
                `sources.LOOKUP_LIMIT_S`, `BUSY` if too many look-ups are running, or for want of a
                descriptor.
        """


class NameResolver:
    """Looks names up at a source, the same one once for each circuit.

    Args:
        source: who is asked; closed with this.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.cache = NameCache()
        self._running: set[Lookup] = set()
        self.tasks = Tasks()

    async def resolve(
        self, name: str, circuit: object = None, late: asyncio.Future[list[Address]] | None = None
    ) -> list[Address]:
        """See `Resolver.resolve`."""
        lookup = self._lookup(name) if circuit is None else self._lookup_for(circuit, name)
        return await lookup.addresses(late)

    async def close(self) -> None:
        """End the look-ups that are running."""
        await self.tasks.cancel()
        await self._source.close()

    def _lookup_for(self, circuit: object, name: str) -> Lookup:
        now = asyncio.get_running_loop().time()
        if (known := self.cache.get(circuit, name, now)) is not None:
            return known
        has_room = self.cache.make_room(circuit, now)
        lookup = self._lookup(name)
        if has_room:
            self.cache.put(circuit, name, lookup)
        return lookup

    def _lookup(self, name: str) -> Lookup:
        self._running = {lookup for lookup in self._running if not lookup.is_done}
        if len(self._running) >= MAX_LOOKUPS:
            raise FlowError(Reason.BUSY)
        lookup = Lookup(self._source.questions(name), self.tasks)
        self._running.add(lookup)
        return lookup


class SystemResolver(NameResolver):
    """The system's own resolver."""

    def __init__(self) -> None:
        super().__init__(SystemSource())


class UdpResolver(NameResolver):
    """A DNS server, asked in the clear.

    Args:
        host: the server's IP address.
        port: its port, 1 to 65535.
    """

    def __init__(self, host: str, port: int = 53) -> None:
        super().__init__(ServerSource(UdpTransport(host, port)))


def open_resolver(server: NameServer | None, trust: ssl.SSLContext | None = None) -> NameResolver:
    """Make the resolver that an operator chose. Nothing is connected before the first look-up.

    Args:
        server: None for the system's.
        trust: whose certificates to believe; the system's list by default. It becomes the resolver's own.
    """
    if server is None:
        return SystemResolver()
    if server.scheme == "udp":
        return UdpResolver(server.host, server.port)
    return NameResolver(ServerSource(EncryptedTransport(server, trust or ssl.create_default_context())))
