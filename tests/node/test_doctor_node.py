"""What is said of what a node tells: good and bad, check by check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from node.doctor_machine import is_own, look_at_ipv6, look_at_name_server, name_servers
from node.doctor_node import LIBRARIES, look_at_clock, look_at_engine, look_at_nat, look_at_peers, look_at_settings
from node.doctor_scene import Told
from node.doctor_wallet import look_at_wallet
from node.findings import Finding, Level
from node.settings import NodeSettings, PaymentsSettings, Settings, TunnelSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

UP: Final[dict[str, Any]] = {"state": "up", "roles": ["client"], "hops": 3}
RELAY: Final[dict[str, Any]] = {"state": "up", "roles": ["relay"]}
RELAYS: Final = ({"roles": ["relay"]},) * 2
EXIT: Final = {"roles": ["relay", "exit"]}


def seen(found: list[Finding]) -> list[tuple[str, str]]:
    """What was found; each that is not good says what to do, if there is something."""
    assert all(finding.remedy for finding in found if finding.level in (Level.WARNING, Level.PROBLEM))
    assert all(finding.area for finding in found)
    return [(finding.check, finding.level.value) for finding in found]


@pytest.mark.parametrize(
    "look",
    [
        look_at_nat,
        look_at_wallet,
        lambda told: look_at_peers(told, Settings()),
        lambda told: look_at_clock(told, True)[:1],
        lambda told: look_at_engine(told, Settings())[:1],
    ],
)
def test_without_a_node_it_says_so(look: Callable[[Told], list[Finding]]) -> None:
    (found,) = look(Told())
    assert (found.level, found.remedy[:9]) == (Level.UNCHECKED, "Start one")


@pytest.mark.parametrize(
    ("waiting", "expected"),
    [
        ([], []),
        (["proxy.listen", "peers.port"], [("port_moved", "warning")]),
        (["peers.port"], [("settings", "warning")]),
    ],
)
def test_settings_that_wait(waiting: list[str], expected: list[tuple[str, str]]) -> None:
    assert seen(look_at_settings(Told(UP | {"restart_to_apply": waiting}))) == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (UP, [("nat", "ok")]),
        (RELAY | {"reachable": "public"}, [("nat", "ok")]),
        (RELAY | {"reachable": "mapped", "port_mapping": "pcp"}, [("nat", "ok"), ("port_mapping", "ok")]),
        (RELAY | {"reachable": "punched", "via": 2}, [("nat", "ok"), ("port_mapping", "warning")]),
        (RELAY | {"reachable": "punched", "via": 0}, [("nat", "warning"), ("port_mapping", "warning")]),
        (
            RELAY | {"reachable": "behind-nat", "via": 0, "port_mapping": "behind-another-nat"},
            [("nat", "warning"), ("port_mapping", "warning")],
        ),
        (
            RELAY | {"reachable": "unknown", "port_mapping": "searching"},
            [("nat", "warning"), ("port_mapping", "warning")],
        ),
        (RELAY | {"reachable": "unknown", "port_mapping": "none"}, [("nat", "warning"), ("port_mapping", "warning")]),
        (RELAY | {"reachable": "unknown", "port_mapping": "upnp"}, [("nat", "warning"), ("port_mapping", "ok")]),
    ],
)
def test_how_others_reach_it(status: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert seen(look_at_nat(Told(status))) == expected


GUARDED: Final = {"guards": {"kept": 2, "linked": 1}}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (Told(UP, peers=(*RELAYS, EXIT)), [("peers", "ok")]),
        (Told(UP, peers=(*RELAYS, EXIT), health=GUARDED), [("peers", "ok"), ("guards", "ok")]),
        (
            Told(UP, peers=(*RELAYS, EXIT), health={"guards": {"kept": 2, "linked": 0}}),
            [("peers", "ok"), ("guards", "warning")],
        ),
        (Told(UP), [("peers", "problem")]),
        (Told(RELAY), [("peers", "warning")]),
        (Told(RELAY, peers=RELAYS), [("peers", "ok")]),
        (Told(UP, peers=(EXIT,)), [("peers", "problem")]),
        (Told(UP, peers=(*RELAYS, *RELAYS)), [("peers", "ok"), ("exits", "problem")]),
        (Told(UP | {"hops": 2}, peers=(*RELAYS, EXIT)), [("peers", "ok"), ("exposure", "warning")]),
    ],
)
def test_the_peers(told: Told, expected: list[tuple[str, str]]) -> None:
    assert seen(look_at_peers(told, Settings())) == expected


def test_a_short_path_needs_few_peers() -> None:
    settings = Settings(tunnel=TunnelSettings(hops=1))
    assert seen(look_at_peers(Told(UP, peers=(EXIT,)), settings)) == [("peers", "ok")]


@pytest.mark.parametrize(
    ("regions", "level"),
    [
        ([("NL", 1, True)], ""),
        ([("NL", 0, False), ("DE", 1, True)], ""),
        ([("NL", 0, True), ("DE", 1, True)], "warning"),
        ([("NL", 0, True), ("DE", 1, False)], "problem"),
    ],
)
def test_wanted_regions(regions: list[tuple[str, int, bool]], level: str) -> None:
    rows = tuple({"region": name, "exits": exits, "wanted": wanted} for name, exits, wanted in regions)
    found = look_at_peers(Told(UP, peers=(*RELAYS, EXIT), regions=rows), Settings())
    assert seen(found)[1:] == ([("regions", level)] if level else [])
    assert not level or "NL, which" in found[1].sentence


@pytest.mark.parametrize(
    ("behind", "ahead", "peers", "level"),
    [
        (0, 0, 3, "ok"),
        (30, 0, 3, "ok"),
        (31, 0, 3, "warning"),
        (300, 0, 9, "warning"),
        (301, 0, 9, "problem"),
        (0, 4000, 9, "warning"),
        (0, 0, 2, "unchecked"),
    ],
)
def test_the_clock_beside_those_of_peers(behind: int, ahead: int, peers: int, level: str) -> None:
    told = Told(UP, health={"clock": {"behind_s": behind, "ahead_s": ahead, "peers": peers}})
    assert seen(look_at_clock(told, True)) == [("clock", level), ("clock_set", "ok")]


@pytest.mark.parametrize(("set_by_network", "level"), [(True, "ok"), (False, "warning"), (None, "unchecked")])
def test_what_sets_the_clock(set_by_network: bool | None, level: str) -> None:
    assert seen(look_at_clock(Told(UP), set_by_network))[1] == ("clock_set", level)


@pytest.mark.parametrize(
    ("engine", "setting", "level"),
    [("aiopquic", "auto", "ok"), ("aioquic", "auto", "warning"), ("aioquic", "aioquic", "ok")],
)
def test_the_engine(engine: str, setting: Any, level: str) -> None:
    settings = Settings(node=NodeSettings(engine=setting))
    found = look_at_engine(Told(UP | {"engine": engine}), settings, lambda name: True)
    assert seen(found) == [("engine", level), ("libraries", "ok")]


@pytest.mark.parametrize("missing", LIBRARIES)
def test_a_library_that_is_missing(missing: str) -> None:
    paying = Settings(payments=PaymentsSettings(settlement="local"))
    for settings, worst in ((Settings(), "warning"), (paying, "problem" if missing == "coincurve" else "warning")):
        found = look_at_engine(Told(UP | {"engine": "aiopquic"}), settings, lambda name: name != missing)
        assert seen(found)[1:] == [("libraries", worst)]
        assert found[1].sentence.startswith(f"{missing} is not installed: ")


def test_libraries_are_really_looked_for() -> None:
    assert seen(look_at_engine(Told(UP | {"engine": "aiopquic"}), Settings()))[1] == ("libraries", "ok")


# -- money

WALLET: Final[dict[str, Any]] = {
    "settlement": "local",
    "balance": 5_000_000,
    "trouble": "",
    "locked": 0,
    "cap": 10_000_000,
    "paid": 0,
    "received": 0,
    "claimed": 0,
    "channels": [],
}


def channel(state: str, *, pays: bool) -> dict[str, Any]:
    return {"state": state, "pays": pays}


@pytest.mark.parametrize(
    ("changed", "check", "level"),
    [
        ({}, "balance", "ok"),
        ({"balance": 0}, "balance", "warning"),
        ({"balance": 0, "locked": 1}, "balance", "ok"),
        ({"balance": None, "trouble": "The chain is away."}, "balance", "problem"),
        ({}, "cap", "ok"),
        ({"cap": None}, "cap", "ok"),
        ({"paid": 8_999_999}, "cap", "ok"),
        ({"paid": 9_000_000}, "cap", "warning"),
        ({"paid": 10_000_000}, "cap", "problem"),
        ({"cap": 0}, "cap", "problem"),
        ({"channels": [channel("open", pays=True), channel("closing", pays=True)]}, "channels", "ok"),
        ({"channels": [channel("closing", pays=False)]}, "channels", "warning"),
        ({"received": 7, "claimed": 6}, "unsettled", "ok"),
        ({}, "backup", "ok"),
    ],
)
def test_the_wallet(changed: dict[str, Any], check: str, level: str) -> None:
    found = look_at_wallet(Told(UP, wallet=WALLET | changed))
    assert (check, level) in seen(found)
    others = {each.check: each.level for each in found if each.check != check}
    assert all(other is Level.OK for other in others.values())


def test_nothing_is_said_of_what_is_not_there() -> None:
    assert [check for check, _ in seen(look_at_wallet(Told(UP, wallet=WALLET)))] == ["balance", "cap", "backup"]
    assert seen(look_at_wallet(Told(UP, wallet={"settlement": "off"}))) == [("wallet", "ok")]
    assert seen(look_at_wallet(Told(UP))) == [("wallet", "unchecked")]
    assert "The chain is away." in str(
        look_at_wallet(Told(UP, wallet=WALLET | {"balance": None, "trouble": "The chain is away."}))
    )


# -- the machine


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("nameserver 192.0.2.1\nsearch a.example\n  nameserver 2001:db8::1 # x\n", ["192.0.2.1", "2001:db8::1"]),
        ("nameserver fe80::1%eth0", ["fe80::1%eth0"]),
        ("#nameserver 192.0.2.1\nnameserver\nnameserver host.example\nnameservers 192.0.2.1", []),
    ],
)
def test_name_servers(text: str, servers: list[str]) -> None:
    assert list(name_servers(text)) == servers


def test_who_learns_names(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    assert seen(look_at_name_server(path)) == [("name_server", "unchecked")]
    path.write_text("nameserver 192.0.2.1\n" * 9)
    (found,) = look_at_name_server(path)
    assert "192.0.2.1, 192.0.2.1, 192.0.2.1. What is looked up past the proxy, it learns" in found.sentence
    path.write_text("nameserver 127.0.0.53\n")
    assert "a program on this machine" in look_at_name_server(path)[0].sentence
    path.write_text("#" * 70_000)
    assert seen(look_at_name_server(path)) == [("name_server", "unchecked")]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("2001:db8::1", True),
        ("2a00::1", True),
        ("fd00::2", False),
        ("fe80::1%eth0", False),
        ("::1", False),
        ("::", False),
    ],
)
def test_addresses_that_name_this_machine(host: str, expected: bool) -> None:
    assert is_own(host) is expected


def test_ipv6_is_as_bad_as_what_is_open() -> None:
    shut = Finding("firefox", Level.OK, "x")
    off = Finding("node", Level.WARNING, "x", "x")
    open_ = Finding("firefox_webrtc", Level.PROBLEM, "x", "x")
    assert look_at_ipv6(False, [open_]).level is Level.OK
    assert look_at_ipv6(True, [shut, off]).level is Level.OK
    found = look_at_ipv6(True, [shut, open_, Finding("system_pac", Level.OK, "x")])
    assert (found.level, "(1)" in found.sentence) == (Level.WARNING, True)
