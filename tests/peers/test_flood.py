"""A source that floods the directory with peers of its own, and what is left of the honest ones on paths."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

import pytest

from peers.descriptor import Role
from peers.directory import Directory
from peers.path_search import PathRules
from peers.paths import choose_path
from tests.peers.build import host, plain

if TYPE_CHECKING:
    from peers.descriptor import Descriptor

HONEST, FLOOD = 300, 6000
SOURCES = 5
"""Honest neighbours; each tells of all honest peers."""
PATHS = 40
BOTH = Role.RELAY | Role.EXIT
NO_BOUND = 1 << 20


class Flood(NamedTuple):
    """Where the attacker's peers stand."""

    networks: int
    systems: int
    sources: int


FEW_NETWORKS = Flood(networks=4, systems=1, sources=1)
MANY_NETWORKS = Flood(networks=FLOOD, systems=FLOOD, sources=1)
ONE_PROVIDER = Flood(networks=FLOOD, systems=1, sources=1)
MANY_SOURCES = Flood(networks=FLOOD, systems=FLOOD, sources=3)


def honest() -> list[Descriptor]:
    return [plain(number, BOTH, (host(number),)) for number in range(HONEST)]


def hostile(flood: Flood) -> list[Descriptor]:
    return [plain(10**6 + number, BOTH, (host(HONEST + number % flood.networks),)) for number in range(FLOOD)]


def system_of(flood: Flood) -> dict[str, int]:
    own = {host(number): number for number in range(HONEST)}
    return own | {host(HONEST + number): HONEST + number % flood.systems for number in range(flood.networks)}


def flooded(flood: Flood, *, defended: bool, before: bool) -> Directory:
    """A directory after the flood, which came before the honest peers were told of or after.

    Args:
        flood: of what kind.
        defended: with the bounds that nodes have, or with that on all peers alone.
        before: whether the flood comes first.
    """
    asn_of = system_of(flood).get
    directory = Directory(asn_of=asn_of)
    if not defended:
        directory = Directory(asn_of=asn_of, max_per_source=NO_BOUND, max_per_network=NO_BOUND, max_per_system=NO_BOUND)
    told = [(found, f"honest {number % SOURCES}") for number, found in enumerate(honest())]
    junk = [(found, f"hostile {number % flood.sources}") for number, found in enumerate(hostile(flood))]
    for found, source in [*junk, *told] if before else [*told, *junk]:
        directory.insert(found, source)
    return directory


def held(directory: Directory) -> tuple[int, float]:
    """How many honest peers are known, and what part of all exits is hostile, of which one is drawn evenly."""
    rng = random.Random(1)
    rules = PathRules(3, lambda _: True)
    names = {found.peer for found in honest()}
    known = sum(found.peer in names for found in directory.peers())
    part = 1 - known / len(directory)
    ends = [choose_path(directory, rules, rng)[-1].peer for _ in range(PATHS)]
    assert sum(end not in names for end in ends) / PATHS == pytest.approx(part, abs=0.25)
    return known, part


@pytest.mark.parametrize(
    "before", [pytest.param(False, id="after", marks=pytest.mark.long), pytest.param(True, id="before")]
)
@pytest.mark.parametrize(
    ("flood", "at_most"),
    [(FEW_NETWORKS, 0.47), (ONE_PROVIDER, 0.47), (MANY_NETWORKS, 0.78), (MANY_SOURCES, 0.92)],
    ids=["few networks", "one provider", "many networks", "many sources"],
)
def test_a_flood_leaves_the_honest_peers_in_place(flood: Flood, at_most: float, before: bool) -> None:
    """Bounds on a source, a network and a provider decide what a flood is worth; undefended it takes nearly all."""
    _, undefended = held(flooded(flood, defended=False, before=before))
    known, defended = held(flooded(flood, defended=True, before=before))
    print(f"{flood}: {100 * undefended:.0f} % of exits hostile without bounds, {100 * defended:.0f} % with them")
    assert undefended > 0.9
    assert known == HONEST
    assert defended <= at_most


def test_who_is_always_among_the_news_is_no_more_likely_to_be_known() -> None:
    """An honest neighbour tells of 2,000 peers, the news first: a quarter is hostile, and renews all the time."""
    peers = [plain(number, BOTH, (host(number),)) for number in range(2000)]
    hostile = {found.peer for found in peers[:500]}
    directory = Directory(max_per_source=400, secret=b"a secret")
    for found in peers:
        directory.insert(found, "neighbour")
    part = sum(found.peer in hostile for found in directory.peers()) / len(directory)
    print(f"{100 * part:.0f} % hostile; of the first {len(directory)} that were told, all were")
    assert part == pytest.approx(0.25, abs=0.1)
