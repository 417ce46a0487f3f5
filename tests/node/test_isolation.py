"""Sites on few circuits: what a site is, which key it has, and where its flows leave."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from publicsuffixlist import PublicSuffixList

from core.errors import FlowError, Reason
from core.flow import NO_OPTIONS, FlowRequest, SiteOptions
from node import running
from node.isolation import SECRET_BYTES, SiteIsolation, beyond, isolate_sites, site_of
from node.settings import PeersSettings, ProxySettings, Settings
from tests.harness.network import three_hops
from tests.harness.waiting import until
from tests.harness.wire import Board
from tunnel.pool import CircuitPool

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from core.flow import DatagramFlow, Flow
    from core.ids import PeerKey
    from proxy.dialer import Dialer
    from tunnel.service import Tunnel

SITES = [f"www.site-{number}.example" for number in range(400)]


@cache
def suffixes() -> PublicSuffixList:
    return PublicSuffixList()


class Listening:
    """A dialer that keeps what it is asked for, and refuses it."""

    def __init__(self) -> None:
        self.asked: list[tuple[FlowRequest, bool]] = []
        self.keys: list[str] = []

    async def dial(self, request: FlowRequest, *, early: bool) -> Flow:
        self.asked.append((request, early))
        raise FlowError(Reason.REFUSED)

    async def dial_datagrams(self, isolation: str) -> DatagramFlow:
        self.keys.append(isolation)
        raise FlowError(Reason.REFUSED)


def isolation(count: int = 2, secret: bytes = bytes(SECRET_BYTES)) -> SiteIsolation:
    return SiteIsolation(Listening(), count, secret, suffixes().privatesuffix)


def keys_of(hosts: Iterable[str], sites: SiteIsolation) -> list[str]:
    return [sites.key(FlowRequest(host, 443)) for host in hosts]


# -- what a site is


@pytest.mark.parametrize(
    ("host", "site"),
    [
        ("example.com", "example.com"),
        ("a.b.example.com", "example.com"),
        ("WWW.Example.COM", "example.com"),
        ("www.example.com.", "example.com"),
        ("shop.example.co.uk", "example.co.uk"),
        ("co.uk", "co.uk"),
        ("com", "com"),
        ("somebody.github.io", "somebody.github.io"),
        ("www.somebody.github.io", "somebody.github.io"),
        ("github.io", "github.io"),
        ("any.name.ck", "any.name.ck"),
        ("www.ck", "www.ck"),
        ("a.www.ck", "www.ck"),
        ("printer", "printer"),
        ("localhost.", "localhost"),
        ("_dmarc.example.com", "example.com"),
        ("a.site.unheard-of", "site.unheard-of"),
        ("www.xn--bcher-kva.de", "xn--bcher-kva.de"),
        ("www.bücher.de", "xn--bcher-kva.de"),
        ("a.xn--85x722f.xn--55qx5d.cn", "xn--85x722f.xn--55qx5d.cn"),
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.3.7", "192.0.3.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("2001:DB8:0::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("127.1", "127.1"),
        ("0x7f.0.0.1", "0x7f.0.0.1"),
        ("a..example.com", "a..example.com"),
        (".", "."),
        ("", ""),
        ("$.example.com", "$.example.com"),
    ],
)
def test_a_site_is_a_registrable_domain_or_an_address(host: str, site: str) -> None:
    assert site_of(host, suffixes().privatesuffix) == site


@given(st.text() | st.from_regex(r"[a-z0-9.:\[\]%_-]{1,60}", fullmatch=True))
@example("\ud800")
def test_every_text_has_a_key(host: str) -> None:
    assert keys_of([host], isolation(3))[0] in {"site 0", "site 1", "site 2"}


# -- which key a site has


def test_names_of_one_site_have_one_key() -> None:
    for number in range(20):
        sites = isolation(4, bytes([number] * SECRET_BYTES))
        names = [f"{name}example.co.uk" for name in ("", "www.", "a.b.", "www.Shop.")]
        assert len(set(keys_of(names, sites))) == 1


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_every_key_has_its_part_of_the_sites(count: int) -> None:
    shares = Counter(keys_of(SITES, isolation(count)))
    assert len(shares) == count
    assert max(shares.values()) < 1.25 * len(SITES) / count


def test_people_who_share_a_suffix_do_not_share_a_key() -> None:
    assert len(set(keys_of([f"somebody-{number}.github.io" for number in range(20)], isolation()))) == 2


def test_which_sites_go_together_is_drawn_at_each_start() -> None:
    first, again, other = (keys_of(SITES, isolation(secret=bytes([number] * SECRET_BYTES))) for number in (1, 1, 2))
    assert first == again
    assert 0.4 < sum(one == two for one, two in zip(first, other, strict=True)) / len(SITES) < 0.6


async def test_each_node_draws_its_own_secret() -> None:
    one, two = [await isolate_sites(Listening(), 2) for _ in range(2)]
    assert keys_of(SITES, one) != keys_of(SITES, two)


def test_a_user_name_comes_first_and_gives_no_sites_key() -> None:
    sites = isolation()
    keys = {sites.key(FlowRequest(host, 443, "alice")) for host in SITES}
    assert len(keys) == 1
    assert keys != {sites.key(FlowRequest(SITES[0], 443, "bob"))}
    for name in ("site 0", "site 1", "0", "user alice"):
        assert sites.key(FlowRequest(SITES[0], 443, name)) not in {"site 0", "site 1", *keys}


# -- what the user wants for a site

GERMAN = SiteOptions(regions=("DE",))
ALONE = SiteOptions(isolated=True)


def test_what_the_settings_say_anyway_is_no_option() -> None:
    own = SiteOptions(("NL", "DE"), "balanced", 5)
    for wanted, left in (
        (own, NO_OPTIONS),
        (SiteOptions(("nl", "de")), NO_OPTIONS),
        (NO_OPTIONS, NO_OPTIONS),
        (SiteOptions(("de", "nl"), "balanced"), SiteOptions(("DE", "NL"))),
        (SiteOptions(()), SiteOptions(())),
        (SiteOptions(mode="privacy", max_tariff=0), SiteOptions(mode="privacy", max_tariff=0)),
        (replace(own, isolated=True), ALONE),
    ):
        assert beyond(own, wanted) == left


def test_sites_with_different_options_have_different_keys() -> None:
    sites, some = isolation(1), [NO_OPTIONS, GERMAN, SiteOptions(mode="speed"), SiteOptions(max_tariff=0), ALONE]
    for name in ("", "alice"):
        assert len({sites.key(FlowRequest("example.com", 443, name, options)) for options in some}) == len(some)
    keys = {sites.key(FlowRequest(host, 443, options=GERMAN)) for host in SITES}
    assert len(keys) == 1, "sites for which the same is wanted are spread as all are"


@given(st.text(max_size=40))
def test_no_user_name_gives_the_key_of_other_options(name: str) -> None:
    sites = isolation(1)
    known = {sites.key(FlowRequest("example.com", 443, user, GERMAN)) for user in ("", "alice")}
    assert sites.key(FlowRequest("example.com", 443, name)) not in known
    for user in known:
        assert sites.key(FlowRequest("example.com", 443, user)) not in known


@pytest.mark.parametrize("name", ["", "alice"])
def test_a_site_that_shall_be_alone_shares_with_none_and_has_one_key(name: str) -> None:
    sites = isolation(1)
    keys = [sites.key(FlowRequest(host, 443, name, ALONE)) for host in SITES]
    assert len(set(keys)) == len(SITES)
    assert not any("site-1" in key for key in keys), "no list of hosts can be read out of them"
    assert sites.key(FlowRequest("img.site-0.example", 80, name, ALONE)) == keys[0]


async def test_options_reach_the_dialer_without_what_the_settings_say() -> None:
    listening = Listening()
    own = SiteOptions(("NL",), "balanced", 7)
    sites = SiteIsolation(listening, 2, bytes(SECRET_BYTES), suffixes().privatesuffix, own)
    for wanted, left in ((own, NO_OPTIONS), (replace(own, mode="speed"), SiteOptions(mode="speed"))):
        with pytest.raises(FlowError):
            await sites.dial(FlowRequest("example.com", 443, options=wanted), early=True)
        request, _ = listening.asked[-1]
        assert request.options == left
        assert request.isolation == sites.key(FlowRequest("example.com", 443, options=left))


async def test_datagrams_share_no_key_with_sites() -> None:
    listening = Listening()
    sites = SiteIsolation(listening, 2, bytes(SECRET_BYTES), suffixes().privatesuffix)
    for name in ("", "alice", "datagrams"):
        with pytest.raises(FlowError):
            await sites.dial_datagrams(name)
    assert listening.keys == ["datagrams", sites.key(FlowRequest(SITES[0], 443, "alice")), "user datagrams"]
    assert not set(listening.keys) & set(keys_of(SITES, sites))


async def test_nothing_else_of_a_request_changes() -> None:
    listening = Listening()
    sites = SiteIsolation(listening, 2, bytes(SECRET_BYTES), suffixes().privatesuffix)
    for early in (True, False):
        with pytest.raises(FlowError):
            await sites.dial(FlowRequest("WWW.example.com", 8443), early=early)
        request, asked_early = listening.asked[-1]
        assert (request.host, request.port, asked_early) == ("WWW.example.com", 8443, early)


async def test_a_node_is_up_only_when_its_proxy_has_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = []

    async def looking_first(dialer: Dialer, count: int, own: SiteOptions) -> SiteIsolation:
        states.append(node.status()["state"])
        assert own == SiteOptions((), "balanced", 7)
        return await isolate_sites(dialer, count, own)

    monkeypatch.setattr(running, "isolate_sites", looking_first)
    monkeypatch.setattr(CircuitPool, "ready", 2)
    peers = PeersSettings(dht=False, port_mapping=False)
    node = running.RunningNode(Settings(proxy=ProxySettings(listen="127.0.0.1:0"), peers=peers), tmp_path)
    await node.start()
    try:
        assert [*states, node.status()["state"]] == ["connecting", "up"]
        assert node.status()["proxy"]
    finally:
        await node.stop()


# -- where flows leave


def ready_ends(client: Tunnel) -> set[PeerKey]:
    return {circuit.path[-1].peer for circuit in client.pool.circuits if circuit.isolation is None}


async def leave_from(client: Tunnel, hosts: Iterable[str], count: int) -> dict[str, PeerKey]:
    """Open a flow to each host, and give the exits."""
    sites, ends = SiteIsolation(client.pool, count, bytes(SECRET_BYTES), suffixes().privatesuffix), {}
    for host in hosts:
        flow = await sites.dial(FlowRequest(host, 443), early=False)
        (carrier,) = [circuit for circuit in client.pool.circuits if flow in circuit.flows]
        ends[host] = carrier.path[-1].peer
    return ends


async def test_no_exit_has_all_sites_of_a_page_and_a_page_costs_two_circuits() -> None:
    async with three_hops(Board().engine) as (network, client, echo):
        await network.add(echo)
        network.paths = [[0, 1, 2], [0, 1, 3]]
        client.pool.hop()
        await until(lambda: ready_ends(client) == {network.keys[2], network.keys[3]})
        ends = await leave_from(client, SITES[:30], 2)
        assert set(ends.values()) == {network.keys[2], network.keys[3]}
        names = [f"img.{host.removeprefix('www.')}" for host in SITES[:30]]
        assert list((await leave_from(client, names, 2)).values()) == list(ends.values())
        assert sum(circuit.isolation is not None for circuit in client.pool.circuits) == 2
        assert {host for host, _ in echo.asked} == {*SITES[:30], *names}


async def test_with_one_exit_all_goes_there() -> None:
    async with three_hops(Board().engine) as (network, client, _):
        assert set((await leave_from(client, SITES[:30], 2)).values()) == {network.keys[2]}


async def test_sites_can_share_one_circuit() -> None:
    async with three_hops(Board().engine) as (network, client, echo):
        await network.add(echo)
        network.paths = [[0, 1, 2], [0, 1, 3]]
        client.pool.hop()
        await until(lambda: ready_ends(client) == {network.keys[2], network.keys[3]})
        assert len(set((await leave_from(client, SITES[:30], 1)).values())) == 1
        assert sum(circuit.isolation is not None for circuit in client.pool.circuits) == 1
