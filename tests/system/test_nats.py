"""Peers behind real routers: what neighbours see of them, who reaches them, and links from home to home."""

from __future__ import annotations

import pytest

from tests.harness.nat import Mapping, why_not
from tests.harness.nat_peers import PORT, Peer, peers

pytestmark = pytest.mark.system

ENGINES = ("aiopquic", "aioquic")
SAME, RANDOM = Mapping.SAME, Mapping.RANDOM


@pytest.fixture(autouse=True)
def _namespaces() -> None:
    if reason := why_not():
        pytest.skip(reason)


def seen(peer: Peer) -> list[tuple[str, int]]:
    return [(host, port) for host, port in peer.ask("told")]


@pytest.mark.parametrize("engine", ENGINES)
def test_neighbours_say_where_they_see_a_peer(engine: str) -> None:
    with peers(engine, 3, SAME, RANDOM) as (publics, homes):
        for home in homes:
            for name in ("r1", "r2"):
                assert home.ask("link", name) is not None
            assert len(seen(home)) == 3
            assert {host for host, _ in seen(home)} == {home.machine.seen_as}
        steady, varying = ({port for _, port in seen(home)} for home in homes)
        assert steady == {PORT}
        assert len(varying) == 3

        assert publics[0].ask("link", "r1") is not None
        assert seen(publics[0]) == [(publics[0].machine.address, PORT)]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_dial_back_reaches_public_peers_alone(engine: str) -> None:
    with peers(engine, 2, SAME) as ((public, _), (home,)):
        assert public.ask("link", "r1") is not None
        assert public.ask("reached", "r1") is True
        assert home.ask("reached", "r0") is False


@pytest.mark.parametrize("engine", ENGINES)
def test_two_homes_link_directly(engine: str) -> None:
    with peers(engine, 1, SAME, SAME) as (_, (first, second)):
        assert first.ask("link", "h1") is not None
        assert second.ask("linked", "h0")
        assert first.ask("linked", "h1")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("mappings", [(RANDOM, RANDOM), (SAME, RANDOM), (RANDOM, SAME)])
def test_homes_with_random_ports_do_not(engine: str, mappings: tuple[Mapping, Mapping]) -> None:
    with peers(engine, 1, *mappings) as (_, (first, second)):
        assert first.ask("link", "h1") is None
        assert not second.ask("linked", "h0")
