"""File descriptors that connections to destinations leave to the rest of the node.

A node that has none left can take no link, answer no `status` and write no file. So egress stops before: the system
gives each new descriptor the lowest free number, hence the number of a new one says how many are in use.

Source: POSIX.1-2017, General Information, section 2.14 (file descriptor allocation).
"""

from __future__ import annotations

import errno
import os
import resource
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket

RESERVE: Final = 128
"""Descriptors that are left free: links, the control port, files, and the look-ups that a resolver may begin."""

_LEAST_SHARE: Final = 4
"""Where few descriptors are allowed at all, only one in so many is left free."""


def check_reserve(sock: socket.socket) -> None:
    """Refuse a socket that was just made if it is among the last that the process may have.

    Raises:
        OSError: `EMFILE`; the socket is still the caller's to close.
    """
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != resource.RLIM_INFINITY and sock.fileno() >= allowed - min(RESERVE, allowed // _LEAST_SHARE):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
