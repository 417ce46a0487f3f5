"""Where names are looked up: the system, or one DNS server."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any, Final, Protocol

import dns.exception
import dns.rdatatype

from core.errors import FlowError, Reason
from exits.dial import reason_for
from exits.dns_message import Answer

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from exits.addresses import Address

MAX_LOOKUPS: Final = 256
"""Most look-ups of one resolver at once."""

LOOKUP_LIMIT_S: Final = 5.0
"""Longest look-up, in seconds."""

MAX_SYSTEM_ADDRESSES: Final = 16
"""Most addresses that are kept of the system's answer."""

SYSTEM_TTL_S: Final = 30.0
"""How long the system's answer is taken for true, in seconds: it does not say."""

_LOOKUP_THREADS: Final = 64


class Source(Protocol):
    """Whoever knows names."""

    def questions(self, name: str) -> Sequence[Coroutine[Any, Any, Answer]]:
        """Say what has to be asked about a name.

        Args:
            name: an ASCII name without a trailing dot.

        Returns:
            One or more coroutines, to be run side by side. Each takes at most `LOOKUP_LIMIT_S`, does not raise, and
            answers with addresses, `NO_NAME`, `TIMED_OUT` or `BUSY`.
        """

    async def close(self) -> None:
        """Let go of what is kept."""


class Transport(Protocol):
    """The way to one DNS server."""

    async def ask(self, name: str, kind: dns.rdatatype.RdataType) -> Answer:
        """Ask until an answer comes. The caller sets the limit of time, and may give up at any moment.

        Raises:
            FlowError: `BUSY` if too much is being asked.
            OSError: the server cannot be reached, or is another.
            DNSException: its answer cannot be used.
        """

    async def close(self) -> None:
        """Let go of what is kept."""


class SystemSource:
    """The system's own resolver, asked in threads of its own, without its search domains."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_LOOKUP_THREADS, thread_name_prefix="resolver")
        self._running = 0

    def questions(self, name: str) -> Sequence[Coroutine[Any, Any, Answer]]:
        """See `Source.questions`. The system orders both families and answers with them together."""
        return (self._ask(name),)

    async def close(self) -> None:
        """Take no more work. Threads in the middle of a look-up end when the system answers them."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, name: str) -> Answer:
        """Ask in a thread. What took too long counts as running until its thread is free."""
        if self._running >= MAX_LOOKUPS:
            return Answer(reason=Reason.BUSY)
        self._running += 1
        lookup = asyncio.get_running_loop().run_in_executor(self._pool, _look_up, name)
        lookup.add_done_callback(self._ended)
        done, _ = await asyncio.wait({lookup}, timeout=LOOKUP_LIMIT_S)
        if not done:
            return Answer(reason=Reason.TIMED_OUT)
        try:
            return Answer(tuple(lookup.result()), SYSTEM_TTL_S)
        except socket.gaierror as error:
            known = error.errno in (socket.EAI_NONAME, socket.EAI_NODATA)
            return Answer(ttl_s=SYSTEM_TTL_S if known else 0.0, reason=Reason.NO_NAME)
        except OSError as error:
            return Answer(reason=_reason(error))

    def _ended(self, lookup: asyncio.Future[list[Address]]) -> None:
        self._running -= 1
        if not lookup.cancelled():
            lookup.exception()  # seen, also if nobody waits any more


class ServerSource:
    """One DNS server, asked for both families at once.

    Args:
        transport: the way to it.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def questions(self, name: str) -> Sequence[Coroutine[Any, Any, Answer]]:
        """See `Source.questions`."""
        return tuple(self._ask(name, kind) for kind in (dns.rdatatype.AAAA, dns.rdatatype.A))

    async def close(self) -> None:
        """Let go of the connection to the server."""
        await self._transport.close()

    async def _ask(self, name: str, kind: dns.rdatatype.RdataType) -> Answer:
        try:
            async with asyncio.timeout(LOOKUP_LIMIT_S):
                return await self._transport.ask(name, kind)
        except TimeoutError:
            return Answer(reason=Reason.TIMED_OUT)
        except FlowError as error:
            return Answer(reason=error.reason)
        except OSError as error:
            return Answer(reason=_reason(error))
        except dns.exception.DNSException:
            return Answer(reason=Reason.NO_NAME)


def _reason(error: OSError) -> Reason:
    """Tell an exit that has no descriptor, port or memory left from a server that does not answer."""
    return Reason.BUSY if reason_for(error) is Reason.BUSY else Reason.NO_NAME


def _look_up(name: str) -> list[Address]:
    """Ask the system, in a thread. The dot behind the name keeps its search domains out.

    Raises:
        OSError: there is no such name, or the system cannot tell.
    """
    try:
        found = socket.getaddrinfo(f"{name}.", None, socket.AF_UNSPEC, socket.SOCK_STREAM)
    except socket.gaierror:
        # glibc also says "no such name" when there was no descriptor to ask with: then there is none for this either.
        socket.socket().close()
        raise
    addresses = dict.fromkeys(_read_address(str(entry[4][0])) for entry in found)
    return list(addresses)[:MAX_SYSTEM_ADDRESSES]


def _read_address(text: str) -> Address:
    try:
        return IPv4Address(text)
    except AddressValueError:
        return IPv6Address(text)
