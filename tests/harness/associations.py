"""UDP associations of a SOCKS5 client that nobody here wrote."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import socks

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT_S: Final = 10.0


@contextmanager
def pysocks(proxy: str, user: str | None = None) -> Iterator[socks.socksocket]:
    """A UDP socket of PySocks, which asks for its association when it is first used.

    Args:
        proxy: `HOST:PORT`.
        user: user name and password at once; None for neither.
    """
    host, _, port = proxy.rpartition(":")
    with socks.socksocket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.set_proxy(socks.SOCKS5, host, int(port), username=user, password=user)
        sock.settimeout(LIMIT_S)
        yield sock
