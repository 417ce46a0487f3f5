"""A client's choices, with its settings, its circuits and what it tells of them."""

from __future__ import annotations

import os
import re
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, cast

import pytest
from msgspec.structs import replace as replace_settings

from core.errors import CircuitError, Reason
from core.flow import NO_OPTIONS, SiteOptions
from node.choice_view import circuit_row, explanation, peer_rows, shown_options
from node.choosing import _SITES_REMEMBERED, Choosing, peers_of
from node.guards import GUARDS_NAME
from node.settings import NetworkSettings, NodeSettings, PaymentsSettings, PeersSettings, Settings, TunnelSettings
from peers import guards
from peers.descriptor import Role
from peers.directory import Directory
from peers.identity import peer_id
from peers.nearness import from_nowhere
from peers.networks import PUBLIC_NAME
from peers.scores import LEANS
from tests.peers.build import host, plain
from tunnel.path import Wish

if TYPE_CHECKING:
    from pathlib import Path as Folder

    from core.ids import PeerKey
    from peers.descriptor import Descriptor
    from peers.nearness import SeenFrom
    from tunnel.path import Path

RELAYS = [plain(number, Role.RELAY, (host(number),)) for number in range(1, 9)]
NL, NL2, DE = (
    replace(plain(number, Role.EXIT, (host(number),)), region=region, operator=operator)
    for number, region, operator in ((101, "NL", b"one"), (102, "NL", b""), (103, "DE", b""))
)


class Pool:
    """What is looked at of a client's circuits: exits by whether flows run there, and who is blamed."""

    def __init__(self) -> None:
        self.busy: list[PeerKey] = []
        self.free: list[PeerKey] = []
        self.blamed: list[PeerKey] = []
        self.options = NO_OPTIONS
        self.builder = SimpleNamespace(avoided=lambda: self.blamed)

    @property
    def circuits(self) -> list[Any]:
        def circuit(last: PeerKey, isolation: str | None, options: SiteOptions = NO_OPTIONS) -> Any:
            path = [SimpleNamespace(peer=last)]
            return SimpleNamespace(path=path, isolation=isolation, flows=bool(isolation), options=options)

        busy = [circuit(last, "key", self.options) for last in self.busy]
        return busy + [circuit(last, None) for last in self.free]


class Rig:
    """A client that knows eight relays and three exits."""

    def __init__(
        self,
        home: Folder,
        network: str = PUBLIC_NAME,
        seen_from: SeenFrom = from_nowhere,
        settlement: Literal["off", "local"] = "local",
        **tunnel: Any,
    ) -> None:
        self.home = home
        self.directory = Directory()
        for found in (*RELAYS, NL, NL2, DE):
            self.directory.insert(found, None)
        self.settings = settings = Settings(
            network=NetworkSettings(name=network),
            tunnel=TunnelSettings(**tunnel),
            payments=PaymentsSettings(settlement=settlement),
        )
        self.answers: list[tuple[Path, float]] = []
        self.choosing = Choosing(
            settings,
            home,
            self.directory,
            lambda _: True,
            diversity=True,
            on_answer=lambda path, rtt_s: self.answers.append((path, rtt_s)),
            seen_from=seen_from,
        )
        self.pool, self.links = Pool(), [object()]
        self.choosing.attach(cast("Any", self.links), cast("Any", self.pool))

    def ends(self, count: int = 40) -> set[PeerKey]:
        return {self.choosing.choose([], None)[-1].peer for _ in range(count)}


async def test_the_settings_are_the_rules(tmp_path: Folder) -> None:
    assert Rig(tmp_path, regions=("DE",)).ends() == {DE.peer}
    assert Rig(tmp_path, excluded_regions=("DE",)).ends() == {NL.peer, NL2.peer}
    assert len(Rig(tmp_path, hops=5).choosing.choose([], None)) == 5
    rig = Rig(tmp_path, max_tariff=2)
    rig.directory.insert(replace(NL, sequence=2, tariff_step=3), None)
    assert rig.ends() == {NL2.peer, DE.peer}


async def test_other_settings_are_the_rules_from_then_on(tmp_path: Folder) -> None:
    rig = Rig(tmp_path, hops=2, regions=("NL",), mode="speed")
    before = rig.choosing.choose([], None)
    assert rig.choosing.rank(NL.peer, None, NO_OPTIONS) == 0
    assert len(before) == len(site(rig, regions=("DE",))) == 2
    chosen = TunnelSettings(hops=4, regions=("DE",), mode="privacy", max_tariff=2, switch_back=False)
    rig.choosing.use(replace_settings(rig.settings, tunnel=chosen))
    assert rig.choosing.rank(DE.peer, None, NO_OPTIONS) < rig.choosing.rank(NL.peer, None, NO_OPTIONS)
    after = rig.choosing.choose([], None)
    assert (len(after), after[-1].peer, after[0]) == (4, DE.peer, before[0]), "who is held on to stays"
    assert rig.ends() == {DE.peer}
    assert len(site(rig, regions=("DE",))) == 4
    assert rig.choosing.choice.lean is LEANS["privacy"]
    rig.directory.insert(replace(DE, sequence=2, tariff_step=3), None)
    with pytest.raises(CircuitError):
        rig.choosing.choose([], None)


async def test_who_pays_nothing_takes_whom_nobody_must_pay(tmp_path: Folder) -> None:
    rig = Rig(tmp_path, settlement="off")
    rig.directory.insert(replace(NL, sequence=2, tariff_step=1), None)
    assert rig.ends() == {NL2.peer, DE.peer}
    assert NL.peer not in {site(rig, max_tariff=3)[-1].peer for _ in range(40)}


def priced(rig: Rig, *steps: int, sequence: int = 2) -> Rig:
    """Have relays and exits ask so much, the others as before."""
    for found, step in zip((NL, NL2, DE, *RELAYS), steps, strict=False):
        rig.directory.insert(replace(found, sequence=sequence, tariff_step=step), None)
    return rig


async def test_who_wants_to_pay_takes_nobody_who_asks_for_nothing(tmp_path: Folder) -> None:
    rig = priced(Rig(tmp_path, min_tariff=1, max_tariff=3), 1, 0, 4, 1, 2, 3, 1)
    paths = [rig.choosing.choose([], None) for _ in range(40)]
    assert {path[-1].peer for path in paths} == {NL.peer}
    assert {1 <= hop.tariff <= 3 for path in paths for hop in path} == {True}
    with pytest.raises(CircuitError):
        site(rig, max_tariff=0)
    assert rig.choosing.choice_for(SiteOptions(max_tariff=0)).rules.min_tariff == 0, "what is said for a site counts"


@pytest.mark.parametrize(
    ("settlement", "tunnel", "steps", "says"),
    [
        ("off", {}, (), ""),
        ("local", {}, (7, 7, 7, *[1] * 8), ""),
        ("off", {}, (1, 7, 2), "All exits that are known ask for money, and payments are off."),
        ("off", {}, (1, 0, 2, *[1] * 8), "Too many relays ask for money, and payments are off."),
        (
            "local",
            {"max_tariff": 2},
            (3, 7, 3),
            r"All exits that are known ask for more than you allow \(tariff step 2\).",
        ),
        ("local", {"max_tariff": 2, "regions": ("DE",)}, (0, 0, 3), "All exits that are known ask for more"),
        ("local", {"min_tariff": 1, "max_tariff": 2}, (0, 3, 3), r"No exit .* you allow \(tariff steps 1 to 2\)."),
        ("local", {}, (1, 1, 1), "neither those that are paid nor those that ask for nothing make a whole path"),
        ("local", {"max_tariff": 2}, (2, 7, 7, *[3] * 8), "Of the peers that ask for what you allow .* 0 to 2"),
        ("local", {"regions": ("FR",)}, (7, 7, 7), ""),
    ],
)
async def test_it_says_when_it_is_for_the_price_that_there_is_no_path(
    tmp_path: Folder, settlement: Literal["off", "local"], tunnel: dict[str, Any], steps: tuple[int, ...], says: str
) -> None:
    rig = priced(Rig(tmp_path, settlement=settlement, **tunnel), *steps)
    found = rig.choosing.priced_out()
    assert re.search(says, found)
    assert bool(found) == bool(says)
    if says:
        with pytest.raises(CircuitError):
            rig.choosing.choose([], None)


async def test_what_is_known_of_addresses_and_regions_counts(tmp_path: Folder) -> None:
    directory = Directory()
    for found in (*RELAYS[:2], NL, DE):
        directory.insert(found, None)
    asked: list[str] = []

    def asn_of(name: str) -> int | None:
        asked.append(name)
        return 7 if name in (host(1), host(101)) else None

    choosing = Choosing(
        Settings(tunnel=TunnelSettings(hops=3)),
        tmp_path,
        directory,
        lambda _: True,
        asn_of,
        lambda found: "FR",
        diversity=True,
    )
    assert {choosing.choose([], None)[-1].peer for _ in range(20)} == {DE.peer}
    assert len(asked) == len(set(asked)), "asked once for each address"
    assert choosing.region(DE.peer) == "FR"
    with pytest.raises(CircuitError):
        choosing.choose([], NL.peer)


async def test_a_blamed_region_is_left_and_the_way_leads_back(tmp_path: Folder) -> None:
    rig = Rig(tmp_path, regions=("DE", "NL"))
    assert rig.ends() == {DE.peer}
    rig.pool.blamed = [DE.peer]
    assert {rig.choosing.choose(rig.pool.blamed, None)[-1].peer for _ in range(30)} == {NL.peer, NL2.peer}
    assert rig.choosing.rank(NL.peer, None, NO_OPTIONS) == 0
    rig.pool.blamed = []
    rig.choosing.choice.looked_at = -10.0
    assert rig.choosing.rank(NL.peer, None, NO_OPTIONS) == 1
    assert rig.choosing.rank(DE.peer, None, NO_OPTIONS) == 0


async def test_one_more_exit_is_wanted_where_flows_run(tmp_path: Folder) -> None:
    rig = Rig(tmp_path)
    assert rig.ends() == {NL.peer, NL2.peer, DE.peer}
    rig.pool.busy = [NL.peer]
    rig.pool.free = [NL.peer, DE.peer]
    assert rig.ends() == {NL2.peer}
    rig.pool.free = [NL2.peer]
    assert rig.ends() == {NL.peer, NL2.peer, DE.peer}


# -- what the user wants for one site


def site(rig: Rig, *, port: int = 443, **options: Any) -> Path:
    return rig.choosing.choose([], None, Wish(port, options=SiteOptions(**options)))


async def test_a_sites_options_stand_in_for_the_settings_of_the_same_names(tmp_path: Folder) -> None:
    rig = Rig(tmp_path, regions=("NL",), max_tariff=2)
    # One of those that ask for more at most can be a guard, so of the two guards one always asks for little.
    for found, step in zip((*RELAYS, NL, NL2, DE), (2, 3, 4, *[1] * 8), strict=True):
        rig.directory.insert(replace(found, sequence=2, tariff_step=step), None)
    assert {site(rig, regions=("DE",))[-1].peer for _ in range(20)} == {DE.peer}
    assert {site(rig, regions=())[-1].peer for _ in range(60)} == {NL.peer, NL2.peer, DE.peer}
    assert {site(rig, mode="speed")[-1].peer for _ in range(20)} == {NL.peer, NL2.peer}, "the rest is as set"
    assert [len(site(rig, mode=mode)) for mode in ("speed", "balanced", "privacy")] == [2, 3, 3]
    rig.directory.insert(replace(NL, sequence=3, tariff_step=3), None)
    assert {site(rig, max_tariff=3)[-1].peer for _ in range(40)} == {NL.peer, NL2.peer}
    assert {site(rig, mode="privacy")[-1].peer for _ in range(20)} == {NL2.peer}
    dear = {found.peer for found in rig.directory.peers() if found.tariff_step > 1}
    assert not dear.intersection(peers_of(site(rig, max_tariff=1)))
    with pytest.raises(CircuitError):
        site(rig, max_tariff=0)
    assert rig.ends() == {NL2.peer}, "nothing of this counts for other sites"


async def test_hops_that_are_set_hold_for_every_mode_and_regions_that_are_excluded_for_every_site(
    tmp_path: Folder,
) -> None:
    rig = Rig(tmp_path, hops=4, excluded_regions=("DE",))
    assert [len(site(rig, mode=mode)) for mode in ("speed", "balanced", "privacy")] == [4, 4, 4]
    with pytest.raises(CircuitError):
        site(rig, regions=("DE",))
    assert not rig.choosing.anyone_serves(Wish(443, options=SiteOptions(regions=("DE",))))


async def test_a_mode_that_is_wanted_weighs_by_what_it_leans_on(tmp_path: Folder) -> None:
    rig = Rig(tmp_path, mode="privacy")
    assert rig.choosing.choice_for(SiteOptions(mode="speed")).lean is LEANS["speed"]
    assert rig.choosing.choice_for(SiteOptions(regions=("DE",))).lean is LEANS["privacy"]
    assert rig.choosing.choice_for(SiteOptions(isolated=True)) is rig.choosing.choice


async def test_which_exits_do_for_a_site(tmp_path: Folder) -> None:
    rig = Rig(tmp_path)
    german = Wish(443, options=SiteOptions(regions=("DE",)))
    assert [rig.choosing.serves(found.peer, german) for found in (NL, DE)] == [False, True]
    assert [rig.choosing.serves(found.peer, Wish(443)) for found in (NL, DE)] == [True, True]
    assert rig.choosing.anyone_serves(german)
    assert not rig.choosing.anyone_serves(replace(german, options=SiteOptions(regions=("FR",))))
    rig.directory.insert(replace(DE, sequence=2, tariff_step=5), None)
    assert not rig.choosing.serves(DE.peer, replace(german, options=SiteOptions(("DE",), max_tariff=4)))
    rig.directory._drop(DE.peer)
    assert not rig.choosing.serves(DE.peer, german), "nobody knows where it is"
    assert rig.choosing.serves(DE.peer, Wish(443)), "asking will tell"


async def test_a_sites_regions_are_ranked_for_that_site(tmp_path: Folder) -> None:
    rig, options = Rig(tmp_path, regions=("NL",)), SiteOptions(regions=("DE", "NL"))
    assert [rig.choosing.rank(found.peer, None, options) for found in (DE, NL)] == [0, 1]
    assert [rig.choosing.rank(found.peer, None, NO_OPTIONS) for found in (DE, NL)] == [1, 0]
    rig.pool.blamed = [DE.peer]
    rig.choosing.choice_for(options).looked_at = -10.0
    assert [rig.choosing.rank(found.peer, None, options) for found in (DE, NL)] == [1, 0]


async def test_where_a_sites_flows_run_is_no_reason_to_keep_an_exit_ready_there(tmp_path: Folder) -> None:
    rig = Rig(tmp_path)
    rig.pool.busy, rig.pool.free, rig.pool.options = [NL.peer], [DE.peer], SiteOptions(regions=("NL",))
    assert rig.ends() == {NL.peer, NL2.peer, DE.peer}


async def test_where_other_sites_flows_run_does_not_draw_a_site_there(tmp_path: Folder) -> None:
    rig = Rig(tmp_path)
    rig.pool.busy = [NL.peer]
    assert rig.ends() == {NL2.peer}
    assert {site(rig, mode="speed")[-1].peer for _ in range(60)} == {NL.peer, NL2.peer, DE.peer}


async def test_so_many_sets_of_options_are_remembered(tmp_path: Folder) -> None:
    rig = Rig(tmp_path)
    first = rig.choosing.choice_for(SiteOptions(regions=("DE",)))
    for number in range(_SITES_REMEMBERED - 1):
        rig.choosing.choice_for(SiteOptions(regions=(f"{number}",)))
    assert rig.choosing.choice_for(SiteOptions(regions=("DE",))) is first
    rig.choosing.choice_for(SiteOptions(regions=("NL",)))
    rig.choosing.choice_for(SiteOptions(regions=("US",)))
    assert len(rig.choosing._sites) == _SITES_REMEMBERED
    assert rig.choosing.choice_for(SiteOptions(regions=("DE",))) is first, "the one unused for longest is forgotten"


async def test_a_circuit_for_a_site_is_explained_by_its_options(tmp_path: Folder) -> None:
    rig, options = Rig(tmp_path), SiteOptions(regions=("DE",), mode="speed")
    path = site(rig, regions=("DE",), mode="speed")
    end = explanation(rig.choosing, path, options)[-1]
    assert (end["candidates"], end["rivals"]) == (1, [])
    assert explanation(rig.choosing, path)[-1]["candidates"] == 3


def test_options_are_shown_as_far_as_they_are_given() -> None:
    assert shown_options(NO_OPTIONS) == {}
    assert shown_options(SiteOptions(("DE",), "speed", 0, isolated=True)) == {
        "regions": ("DE",),
        "mode": "speed",
        "max_tariff": 0,
        "isolated": True,
    }


def told_of(rig: Rig, ends: list[Descriptor]) -> None:
    """Three neighbours tell of the relays and of some exits."""
    for number in range(3):
        voice = rig.directory.voices.link_up(bytes([number]) * 32, bytes([number]))
        for found in (*RELAYS, *ends):
            rig.directory.insert(found, voice)


async def test_exits_that_nobody_vouches_for_are_left_out(tmp_path: Folder) -> None:
    rig = Rig(tmp_path)
    told_of(rig, [NL, DE])
    assert rig.ends() == {NL.peer, DE.peer}
    (end,) = (row for row in peer_rows(rig.choosing) if row["peer_id"] == peer_id(NL2.peer))
    assert end["roles"] == ["exit"], "it is shown all the same"


async def test_in_a_private_network_nobody_needs_to_be_vouched_for(tmp_path: Folder) -> None:
    rig = Rig(tmp_path, network="home")
    told_of(rig, [NL, DE])
    assert rig.ends() == {NL.peer, NL2.peer, DE.peer}


async def test_a_region_of_which_one_alone_tells_has_no_exit_that_works(tmp_path: Folder) -> None:
    rig = Rig(tmp_path, regions=("DE", "NL"))
    told_of(rig, [NL, NL2])
    assert rig.ends() == {NL.peer, NL2.peer}
    assert rig.choosing.rank(NL.peer, None, NO_OPTIONS) == 0


async def test_guards_are_written_down_when_they_have_served(tmp_path: Folder) -> None:
    rig = Rig(tmp_path)
    path = rig.choosing.choose([], None)
    rig.choosing.tried(path, 3, False)
    assert (tmp_path / GUARDS_NAME).exists()
    assert Rig(tmp_path).choosing.pins.guards.peers == (path[0].peer,)
    again = Rig(tmp_path).choosing
    assert {again.choose([], None)[0].peer for _ in range(100)} == {path[0].peer}


async def test_without_a_link_no_guard_is_at_fault(tmp_path: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "APART_S", 0.0)
    rig = Rig(tmp_path)
    path = rig.choosing.choose([], None)
    rig.links.clear()
    for _ in range(5):
        rig.choosing.tried(path, 0, True)
    assert rig.choosing.pins.guards.awake(time.time())[0] == path[0].peer
    rig.links.append(object())
    for _ in range(2):
        rig.choosing.tried(path, 0, True)
    assert path[0].peer not in rig.choosing.pins.guards.awake(time.time())


class OneOfMany:
    """A circuit that has the same number on its guard's link as one over another guard."""

    number = 1
    isolation = rtt_s = None
    options = NO_OPTIONS
    made_at = 0.0

    def __init__(self, path: Path) -> None:
        self.path = path
        self.flows: set[object] = set()


async def test_circuits_over_two_guards_have_names_of_their_own(tmp_path: Folder) -> None:
    rig = Rig(tmp_path)
    circuits: list[Any] = [OneOfMany(rig.choosing.choose([], None)) for _ in range(3)]
    names = [circuit_row(rig.choosing, circuit, 0.0)["id"] for circuit in [*circuits, *circuits]]
    assert len(set(names)) == 3
    assert names[:3] == names[3:]


async def test_nothing_that_was_measured_is_written(tmp_path: Folder) -> None:
    rig = Rig(tmp_path)
    witness(rig)
    assert os.listdir(tmp_path) == []


def witness(rig: Rig, rtt_s: float = 0.2) -> tuple[PeerKey, ...]:
    """A circuit that was built and works well."""
    path = rig.choosing.choose([], NL.peer)
    for _ in range(20):
        rig.choosing.built(path)
        rig.choosing.answered(path, 0.012, rtt_s)
        rig.choosing.flow_tried(path, None)
    rig.choosing.carried(path, 3_000_000.0)
    rig.choosing.ended(path, Reason.DONE, False)
    return tuple(peers_of(path))


async def test_who_wants_to_know_how_long_exits_take_is_told(tmp_path: Folder) -> None:
    rig = Rig(tmp_path)
    path = rig.choosing.choose([], None)
    rig.choosing.answered(path, 0.012, 0.2)
    assert rig.answers == [(path, 0.2)]


async def test_peers_with_what_was_measured_of_them(tmp_path: Folder) -> None:
    rig = Rig(tmp_path)
    guard, second, end = witness(rig)
    rig.choosing.build_failed(rig.choosing.choose([], DE.peer), 1, Reason.NEXT_HOP)
    rows = {row["peer_id"]: row for row in peer_rows(rig.choosing)}
    assert len(rows) == 11
    shown = rows[peer_id(end)]
    assert (shown["roles"], shown["region"], shown["operator"], shown["pinned"]) == (["exit"], "NL", "one", "")
    assert shown["rtt_ms"] is None
    assert (shown["serves"], rows[peer_id(guard)]["serves"]) == ("all ports", "")
    assert shown["confidence"] > 0.8
    assert (rows[peer_id(guard)]["rtt_ms"], rows[peer_id(guard)]["pinned"]) == (12.0, "guard")
    assert rows[peer_id(second)]["pinned"] == "second"
    assert rows[peer_id(DE.peer)]["score"] < 1 == rows[peer_id(NL2.peer)]["score"]


async def test_a_path_explained(tmp_path: Folder) -> None:
    rig = Rig(tmp_path, mode="speed", hops=3)
    witness(rig)
    path = rig.choosing.choose([], NL.peer)
    guard, second, end = explanation(rig.choosing, path)
    assert guard["chosen"]["peer_id"] == peer_id(path[0].peer)
    assert (guard["candidates"], second["candidates"], end["candidates"]) == (2, 4, 3)
    assert set(end["chosen"]["factors"]) == {"latency", "throughput", "reliability", "price"}
    assert set(end["chosen"]["figures"]) == {"rtt_ms", "expected_ms", "jitter_ms", "rate_kb_s", "failing", "tariff"}
    assert {rival["peer_id"] for rival in end["rivals"]} == {peer_id(NL2.peer), peer_id(DE.peer)}
    assert guard["chosen"]["chance"] is None
    assert sum(each["chance"] for each in (end["chosen"], *end["rivals"])) == pytest.approx(1, abs=1e-3)


async def test_an_explanation_shows_what_distance_made_expect(tmp_path: Folder) -> None:
    rig = Rig(tmp_path, seen_from=lambda before: {NL: 0.02, DE: 0.2}.get, mode="speed", hops=3)
    path = rig.choosing.choose([], NL.peer)
    guard, second, end = explanation(rig.choosing, path)
    found = {each["peer_id"]: each for each in (end["chosen"], *end["rivals"])}
    shown = [found[peer_id(each.peer)]["figures"] for each in (NL, NL2, DE)]
    assert [(each["expected_ms"], each["rtt_ms"]) for each in shown] == [(20.0, 20.0), (None, 50.0), (200.0, 200.0)]
    assert found[peer_id(DE.peer)]["factors"]["latency"] < 0.5 < 1.5 < end["chosen"]["factors"]["latency"]
    assert guard["chosen"]["figures"]["expected_ms"] is second["chosen"]["figures"]["expected_ms"] is None
    scores = {row["peer_id"]: row["score"] for row in peer_rows(rig.choosing)}
    assert scores[peer_id(DE.peer)] < scores[peer_id(NL2.peer)] == 1 < scores[peer_id(NL.peer)]


async def test_a_hop_that_is_not_known_any_more(tmp_path: Folder) -> None:
    rig = Rig(tmp_path)
    path = rig.choosing.choose([], DE.peer)
    rig.directory._drop(DE.peer)
    assert explanation(rig.choosing, path)[-1]["chosen"] is None
    assert rig.choosing.region(DE.peer) == ""


def test_the_defaults() -> None:
    assert NodeSettings().operator == ""
    assert TunnelSettings() == TunnelSettings(regions=(), excluded_regions=(), switch_back=True, max_tariff=7)
    assert PeersSettings().diversity
