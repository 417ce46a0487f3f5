"""A house with a LAN of private and public addresses: an exit and a relay in it reach nothing inside, and the Internet.

The servers of the LAN count what comes to them. The one thing that may come is DNS, to the router, which is the
system's resolver.
"""

from __future__ import annotations

import json
import secrets
import time
from typing import TYPE_CHECKING, Final

import pytest

from peers import store
from peers.descriptor import Descriptor, Role
from peers.directory import Directory
from peers.identity import Identity
from tests.harness.demo import until
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
from tests.harness.namespaces import why_not
from tunnel.wireguard.primitives import private_key, public_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.system

NET: Final = ("--network", "home")
PAGE: Final = "a page"
DAY_S: Final = 86400


@pytest.fixture
def estate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Estate]:
    if reason := why_not("nft", "curl"):
        pytest.skip(reason)
    monkeypatch.setenv("MACROVPN_BYPASS_PRESETS", "[]")
    with Estate(tmp_path) as built:
        yield built


def proxy_through_the_house(estate: Estate) -> str:
    """Make the machine in the LAN an exit, and the one outside its client."""
    house, outside = estate.house, estate.outside
    house.command("network", "create", "home")
    where = ("--address", OUTSIDE_V4, "--port", str(LINKS_PORT))
    house.command("share", *NET, "--role", "exit", *where, "--background")
    outside.command("network", "join", house.command("network", "invite", "home")["invite"])
    proxy: str = outside.command("up", *NET, "--hops", "1")["proxy"]
    return proxy


def test_an_exit_reaches_nothing_in_its_lan(estate: Estate) -> None:
    proxy = proxy_through_the_house(estate)
    until("the web", lambda: estate.outside.curl(url(WEB_V4), proxy) == PAGE, 30)
    assert estate.outside.curl(url(WEB_V6), proxy) == PAGE
    assert estate.outside.curl(url("web.example.org"), proxy) == PAGE
    estate.forget()
    before = len(estate.asked)

    machines = [text.partition("/")[0] for text in (*MACHINE, *ROUTER)]
    for host in (*inside_hosts(), *machines):
        assert estate.outside.curl(url(host), proxy) == "", host
    for host in ("192.168.7.20", "11.90.0.20", "2a0c:90:0:1::20", "hairpin.example.org"):
        assert estate.outside.curl(redirect(host), proxy) == "", host
    assert estate.outside.curl(redirect(WEB_V6), proxy) == PAGE
    assert estate.outside.curl(url("both.example.org", ONLY_LAN_PORT), proxy) == ""
    assert estate.outside.curl(url("both.example.org"), proxy) == PAGE  # its one address that is outside
    assert set(estate.inside().values()) == {0}
    assert not {name for name in estate.asked[before:] if name.startswith("nas")}

    # The same machine, without the exit's rules, reaches each of them.
    assert estate.house.curl(url("nas.lan")) == PAGE
    assert sum(estate.inside().values()) > 0


def signed(host: str) -> Descriptor:
    """A peer that says that it is at an address, in words that nobody can find fault with."""
    peer = Identity.ephemeral()
    now = int(time.time())
    raw = Descriptor.sign(
        peer,
        (public_bytes(private_key(secrets.token_bytes(32))),),
        sequence=now,
        expiry=now + DAY_S,
        roles=Role.RELAY,
        addresses=((host, PORT),),
        region="",
        exit_policy=b"",
    )
    return Descriptor.decode(raw, now)


def test_a_relay_dials_nobody_in_its_lan(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    liars = [text.partition("/")[0] for text in (*SERVER, *SECOND, *ROUTER)]
    directory = Directory(None)
    for host in (*liars, OUTSIDE_V4, WEB_V4, WEB_V6):
        assert directory.insert(signed(host), None)
    estate.house.home.mkdir()
    store.save(estate.house.home / "peers", directory)

    monkeypatch.setenv("MACROVPN_PEERS_DHT", "false")
    estate.forget()
    where = ("--address", OUTSIDE_V4, "--port", str(LINKS_PORT))
    estate.house.command("share", "--role", "relay", *where, "--background")
    until("a few attempts to link", lambda: estate.came_out() >= 5, 40)
    status = estate.house.command("status")
    assert status["peers"] == len(liars) + 3
    assert set(estate.inside().values()) == {0}, json.dumps(status["counters"])
