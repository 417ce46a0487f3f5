"""Turn a name into addresses, at the exit: through the system, or through one DNS server.

Nothing is remembered between two look-ups. What comes back is unchecked: the caller filters it.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Final, Protocol

import dns.rdatatype

from core.errors import ConfigError, FlowError, Reason
from core.tasks import Tasks
from exits.dns_query import query_addresses

if TYPE_CHECKING:
    from exits.addresses import Address

MAX_ADDRESSES: Final = 16
"""Most addresses that one look-up returns; a DNS server's are cut to half of it for each family."""

MAX_LOOKUPS: Final = 256
"""Most look-ups of one resolver at once."""

LOOKUP_LIMIT_S: Final = 5.0
"""Longest look-up, in seconds."""

_SECOND_FAMILY_S: Final = 0.05
"""How long the other family's answer is waited for after the first one (RFC 8305, section 3)."""

_LOOKUP_THREADS: Final = 64


class Resolver(Protocol):
    """Whoever looks names up."""

    async def resolve(self, name: str) -> list[Address]:
        """Look a name up.

        Args:
            name: an ASCII name without a trailing dot, as `names.parse_destination` returns it.

        Returns:
            1 to `MAX_ADDRESSES` addresses, unchecked.

        Raises:
            FlowError: `NO_NAME` if there is no such name or it has no address, `TIMED_OUT` after `LOOKUP_LIMIT_S`,
                `BUSY` if too many look-ups are running.
        """


class SystemResolver:
    """The system's own resolver, asked in threads of its own, without its search domains."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_LOOKUP_THREADS, thread_name_prefix="resolver")
        self._running = 0

    async def resolve(self, name: str) -> list[Address]:
        """See `Resolver.resolve`. A look-up that took too long counts as running until its thread is free."""
        if self._running >= MAX_LOOKUPS:
            raise FlowError(Reason.BUSY)
        self._running += 1
        lookup = asyncio.get_running_loop().run_in_executor(self._pool, _look_up, name)
        lookup.add_done_callback(self._ended)
        done, _ = await asyncio.wait({lookup}, timeout=LOOKUP_LIMIT_S)
        if not done:
            raise FlowError(Reason.TIMED_OUT)
        try:
            return lookup.result()
        except OSError:  # socket.gaierror is one; its text holds no name, but nobody needs it
            raise FlowError(Reason.NO_NAME) from None

    def _ended(self, lookup: asyncio.Future[list[Address]]) -> None:
        self._running -= 1
        if not lookup.cancelled():
            lookup.exception()  # seen, also if nobody waits any more

    async def close(self) -> None:
        """Take no more work. Threads in the middle of a look-up end when the system answers them."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class UdpResolver:
    """One recursive DNS server, asked for both families at once; over TCP when an answer does not fit.

    Args:
        host: the server's IP address.
        port: its port, 1 to 65535.

    Raises:
        ConfigError: `host` is no IP address.
    """

    def __init__(self, host: str, port: int = 53) -> None:
        try:
            self._host = str(ip_address(host))
        except ValueError:
            raise ConfigError("resolver", "give the DNS server's IP address and port") from None
        self._port = port
        self._tasks = Tasks()
        self._running = 0

    async def resolve(self, name: str) -> list[Address]:
        """See `Resolver.resolve`."""
        if self._running >= MAX_LOOKUPS:
            raise FlowError(Reason.BUSY)
        self._running += 1
        try:
            return await self._ask_both(name)
        finally:
            self._running -= 1

    async def close(self) -> None:
        """End the look-ups that are running."""
        await self._tasks.cancel()

    async def _ask_both(self, name: str) -> list[Address]:
        asked = [
            self._tasks.spawn(query_addresses(self._host, self._port, name, kind, LOOKUP_LIMIT_S), "look-up")
            for kind in (dns.rdatatype.AAAA, dns.rdatatype.A)
        ]
        try:
            done, waiting = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            if waiting:
                found_some = any(isinstance(task.result(), list) for task in done)
                await asyncio.wait(waiting, timeout=_SECOND_FAMILY_S if found_some else None)
            results = [task.result() for task in asked if task.done()]
        finally:
            for task in asked:
                task.cancel()
        answers = [result[: MAX_ADDRESSES // 2] for result in results if isinstance(result, list)]
        addresses = [address for answer in answers for address in answer]
        if not addresses:
            raise FlowError(Reason.TIMED_OUT if Reason.TIMED_OUT in results else Reason.NO_NAME)
        return addresses


def _look_up(name: str) -> list[Address]:
    """Ask the system, in a thread.

    Raises:
        OSError: there is no such name, or the system cannot tell.
    """
    found = socket.getaddrinfo(f"{name}.", None, socket.AF_UNSPEC, socket.SOCK_STREAM)
    addresses = dict.fromkeys(_read_address(str(entry[4][0])) for entry in found)
    return list(addresses)[:MAX_ADDRESSES]


def _read_address(text: str) -> Address:
    try:
        return IPv4Address(text)
    except AddressValueError:
        return IPv6Address(text)
