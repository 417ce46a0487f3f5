"""Which network this machine is on, on the systems that can tell."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Final, Protocol

from pac.trusted import Attachment

if TYPE_CHECKING:
    from node.trust.managers import Managers

READ_S: Final = 2.0
"""Longest time that the system may take to say which network it is."""


class Reader(Protocol):
    """Whoever knows the network."""

    async def read(self) -> Attachment | None:
        """Say which network this machine is on now; None if it is on none, or on two, or that cannot be told.

        May raise anything, and takes as long as it takes: the caller sets a limit of time.
        """

    def close(self) -> None:
        """Ask nothing any more."""


async def look(reader: Reader) -> Attachment | None:
    """Ask, for 2 s at most. Whatever goes wrong reads as None."""
    try:
        async with asyncio.timeout(READ_S):
            return await reader.read()
    except Exception:  # whatever the system or a library trips over: it is not known then
        return None


class LinuxReader:
    """Asks the kernel, and who manages the connection.

    Args:
        managers: who is asked what the network proved.
    """

    def __init__(self, managers: Managers) -> None:
        self._managers = managers

    async def read(self) -> Attachment | None:
        """See `Reader.read`."""
        from node.trust.kernel import way_out

        way = way_out()
        if way is None:
            return None
        joined = await self._managers.joined(way.link.name)
        if way_out() != way:
            return None  # it changed meanwhile, so the two answers may be about two networks
        gateways = [str(gateway) for gateway in way.gateways]
        period: tuple[str | int, ...] = (way.number, way.link.carrier_changes, *gateways, *joined.period)
        return Attachment(
            way.link.name, str(way.gateway), way.mac, joined.ssid, joined.security, joined.profile, period
        )

    def close(self) -> None:
        """See `Reader.close`."""
        self._managers.close()


class MacReader:
    """Asks macOS."""

    async def read(self) -> Attachment | None:
        """See `Reader.read`."""
        from node.trust import macos

        return await macos.read()

    def close(self) -> None:
        """See `Reader.close`."""


class NoReader:
    """A system on which nobody can be asked."""

    async def read(self) -> Attachment | None:
        """See `Reader.read`."""
        return None

    def close(self) -> None:
        """See `Reader.close`."""


async def read_once() -> Attachment | None:
    """Say which network this machine is on now; None if that cannot be told in time."""
    reader = system_reader()
    try:
        return await look(reader)
    finally:
        reader.close()


def system_reader() -> Reader:
    """Choose what this system offers."""
    if sys.platform == "linux":
        from node.trust.managers import Managers

        return LinuxReader(Managers())
    return MacReader() if sys.platform == "darwin" else NoReader()
