"""Paths for sites of which the user wants something of their own: by these rules, and over the hops held on to."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

import pytest

from core.errors import CircuitError, Reason
from peers.choice import Moment
from tests.peers.build import NOW
from tests.peers.test_choice import DE, NL, NL2, RELAYS, US, Client, exit_in, serving
from tunnel.path import Wish

if TYPE_CHECKING:
    from collections.abc import Collection

    from core.ids import PeerKey
    from peers.choice import Choice
    from peers.descriptor import Descriptor

SITE = Wish(443)
"""What a flow of a site asks for; by which rules is the choice's."""


def ends_of(choice: Choice, wish: Wish = SITE, *, avoid: Collection[Descriptor] = ()) -> set[Descriptor]:
    moment = Moment(NOW, 0.0, [found.peer for found in avoid], wish=wish)
    return {choice.path(moment)[-1] for _ in range(30)}


def kept(client: Client) -> tuple[tuple[PeerKey, ...], ...]:
    return client.pins.guards.peers, client.pins.seconds.peers


def test_a_site_leaves_from_its_regions_and_no_other() -> None:
    client = Client(NL, NL2, DE, US, regions=("NL",))
    german = client.site(regions=("DE",))
    assert ends_of(german) == {DE}
    assert client.ends() == {NL, NL2}
    with pytest.raises(CircuitError) as caught:
        ends_of(german, avoid=[DE])
    assert caught.value.reason is Reason.NO_PATH
    with pytest.raises(CircuitError):
        ends_of(client.site(regions=("FR",)))
    assert ends_of(client.site(regions=("FR", "US"))) == {US}


@pytest.mark.parametrize("hops", [2, 3])
def test_what_pages_choose_among_many_rules_shows_the_client_to_nobody_else(hops: int) -> None:
    """Exits in 21 regions, each of which stands where two relays do, and one so where both guards do."""
    places = combinations([found.addresses[0] for found in RELAYS], 2)
    exits = [replace(exit_in(200 + number, f"R{number}"), addresses=pair) for number, pair in enumerate(places)]
    client = Client(NL, *exits, hops=3)
    client.end()
    before, reached = kept(client), 0
    for found in exits:
        site = client.site(regions=(found.region,), hops=hops)
        for avoid in ((), client.pins.guards.peers):
            for last, wish in ((None, SITE), (found.peer, Wish())):  # a new flow, and one that moves
                with suppress(CircuitError):
                    reached += site.path(Moment(NOW, 0.0, avoid, last, wish=wish))[-1] == found
    assert 20 <= reached < 4 * len(exits), "some can be had, and some not"
    assert kept(client) == before


@pytest.mark.parametrize(("own", "hops"), [(3, 2), (2, 3)])
def test_guards_are_the_same_ones_for_every_number_of_hops(own: int, hops: int) -> None:
    client = Client(NL, hops=own)
    client.end()
    guards = client.pins.guards.peers
    path = client.site(hops=hops).path(Moment(NOW, 0.0, wish=SITE))
    assert (len(path), path[0].peer) == (hops, guards[0])
    assert client.pins.guards.peers == guards
    assert len(client.pins.seconds) == 4


def test_hops_to_hold_on_to_are_drawn_as_for_all_sites_though_a_site_comes_first() -> None:
    """Else who asks little would be drawn by every client that opens a page of such a site first."""
    seen: set[PeerKey] = set()
    for seed in range(30):
        client = Client(NL, exit_in(110, "NL", tariff=5), seed=seed)
        for relay in RELAYS[3:]:
            client.directory.insert(replace(relay, sequence=2, tariff_step=5), None)
        with suppress(CircuitError):
            client.site(max_tariff=0).path(Moment(NOW, 0.0, wish=SITE))
        assert (len(client.pins.guards), len(client.pins.seconds)) in ((2, 3), (2, 4)), "three of them are free"
        seen.update(client.pins.guards.peers)
    assert len(seen) == len(RELAYS)


def test_no_hop_costs_more_than_a_site_may() -> None:
    client = Client(exit_in(101, "NL", tariff=3), exit_in(103, "DE", tariff=1), tariff=1)
    client.end()
    guard, other = client.pins.guards.peers
    dear = next(found for found in RELAYS if found.peer == guard)
    client.directory.insert(replace(dear, sequence=2, tariff_step=4), None)
    for most, ends in ((3, {"NL", "DE"}), (2, {"DE"})):
        site = client.site(max_tariff=most)
        paths = [site.path(Moment(NOW, 0.0, wish=SITE)) for _ in range(30)]
        assert {found.tariff_step <= most for path in paths for found in path} == {True}
        assert {path[-1].region for path in paths} == ends
        assert {path[0].peer for path in paths} == {other}, "the other one that is kept"


def test_a_region_that_the_kept_hops_cannot_reach_is_passed_over() -> None:
    client = Client(DE, hops=2)
    client.end()
    hosts = tuple(found.addresses[0] for found in RELAYS if found.peer in client.pins.guards.peers)
    near = replace(exit_in(140, "NL"), addresses=hosts)
    client.directory.insert(near, None)
    assert ends_of(client.site(regions=("NL", "DE"), hops=2)) == {DE}
    with pytest.raises(CircuitError):
        ends_of(client.site(regions=("NL", "DE"), hops=2), avoid=[DE])


def test_a_site_goes_back_to_its_first_region_whatever_the_settings_say() -> None:
    client = Client(NL, DE, switch_back=False)
    site = client.site(regions=("NL", "DE"))
    assert ends_of(site) == {NL}
    blamed = Moment(NOW, 0.0, [NL.peer], None, [NL.peer], wish=SITE)
    assert site.path(blamed)[-1] == DE
    assert ends_of(site) == {NL}


def test_which_exits_do_for_a_site() -> None:
    client = Client(serving(NL, b"+80"), DE, exit_in(110, "US", tariff=5))
    site = client.site(regions=("NL", "US"), max_tariff=3)
    assert [site.serves(found, 80) for found in (NL.peer, DE.peer, exit_in(110, "US").peer)] == [True, False, False]
    assert [site.anyone_serves(port) for port in (0, 80, 22)] == [True, True, False]
    assert not site.serves(US.peer, 80), "of which nothing is known"
    assert not client.site(regions=("FR",)).anyone_serves(0)
    assert Client().site(regions=("FR",)).anyone_serves(0), "no exit is known yet"
