"""Which peers a node may dial, now: nobody inside, whatever a descriptor says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exits.addresses import Way
from node.peering import Peering
from node.settings import PeersSettings
from peers.descriptor import Role
from peers.invite import Invite
from peers.networks import PUBLIC_NAME, Network

if TYPE_CHECKING:
    from pathlib import Path

    from exits.addresses import Address

OUTSIDE: Final = "11.1.0.1"
LAN: Final = "2a0c:90:0:1::20"
OWN: Final = "11.80.0.2"


class Ways:
    """Routes that the test sets."""

    def __init__(self) -> None:
        self.inside = {LAN}
        self.asked = 0

    def way_to(self, address: Address) -> Way:
        self.asked += 1
        return Way.INSIDE if str(address) in self.inside else Way.OUT


def node(folder: Path, ways: Ways, network: Network | None = None, *allowed: str) -> Peering:
    return Peering(
        PeersSettings(allow_addresses=allowed),
        folder,
        None,
        None,
        Role.NONE,
        "",
        b"",
        lambda: None,
        lambda keys: None,
        membership=Invite(network or Network(PUBLIC_NAME)),
        routes=ways,
    )


async def test_only_who_is_outside_is_dialled(tmp_path: Path) -> None:
    peering = node(tmp_path, Ways())
    assert peering.may_dial(OUTSIDE)
    for host in (LAN, "192.168.7.20", "127.0.0.1", "64:ff9b::c0a8:714", "fe80::1", "no address", "11.1.0.1%eth0"):
        assert not peering.may_dial(host), host


async def test_routes_are_asked_for_each_time(tmp_path: Path) -> None:
    ways = Ways()
    peering = node(tmp_path, ways)
    assert peering.may_dial(OUTSIDE)
    ways.inside.add(OUTSIDE)
    assert not peering.may_dial(OUTSIDE)
    ways.inside.clear()
    assert peering.may_dial(OUTSIDE)
    assert peering.may_dial(LAN)


async def test_choosing_does_not_ask_for_routes(tmp_path: Path) -> None:
    ways = Ways()
    peering = node(tmp_path, ways)
    assert peering.address_ok(LAN)
    assert not peering.address_ok("192.168.7.20")
    assert ways.asked == 0


async def test_the_address_under_which_others_see_this_node_is_inside(tmp_path: Path) -> None:
    peering = node(tmp_path, Ways())
    assert peering.may_dial(OWN)
    peering.own_hosts = lambda: frozenset({OWN, "2a0b:80::2"})
    assert not peering.may_dial(OWN)
    assert not peering.may_dial("2a0b:80::2")
    peering.own_hosts = frozenset
    assert peering.may_dial(OWN)
    peering.address = (OWN, 4433)
    assert not peering.may_dial(OWN)


async def test_what_is_allowed_and_the_house_of_a_private_network_need_no_way_out(tmp_path: Path) -> None:
    ways = Ways()
    assert node(tmp_path, ways, None, "2a0c:90::/32").may_dial(LAN)
    private = node(tmp_path, ways, Network("home", bytes([1] * 32)))
    private.own_hosts = lambda: frozenset({OWN})
    assert all(map(private.may_dial, (LAN, OWN, "192.168.7.20")))
    assert not private.may_dial("127.0.0.1")
    assert ways.asked == 0
