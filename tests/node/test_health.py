"""What a node knows of its own health: its clock beside those of peers, and the exit that sites see."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest

from core.flow import NO_OPTIONS, SiteOptions
from node.health import clock, health
from node.peering import DESCRIPTOR_LIFE_S, RENEW_S
from peers.descriptor import Role
from peers.identity import peer_id
from tests.peers.build import NOW, host, plain

if TYPE_CHECKING:
    from core.ids import PeerKey
    from peers.descriptor import Descriptor

PEERS: Final = [plain(number, Role.EXIT, (host(number),)) for number in range(1, 6)]


def aged(*ages_s: int) -> list[Descriptor]:
    """Descriptors that were signed so many seconds before `NOW`, by a clock that is right."""
    return [replace(found, expiry=NOW + DESCRIPTOR_LIFE_S - age) for found, age in zip(PEERS, ages_s, strict=False)]


@pytest.mark.parametrize(
    ("ages_s", "behind_s", "ahead_s"),
    [
        ((), 0, 0),
        ((-900, -800), 0, 0),
        ((0, 100, RENEW_S), 0, 0),
        ((-900, -800, 100), 0, 0),
        ((-900, -800, -700), 700, 0),
        ((-900, -800, -700, RENEW_S, RENEW_S), 700, 0),
        ((RENEW_S + 5, RENEW_S + 900, RENEW_S + 900), 0, 5),
        ((RENEW_S + 900, RENEW_S + 900), 0, 0),
    ],
)
def test_the_clock(ages_s: tuple[int, ...], behind_s: int, ahead_s: int) -> None:
    """Two that lie say nothing; what three say is believed as far as the third one says it."""
    assert clock(aged(*ages_s), NOW) == {"behind_s": behind_s, "ahead_s": ahead_s, "peers": len(ages_s)}


def choosing(guards: list[PeerKey]) -> Any:
    known = {found.peer: found for found in PEERS}
    directory = SimpleNamespace(peers=lambda: tuple(PEERS), get=known.get)
    pins = SimpleNamespace(guards=SimpleNamespace(peers=guards))
    return SimpleNamespace(choice=SimpleNamespace(directory=directory), pins=pins, region=lambda peer: "NL")


def circuit(last: PeerKey, isolation: str | None, options: SiteOptions = NO_OPTIONS) -> Any:
    return SimpleNamespace(path=[SimpleNamespace(peer=last)], isolation=isolation, options=options)


def tunnel(circuits: list[Any], linked: list[PeerKey | None]) -> Any:
    links = [SimpleNamespace(peer=peer) for peer in linked]
    return SimpleNamespace(links=links, pool=SimpleNamespace(circuits=circuits))


def test_the_exit_that_sites_see_is_that_of_the_circuit_in_use() -> None:
    isolated = circuit(PEERS[3].peer, "x", SiteOptions(isolated=True))
    found = health(
        choosing([PEERS[0].peer, PEERS[1].peer]),
        tunnel([isolated, circuit(PEERS[4].peer, None), circuit(PEERS[2].peer, "")], [PEERS[0].peer, None]),
        NOW,
    )
    assert found["exit"] == {"peer_id": peer_id(PEERS[2].peer), "region": "NL", "addresses": [host(3)]}
    assert (found["links"], found["guards"]) == (1, {"kept": 2, "linked": 1})


def test_a_node_that_has_nothing_yet() -> None:
    found = health(choosing([]), None, NOW)
    assert (found["exit"], found["links"], found["guards"]) == (None, 0, {"kept": 0, "linked": 0})
    assert health(choosing([]), tunnel([], []), NOW)["exit"] is None


def test_an_exit_that_is_known_no_more() -> None:
    gone = plain(99, Role.EXIT, ()).peer
    assert health(choosing([]), tunnel([circuit(gone, None)], []), NOW)["exit"] == {
        "peer_id": peer_id(gone),
        "region": "NL",
        "addresses": [],
    }
