"""How a TCP connection ends for whoever is at its other end: cleanly, or by a reset.

A clean end says that all has come. A body without a length in advance has no other mark of its end, so one that was
broken off must never end cleanly. An aborted transport and a killed process do end so, unless the socket was told.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER, on, 0 s: to close is to reset, also when the kernel closes what an ended process had open (socket(7))."""
_CLEAN: Final = struct.pack("ii", 0, 0)


def mark_unfinished(transport: asyncio.BaseTransport) -> None:
    """Have a connection reset by whatever closes it from now on, the end of this process included."""
    _linger(transport, _RESET)


def mark_finished(transport: asyncio.BaseTransport) -> None:
    """Have a connection that was marked end cleanly when it is closed: all has been written."""
    _linger(transport, _CLEAN)


def cut(transport: asyncio.WriteTransport) -> None:
    """Reset a connection now; what waits to be sent is dropped."""
    mark_unfinished(transport)
    transport.abort()


def _linger(transport: asyncio.BaseTransport, value: bytes) -> None:
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with suppress(OSError):  # it may be closed already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, value)
