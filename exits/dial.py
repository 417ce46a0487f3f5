"""Connect to the first of several addresses that answers.

Source: RFC 8305, sections 4 and 5, without the memory of earlier attempts.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections import deque
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Final

from core.errors import FlowError, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from core.tasks import Tasks
    from exits.addresses import Address

STAGGER_S: Final = 0.25
"""How long an attempt is alone before the next address is tried as well, in seconds."""

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


def interleave(addresses: Sequence[Address]) -> list[Address]:
    """Order addresses for dialling: the families in turn, IPv6 first, each in the order given."""
    v6 = [address for address in addresses if address.version == 6]
    v4 = [address for address in addresses if address.version == 4]
    pairs = zip_longest(v6, v4)
    return [address for address in chain.from_iterable(pairs) if address is not None]


def reason_for(error: OSError) -> Reason:
    """Say in a reason why the system could not connect."""
    return _REASONS.get(error.errno or 0, Reason.HOST_UNREACHABLE)


async def dial(
    addresses: Sequence[Address],
    port: int,
    source: Address | None,
    tasks: Tasks,
    may_dial: Callable[[Address], bool] = lambda address: True,
) -> socket.socket:
    """Connect to whichever address answers first. Attempts start one after the other, `STAGGER_S` apart.

    Cancelling ends all attempts; no socket stays open but the one returned.

    Args:
        addresses: at least one, in order of preference.
        port: 1 to 65535.
        source: local address to connect from, for destinations of its family.
        tasks: keeper of the attempts.
        may_dial: asked about each address right before it is dialled, since routes change meanwhile.

    Returns:
        A connected, non-blocking TCP socket that sends small pieces at once.

    Raises:
        FlowError: with the most telling reason, when every address failed.
    """
    if len(addresses) == 1:
        return _winner([await _attempt(addresses[0], port, source, may_dial)])
    waiting = deque(addresses)
    running: set[asyncio.Task[socket.socket | Reason]] = set()
    failed: list[socket.socket | Reason] = []
    try:
        while waiting or running:
            if waiting:
                running.add(tasks.spawn(_attempt(waiting.popleft(), port, source, may_dial), "connection attempt"))
            done, _ = await asyncio.wait(
                running, timeout=STAGGER_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                running.discard(task)
                if isinstance(task.result(), socket.socket):
                    running |= done - {task}
                    return _winner([task.result()])
                failed.append(task.result())
        return _winner(failed)
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_close_loser)


async def _attempt(
    address: Address, port: int, source: Address | None, may_dial: Callable[[Address], bool]
) -> socket.socket | Reason:
    """Connect to one address; a failure is returned, since another address may do better."""
    if not may_dial(address):
        return Reason.NOT_ALLOWED
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


def _winner(results: Sequence[socket.socket | Reason]) -> socket.socket:
    """Take the socket out of the results, or say why there is none."""
    reasons = [result for result in results if isinstance(result, Reason)]
    for result in results:
        if not isinstance(result, Reason):
            return result
    raise FlowError(min(reasons, key=_TELLING.index))


def _close_loser(task: asyncio.Task[socket.socket | Reason]) -> None:
    """Close a socket that connected although another had won, or nobody waited any more."""
    if not task.cancelled() and not isinstance(result := task.result(), Reason):
        result.close()
