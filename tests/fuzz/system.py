"""Readers of what the operating system says: its kernel, and programs of it. A neighbour can have a say in it: names of
networks, addresses of routers."""

from __future__ import annotations

from ipaddress import ip_address

from exits import netlink
from node.trust import macos, route_messages
from tests.exits.test_netlink import DEFAULT_V4, DONE, LAN_V4, ONE_ADDRESS, UNREACHABLE
from tests.fuzz.target import Target
from tests.node.trust import test_macos, test_route_messages

_ASKED, _SEQUENCE, _DEVICE = ip_address("8.8.8.8"), 7, 3


def read_egress_route(data: bytes) -> None:
    found = netlink.decode_route(data, _ASKED, _SEQUENCE)
    assert found is None or 0 <= found.prefix_length <= 32


def read_own_addresses(data: bytes) -> None:
    found, _ = netlink.decode_addresses(data, _SEQUENCE)
    assert all(address.version == 6 for address in found)


def read_way_out(data: bytes) -> None:
    route_messages.decode_route(data, _SEQUENCE)


def read_device(data: bytes) -> None:
    found = route_messages.decode_link(data, _DEVICE, _SEQUENCE)
    assert found is None or 0 < len(found.name) <= 15


def read_neighbour(data: bytes) -> None:
    assert len(route_messages.decode_neighbour(data, _SEQUENCE)) in (0, 17)


def read_mac_route(data: bytes) -> None:
    found = macos.decode_route(data.decode("utf-8", "replace"))
    if found is not None:
        assert "/" not in found[0]
        ip_address(found[1])


def read_mac_neighbour(data: bytes) -> None:
    assert len(macos.decode_neighbour(data.decode("utf-8", "replace"), "192.168.1.1", "en1")) in (0, 17)


TARGETS = (
    Target("egress-route", read_egress_route, (DEFAULT_V4, UNREACHABLE), longest=200),
    Target("own-addresses", read_own_addresses, (ONE_ADDRESS + DONE, ONE_ADDRESS), longest=300),
    Target("way-out", read_way_out, (test_route_messages.ROUTE, LAN_V4, test_route_messages.ERROR), longest=200),
    Target("device", read_device, (test_route_messages.LINK,), longest=200),
    Target("neighbour", read_neighbour, (test_route_messages.NEIGHBOUR,), longest=200),
    Target("mac-route", read_mac_route, (test_macos.ROUTE.encode(), b"")),
    Target("mac-neighbour", read_mac_neighbour, (test_macos.NEIGHBOUR.encode(),), (), 300),
)
