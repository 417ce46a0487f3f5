"""Peers behind real routers: what neighbours see of them, who reaches them, and links from home to home."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.harness.demo import until
from tests.harness.houses import House
from tests.harness.namespaces import why_not
from tests.harness.nat import PUBLIC, Mapping, Town
from tests.harness.nat_peers import PORT, Peer, peers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.system

ENGINES = ("aiopquic", "aioquic")
SAME, RANDOM = Mapping.SAME, Mapping.RANDOM


@pytest.fixture(autouse=True)
def _namespaces() -> None:
    if reason := why_not("nft", "curl"):
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
        assert public.ask("reached", "r1", PORT) is True
        assert home.ask("reached", "r0", PORT) is False


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


# -- whole nodes

ALLOWED = [word for network in PUBLIC for word in ("--allow-address", network)]


@contextmanager
def sharing(houses: list[House]) -> Iterator[None]:
    """End what runs in the houses."""
    try:
        yield
    finally:
        for house in houses:
            house.try_command("down")


def share(house: House, *options: str) -> None:
    house.command("share", "--role", "relay", "--background", *ALLOWED, *options)


def share_in_public(houses: list[House]) -> str:
    """Serve in machines that are told their addresses, and return how those who come later find them."""
    bootstrap = ""
    for house in houses:
        share(house, "--address", house.address, *(["--bootstrap", bootstrap] if bootstrap else []))
        status = house.command("status")
        assert status["reachable"] == "public"
        bootstrap = f"{status['address']}/p2p/{status['peer_id']}"
    return bootstrap


def how(house: House) -> str:
    word: str = house.command("status")["reachable"]
    return word


def test_a_node_finds_out_how_it_is_reached(tmp_path: Path) -> None:
    with Town() as town:
        machines = [*(town.public() for _ in range(5)), town.home(SAME), town.home(RANDOM)]
        houses = [House(machine.name, machine.address, tmp_path / machine.name) for machine in machines]
        with sharing(houses):
            bootstrap = share_in_public(houses[:4])
            new, steady, varying = houses[4:]
            for house in (new, steady, varying):
                share(house, "--bootstrap", bootstrap)
            until("public", lambda: how(new) == "public", 30)
            until("punched", lambda: how(steady) == "punched", 30)
            until("behind-nat", lambda: how(varying) == "behind-nat", 30)
            assert new.command("status")["address"].startswith(f"/ip4/{new.address}/udp/")
            assert [house.command("status")["address"] for house in (steady, varying)] == ["", ""]
