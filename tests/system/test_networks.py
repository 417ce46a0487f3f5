"""A private network between machines that know nothing of each other but an invite, and a stranger beside them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import pytest

from node.networks import join, membership
from peers import store
from peers.addresses import format_address
from peers.directory import Directory
from peers.invite import Invite
from peers.networks import Network
from tests.harness.demo import until
from tests.harness.houses import House, Street
from tests.harness.namespaces import why_not

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.system

PAGE: Final = "a page of the web"
NET: Final = ("--network", "home")
LIMIT_S: Final = 60.0


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    if reason := why_not("curl"):
        pytest.skip(reason)
    with Street(tmp_path, 3) as built:
        yield built


def serve(house: House, role: str) -> None:
    house.command("share", *NET, "--role", role, "--address", house.address, "--background")


def invite_from(house: House) -> str:
    text: str = house.command("network", "invite", "home")["invite"]
    return text


def found_exit(street: Street) -> House:
    """Make a network with an exit in the first house."""
    house = street.houses[0]
    house.command("network", "create", "home")
    serve(house, "exit")
    return house


def test_an_exit_of_ones_own_in_three_commands_each(street: Street) -> None:
    began = time.monotonic()
    server, user, _ = street.houses
    server.command("network", "create", "home")
    serve(server, "exit")
    invite = invite_from(server)

    user.command("network", "join", invite)
    up = user.command("up", *NET, "--hops", "1")
    assert user.curl(street.page, up["proxy"]) == PAGE
    assert time.monotonic() - began < LIMIT_S

    status = user.command("status", *NET)
    assert (status["network"], status["hops"]) == ("home", 1)
    assert "the exit sees both who you are and where you go" in status["not_hidden"]


def test_two_hops_with_a_relay_of_a_friend(street: Street) -> None:
    began = time.monotonic()
    server, user, friend = street.houses
    found_exit(street)
    friend.command("network", "join", invite_from(server))
    serve(friend, "relay")

    user.command("network", "join", invite_from(friend))
    up = user.command("up", *NET, "--hops", "2")
    assert user.curl(street.page, up["proxy"]) == PAGE
    assert time.monotonic() - began < LIMIT_S

    (circuit, *_) = user.command("route", *NET)["circuits"]
    ids = [house.command("status", *NET)["peer_id"] for house in (friend, server)]
    assert [hop["peer_id"] for hop in circuit["hops"]] == ids
    assert "guard and exit know each other" in user.command("status", *NET)["not_hidden"]


def everything_but_the_secret(member: House, name: str) -> Invite:
    """What a member knows of the others, with another secret."""
    home = member.home / "networks" / "home"
    known = membership(home, "home")
    assert known.peers
    return Invite(Network(name, bytes(32)), known.peers)


def links_refused(house: House) -> int:
    counters = house.command("status", *NET)["counters"]["links"]
    return int(counters.get("handshake not finished", 0))


def check_stays_outside(stranger: House, server: House, *network: str, options: tuple[str, ...] = ()) -> None:
    """Let a stranger try a few times, and look at what it has learnt."""
    before = links_refused(server)
    with stranger.trying("up", *network, *options, "--hops", "1"):
        until("three refused links", lambda: links_refused(server) >= before + 3, 20)
        status = stranger.command("status", *network)
        assert status["state"] in ("connecting", "blocked")
        assert (status["peers"], status["circuits"]) == (0, 0)
    home = stranger.home / "networks" / network[-1] if network else stranger.home
    assert store.load(home / "peers", Directory(None), time.time()) == 0


def test_who_has_everything_but_the_secret_stays_outside(street: Street) -> None:
    server, user, stranger = street.houses
    found_exit(street)
    user.command("network", "join", invite_from(server))
    proxy = user.command("up", *NET, "--hops", "1")["proxy"]
    invite = everything_but_the_secret(user, "guess")
    join(stranger.home, invite)
    check_stays_outside(stranger, server, "--network", "guess")

    # Nor does it help to be in the public network, where a peer tells its descriptor to who asks.
    (peer,) = invite.peers
    bootstrap = ("--bootstrap", format_address(*peer.address, peer.peer))
    check_stays_outside(stranger, server, options=bootstrap)

    assert server.command("status", *NET)["peers"] == 0
    assert user.curl(street.page, proxy) == PAGE


@pytest.mark.long
def test_two_networks_side_by_side(street: Street) -> None:
    """One machine, one exit each: neither knows the other's peers."""
    server, user, other = street.houses
    proxies = {}
    for house, name, port in ((server, "home", "0"), (other, "work", "0")):
        house.command("network", "create", name)
        house.command("share", "--network", name, "--role", "exit", "--address", house.address, "--background")
        user.command("network", "join", house.command("network", "invite", name)["invite"])
        proxies[name] = user.command("up", "--network", name, "--hops", "1", "--port", port)["proxy"]
    for name, proxy in proxies.items():
        assert user.curl(street.page, proxy) == PAGE
        assert user.command("status", "--network", name)["peers"] == 1
