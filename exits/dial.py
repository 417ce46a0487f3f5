"""Connect to the first of several addresses that answers.

Source: RFC 8305, sections 4 and 5.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from core.errors import FlowError, Reason
from exits.addresses import normalise
from exits.descriptors import check_reserve
from exits.families import Families, interleave

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from core.tasks import Tasks
    from exits.addresses import Address

STAGGER_S: Final = 0.25
"""How long an attempt is alone before the next address is tried as well, in seconds (RFC 8305, section 8)."""

LATE_S: Final = 1.0
"""How long late addresses are waited for once all others have failed, in seconds."""

_REASONS: Final = {
    errno.ECONNREFUSED: Reason.REFUSED,
    errno.EHOSTUNREACH: Reason.HOST_UNREACHABLE,
    errno.ENETUNREACH: Reason.NETWORK_UNREACHABLE,
    errno.ETIMEDOUT: Reason.TIMED_OUT,
    errno.EMFILE: Reason.BUSY,
    errno.ENFILE: Reason.BUSY,
    errno.ENOBUFS: Reason.BUSY,
    errno.ENOMEM: Reason.BUSY,
    errno.EADDRNOTAVAIL: Reason.BUSY,  # no local port is left
}

_TELLING: Final = (
    Reason.BUSY,
    Reason.REFUSED,
    Reason.TIMED_OUT,
    Reason.HOST_UNREACHABLE,
    Reason.NETWORK_UNREACHABLE,
    Reason.NOT_ALLOWED,
)
"""Which reason tells the client most if several addresses failed, first to last."""


def reason_for(error: OSError) -> Reason:
    """Say in a reason why the system could not connect."""
    return _REASONS.get(error.errno or 0, Reason.HOST_UNREACHABLE)


async def dial(
    addresses: Sequence[Address],
    port: int,
    source: Address | None,
    tasks: Tasks,
    *,
    allowed: Callable[[Address], bool] = lambda _: True,
    late: asyncio.Future[list[Address]] | None = None,
    families: Families | None = None,
) -> socket.socket:
    """Connect to whichever address answers first. Attempts start one after the other, `STAGGER_S` apart.

    Cancelling ends all attempts; no socket stays open but the one returned.

    Args:
        addresses: at least one, in order of preference within its family.
        port: 1 to 65535.
        source: local address to connect from, for destinations of its family.
        tasks: keeper of the attempts.
        allowed: asked for each address at the moment of trying it.
        late: addresses that are still being looked up; they join the attempts (RFC 8305, section 5).
        families: what is known of the families, and learns from this.

    Returns:
        A connected, non-blocking TCP socket that sends small pieces at once.

    Raises:
        FlowError: with the most telling reason, when every address failed.
    """
    race = _Race(port, source, tasks, allowed, families or Families())
    try:
        return await race.run(addresses, late)
    finally:
        race.end()


class _Race:
    """The attempts for one connection."""

    def __init__(
        self,
        port: int,
        source: Address | None,
        tasks: Tasks,
        allowed: Callable[[Address], bool],
        families: Families,
    ) -> None:
        self._port = port
        self._source = source
        self._tasks = tasks
        self._allowed = allowed
        self._families = families
        self._waiting: deque[Address] = deque()
        self._begun: dict[asyncio.Task[socket.socket | Reason], Address] = {}
        self._last: asyncio.Task[socket.socket | Reason] | None = None
        self._last_at = 0.0
        self._v6_at: float | None = None
        self._failed: list[Reason] = []

    async def run(self, addresses: Iterable[Address], late: asyncio.Future[list[Address]] | None) -> socket.socket:
        """See `dial`."""
        loop = asyncio.get_running_loop()
        tried: set[Address] = set()
        self._waiting.extend(self._families.order(map(normalise, addresses), loop.time()))
        while True:
            if late is not None and late.done():
                self._join(late.result(), tried)
                late = None
            if self._waiting and self._is_time(loop.time()):
                address = self._waiting.popleft()
                if address in tried:
                    continue
                tried.add(address)
                if not self._allowed(address):
                    self._failed.append(Reason.NOT_ALLOWED)
                elif late is None and not self._waiting and not self._begun:  # mostly so, and then no task is needed
                    result = await _attempt(address, self._port, self._source)
                    if (sock := self._ended(address, result, loop.time())) is not None:
                        return sock
                else:
                    self._begin(address, loop.time())
                continue
            if not self._begun:
                if late is None:
                    raise FlowError(min(self._failed, key=_TELLING.index))
                await asyncio.wait({late}, timeout=LATE_S)
                late = late if late.done() else None
                continue
            if (sock := await self._next(late, loop)) is not None:
                return sock

    def end(self) -> None:
        """End the attempts that still run."""
        for task in self._begun:
            task.cancel()
            task.add_done_callback(_close_loser)

    def _is_time(self, now: float) -> bool:
        """The next attempt begins when the last one failed, or has been alone for long enough."""
        return self._last not in self._begun or now >= self._last_at + STAGGER_S

    def _begin(self, address: Address, now: float) -> None:
        self._last = self._tasks.spawn(_attempt(address, self._port, self._source), "connection attempt")
        self._last_at = now
        self._begun[self._last] = address
        if address.version == 6 and self._v6_at is None:
            self._v6_at = now

    async def _next(
        self, late: asyncio.Future[list[Address]] | None, loop: asyncio.AbstractEventLoop
    ) -> socket.socket | None:
        """Wait until an attempt ends, late addresses come, or it is time for the next attempt."""
        awaited: set[asyncio.Future[Any]] = {*self._begun} if late is None else {*self._begun, late}
        timeout = max(self._last_at + STAGGER_S - loop.time(), 0.0) if self._waiting else None
        done, _ = await asyncio.wait(awaited, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for task, address in [(task, address) for task, address in self._begun.items() if task in done]:
            del self._begun[task]
            if (sock := self._ended(address, task.result(), loop.time())) is not None:
                return sock
        return None

    def _ended(self, address: Address, result: socket.socket | Reason, now: float) -> socket.socket | None:
        if isinstance(result, Reason):
            self._failed.append(result)
            return None
        self._won(address, now)
        return result

    def _join(self, found: Sequence[Address], tried: set[Address]) -> None:
        """Take in late addresses: the family that was not tried last goes on."""
        now = asyncio.get_running_loop().time()
        waiting = [*self._waiting, *(address for address in map(normalise, found) if address not in tried)]
        last = self._begun.get(self._last) if self._last is not None else None
        if last is None:
            self._waiting = deque(self._families.order(waiting, now))
        else:
            self._waiting = deque(interleave(waiting, 4 if last.version == 6 else 6))

    def _won(self, address: Address, now: float) -> None:
        v6_is_silent = any(other.version == 6 for other in self._begun.values())  # one that refuses works
        if address.version == 6:
            self._families.v6_won()
        elif v6_is_silent and self._v6_at is not None and now >= self._v6_at + STAGGER_S:
            self._families.v6_lost(now)


async def _attempt(address: Address, port: int, source: Address | None) -> socket.socket | Reason:
    """Connect to one address; a failure is returned, since another address may do better."""
    try:
        sock = _open_socket(address, source)
    except OSError as error:
        return reason_for(error)
    try:
        await _connect(sock, address, port)
    except OSError as error:
        sock.close()
        return reason_for(error)
    except BaseException:
        sock.close()
        raise
    return sock


async def _connect(sock: socket.socket, address: Address, port: int) -> None:
    """Connect. The event loop's own way looks even numbers up, with uvloop in a thread, and waits for that.

    Raises:
        OSError: the destination does not take the connection.
    """
    with contextlib.suppress(BlockingIOError, InterruptedError):
        sock.connect((str(address), port))
        return
    loop = asyncio.get_running_loop()
    settled = asyncio.Event()
    loop.add_writer(sock, settled.set)
    try:
        await settled.wait()
    finally:
        loop.remove_writer(sock)
    if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(error, os.strerror(error))


def _open_socket(address: Address, source: Address | None) -> socket.socket:
    """Make the socket for one attempt.

    Raises:
        OSError: the system has no socket left, or the source address is not its own.
    """
    sock = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
    try:
        check_reserve(sock)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source is not None and source.version == address.version:
            _bind(sock, source)
    except OSError:
        sock.close()
        raise
    return sock


def _bind(sock: socket.socket, source: Address) -> None:
    """Bind to a source address, leaving the port to the moment of connecting: else ports run out much earlier."""
    if (option := getattr(socket, "IP_BIND_ADDRESS_NO_PORT", None)) is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_IP, option, 1)
    sock.bind((str(source), 0))


def _close_loser(task: asyncio.Task[socket.socket | Reason]) -> None:
    """Close a socket that connected although another had won, or nobody waited any more."""
    if not task.cancelled() and not isinstance(result := task.result(), Reason):
        result.close()
