"""A house with a LAN of private and public addresses: an exit and a relay in it reach nothing inside, and the Internet.

The servers of the LAN count what comes to them. The one thing that may come is DNS, to the router, which is the
system's resolver.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest

from core.errors import FlowError
from exits.addresses import is_public
from exits.names import parse_destination
from peers import store
from peers.descriptor import Descriptor, Role
from peers.directory import Directory
from peers.identity import Identity
from tests.harness.demo import ROOT, until
from tests.harness.lan import (
    LINKS_PORT,
    MACHINE,
    ONLY_LAN_PORT,
    OUTSIDE_V4,
    PORT,
    ROUTER,
    SECOND,
    SERVER,
    WEB_V4,
    WEB_V6,
    Estate,
    inside_hosts,
    redirect,
    url,
)
from tests.harness.lan_datagrams import DIRECT
from tests.harness.namespaces import ip, why_not
from tunnel.wireguard.primitives import private_key, public_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.system

NET: Final = ("--network", "home")
PAGE: Final = "a page"
DAY_S: Final = 86400
DATAGRAM: Final = "datagram not_allowed"
"""Under which word an exit counts a datagram that it does not send on."""


@pytest.fixture
def estate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Estate]:
    if reason := why_not("nft", "curl"):
        pytest.skip(reason)
    monkeypatch.setenv("MACROVPN_BYPASS_PRESETS", "[]")
    with Estate(tmp_path) as built:
        yield built


def share_from_the_house(estate: Estate) -> None:
    """Make the machine in the LAN an exit, and the one outside a member of its network."""
    house, outside = estate.house, estate.outside
    house.command("network", "create", "home")
    where = ("--address", OUTSIDE_V4, "--port", str(LINKS_PORT))
    house.command("share", *NET, "--role", "exit", *where, "--background")
    outside.command("network", "join", house.command("network", "invite", "home")["invite"])


def proxy_of_client(estate: Estate) -> str:
    proxy: str = estate.outside.command("up", *NET, "--hops", "1")["proxy"]
    until("the web", lambda: estate.outside.curl(url(WEB_V4), proxy) == PAGE, 30)
    return proxy


def refusals(estate: Estate, word: str = "not_allowed") -> int:
    """How often the exit has refused to go somewhere."""
    counted: dict[str, int] = estate.house.command("status", *NET)["counters"]["exit"]
    return counted.get(word, 0)


def refusals_reach(estate: Estate, count: int) -> bool:
    """Whether the exit has refused so many datagrams."""
    return refusals(estate, DATAGRAM) >= count


def is_special(host: str) -> bool:
    """Whether a client sees by a host itself that it is no public one."""
    try:
        found = parse_destination(host)
    except FlowError:
        return True
    return not isinstance(found, str) and not is_public(found)


def test_a_client_asks_no_exit_for_what_is_special(estate: Estate) -> None:
    share_from_the_house(estate)
    proxy = proxy_of_client(estate)
    before = len(estate.asked)
    hosts = list(filter(is_special, inside_hosts()))
    assert "192.168.7.20" in hosts
    assert "nas.local" in hosts
    for host in hosts:
        assert estate.outside.curl(url(host), proxy) == "", host
    with estate.datagrams(proxy, *hosts, WEB_V4) as answered:
        assert answered == WEB_V4
    assert refusals(estate) == refusals(estate, DATAGRAM) == 0
    assert not any(name.startswith("nas") for name in estate.asked[before:])


def test_an_exit_reaches_nothing_in_its_lan(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    share_from_the_house(estate)
    monkeypatch.setenv("MACROVPN_TUNNEL_ALLOW_DESTINATIONS", "0.0.0.0/0,::/0")  # a client that asks for anything
    proxy = proxy_of_client(estate)
    assert estate.outside.curl(url(WEB_V6), proxy) == PAGE
    assert estate.outside.curl(url("web.example.org"), proxy) == PAGE
    estate.forget()
    before = len(estate.asked)

    hosts = [*inside_hosts(), *(text.partition("/")[0] for text in (*MACHINE, *ROUTER))]
    redirected = ("192.168.7.20", "11.90.0.20", "2a0c:90:0:1::20", "hairpin.example.org")
    for host in hosts:
        assert estate.outside.curl(url(host), proxy) == "", host
    for host in redirected:
        assert estate.outside.curl(redirect(host), proxy) == "", host
    assert estate.outside.curl(redirect(WEB_V6), proxy) == PAGE
    assert refusals(estate) == len(hosts) + len(redirected)
    assert estate.outside.curl(url("both.example.org", ONLY_LAN_PORT), proxy) == ""
    assert estate.outside.curl(url("both.example.org"), proxy) == PAGE  # its one address that is outside
    with estate.datagrams(proxy, *hosts, WEB_V4) as answered:
        assert answered == WEB_V4
        until("all others are refused", partial(refusals_reach, estate, len(hosts)))
    for web in (WEB_V6, "web.example.org", "both.example.org"):
        with estate.datagrams(proxy, web) as answered:
            assert answered == web
    assert set(estate.inside().values()) == {0}
    assert not {name for name in estate.asked[before:] if name.startswith("nas")}

    # The same machine, without the exit's rules, reaches each of them.
    assert estate.house.curl(url("nas.lan")) == PAGE
    assert sum(estate.inside().values()) > 0
    estate.forget()
    reached = estate.house.inside(
        sys.executable, "-m", "tests.harness.lan_datagrams", DIRECT, str(PORT), *inside_hosts()
    )
    subprocess.run(reached, cwd=ROOT, check=True, timeout=60)
    assert sum(estate.inside().values()) >= len(inside_hosts())


def signed(host: str, roles: Role) -> Descriptor:
    """A peer that says that it is at an address, in words that nobody can find fault with."""
    peer = Identity.ephemeral()
    now = int(time.time())
    raw = Descriptor.sign(
        peer,
        (public_bytes(private_key(secrets.token_bytes(32))),),
        sequence=now,
        expiry=now + DAY_S,
        roles=roles,
        addresses=((host, PORT),),
        region="",
        exit_policy=b"",
    )
    return Descriptor.decode(raw, now)


LIARS: Final = [text.partition("/")[0] for text in (*SERVER, *SECOND, *ROUTER)]


def relay_in_the_house(estate: Estate, known: Directory, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make the machine in the LAN a relay that knows some peers; returns its multiaddr."""
    estate.house.home.mkdir()
    store.save(estate.house.home / "peers", known)
    monkeypatch.setenv("MACROVPN_PEERS_DHT", "false")
    estate.forget()
    where = ("--address", OUTSIDE_V4, "--port", str(LINKS_PORT))
    estate.house.command("share", "--role", "relay", *where, "--background")
    status = estate.house.command("status")
    return f"{status['address']}/p2p/{status['peer_id']}"


def test_a_relay_dials_nobody_in_its_lan(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = Directory(None)
    for host in (*LIARS, OUTSIDE_V4, WEB_V4, WEB_V6):
        assert directory.insert(signed(host, Role.RELAY), None)
    relay_in_the_house(estate, directory, monkeypatch)
    until("a few attempts to link", lambda: estate.came_out() >= 5, 40)
    status = estate.house.command("status")
    assert status["peers"] == len(LIARS) + 3
    assert set(estate.inside().values()) == {0}, json.dumps(status["counters"])


def test_a_relay_that_is_told_to_dials_nobody_in_its_lan(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client whose paths lead over it to each of the servers and back into the house."""
    directory = Directory(None)
    for host in LIARS:
        assert directory.insert(signed(host, Role.EXIT), None)
    bootstrap = relay_in_the_house(estate, directory, monkeypatch)
    estate.outside.home.mkdir()
    store.save(estate.outside.home / "peers", directory)
    ip("-n", estate.outside.name, "route", "add", "blackhole", "2a0c:90::/48")  # what comes inside is the relay's
    anywhere = [
        word for network in ("192.168.0.0/16", "11.0.0.0/8", "2a0c::/16") for word in ("--allow-address", network)
    ]

    def told() -> int:
        counted: dict[str, int] = estate.house.command("status")["counters"]["relay"]
        return counted.get("next_hop", 0)

    with estate.outside.trying("up", "--hops", "2", "--bootstrap", bootstrap, *anywhere):
        until("circuits into the house", lambda: told() >= len(LIARS), 40)
    assert set(estate.inside().values()) == {0}
