"""Linux: the router and the device that everything leaves by, and word of every change."""

from __future__ import annotations

import asyncio
import itertools
import socket
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final, NamedTuple

from core.errors import DecodeError
from exits.routes import open_netlink
from node.trust.route_messages import (
    decode_link,
    decode_neighbour,
    decode_route,
    encode_link_question,
    encode_neighbour_question,
    encode_route_question,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from exits.addresses import Address
    from node.trust.route_messages import Link

FAR: Final = (IPv4Address("198.41.0.4"), IPv6Address("2001:503:ba3e::2:30"))
"""Two addresses that everybody reaches by the default route. The kernel is asked for the way to them; nothing is sent.
Source: `a.root-servers.net`, in IANA's root hints."""

_ANSWER_BYTES: Final = 1 << 16
"""Room for one answer. The longest is about a device, of some KiB."""

_GROUPS: Final = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
"""RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR and _IPV6_ROUTE. Source: `uapi/linux/rtnetlink.h`."""

_MAX_READS: Final = 64
"""Most datagrams that are taken at once before others have their turn; the rest is told again."""


class WayOut(NamedTuple):
    """By what everything leaves.

    Args:
        link: the device.
        gateway: the router, that of IPv4 where there are two.
        mac: its hardware address; empty if it is not known.
        gateways: the routers of both families.
        number: the device's number.
    """

    link: Link
    gateway: Address
    mac: str
    gateways: tuple[Address, ...]
    number: int


def way_out() -> WayOut | None:
    """Ask the kernel. It answers at once.

    Returns:
        None while there is no way out, or none with a router, or one device for IPv4 and another for IPv6.

    Raises:
        OSError: the kernel is not asked.
        DecodeError: its answers are of another form.
    """
    with open_netlink() as sock:
        return _Asking(sock).way_out()


class _Asking:
    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._sequences = itertools.count(1)

    def way_out(self) -> WayOut | None:
        ways = [way for address in FAR if (way := self._route(address)) is not None]
        gateways = tuple(gateway for _, gateway in ways if gateway is not None)
        if not ways or len(gateways) < len(ways) or len({index for index, _ in ways}) > 1:
            return None
        index = ways[0][0]
        sequence = next(self._sequences)
        link = decode_link(self._exchange(encode_link_question(index, sequence)), index, sequence)
        if link is None or not link.is_up:
            return None
        return WayOut(link, gateways[0], self._mac(index, gateways[0]), gateways, index)

    def _route(self, address: Address) -> tuple[int, Address | None] | None:
        sequence = next(self._sequences)
        return decode_route(self._exchange(encode_route_question(address, sequence)), sequence)

    def _mac(self, index: int, gateway: Address) -> str:
        sequence = next(self._sequences)
        return decode_neighbour(self._exchange(encode_neighbour_question(index, gateway, sequence)), sequence)

    def _exchange(self, question: bytes) -> bytes:
        self._socket.send(question)
        data, _, flags, sender = self._socket.recvmsg(_ANSWER_BYTES)
        if flags & socket.MSG_TRUNC or sender[0] != 0:
            raise DecodeError("netlink", "cut, or not from the kernel")
        return data


class KernelChanges:
    """Tells of every change of devices, addresses and routes. What changed is not looked at: whoever is told asks anew.

    Args:
        changed: called from the event loop.

    Raises:
        OSError: the kernel tells nothing.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        try:
            self._socket.bind((0, _GROUPS))
            asyncio.get_running_loop().add_reader(self._socket, self._readable)
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        """Tell nothing any more."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _readable(self) -> None:
        try:
            for _ in range(_MAX_READS):
                self._socket.recv(1)
        except OSError:
            pass  # there is no more, or more happened than there was room for
        self._changed()
