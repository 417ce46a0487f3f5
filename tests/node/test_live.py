"""Settings of a node that runs: what a change does to the file and to the node, and what it never does."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from core.errors import ConfigError, MacroVpnError
from core.flow import SiteOptions
from exits.quota import QUOTA_NAME
from node.applying import LIVE
from node.config import load
from node.running import RunningNode
from node.settings import FIELDS, split_endpoint
from node.site_rules import write_rules
from node.wallet_orders import WalletOrder
from pac.rules import Action, Rule
from peers.descriptor import Descriptor
from peers.scores import LEANS
from tests.peers.build import identity
from tunnel.padding import Shape

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

FILE = """# mine
[node]
roles = ["client", "relay"]  # both
[proxy]
listen = "127.0.0.1:0"
[tunnel]
mode = "speed"  # for now
[peers]
dht = false
port_mapping = false
address = "127.0.0.1"
[payments]
settlement = "local"
"""
FRIEND = identity(1)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "config.toml").write_text(FILE)
    return tmp_path


@pytest_asyncio.fixture
async def node(home: Path) -> AsyncIterator[RunningNode]:
    flags = {"tunnel.hops": 2}
    node = RunningNode(load(home, flags), home, flags)
    await node.start()
    yield node
    await node.stop()


@pytest.fixture(autouse=True)
def level() -> Iterator[None]:
    """The level of this process's log is left as it was."""
    before = logging.getLogger().level
    yield
    logging.getLogger().setLevel(before)


def text_of(home: Path) -> str:
    return (home / "config.toml").read_text()


def row(node: RunningNode, key: str) -> dict[str, Any]:
    """A setting as it is listed."""
    (found,) = [row for row in node.settings()["settings"] if row["key"] == key]
    return dict(found)


async def test_what_can_be_is_applied_and_the_rest_waits(node: RunningNode, home: Path) -> None:
    answer = await node.change({"tunnel.mode": "privacy", "proxy.early": "never", "sharing.up_mbit": 5})
    assert answer == {"applied": ["tunnel.mode", "sharing.up_mbit"], "for_new": [], "after_restart": ["proxy.early"]}
    expected = FILE.replace('"speed"  # for now', '"privacy"  # for now').replace(
        'listen = "127.0.0.1:0"', 'early = "never"\nlisten = "127.0.0.1:0"'
    )
    assert text_of(home).startswith(expected)
    assert node.status()["mode"] == "privacy"
    assert node.status()["restart_to_apply"] == ["proxy.early"]
    assert row(node, "proxy.early") | {"value": "never", "pending": True} == row(node, "proxy.early")
    assert row(node, "tunnel.mode") | {"source": "file", "pending": False, "live": True} == row(node, "tunnel.mode")
    again = await node.change({"proxy.early": "auto"})
    assert again == {"applied": ["proxy.early"], "for_new": [], "after_restart": []}
    assert node.status()["restart_to_apply"] == []


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"tunnel.mode": "privacy", "tunnel.hops": 6}, "tunnel.hops", "it must be a number of hops"),
    ({"tunnel.mode": "privacy", "tunnel.hops": "3"}, "tunnel.hops", "it must be a number of hops"),
    ({"tunnel.mode": "privacy", "tunnel.mod": 1}, "tunnel.mod", "there is no setting tunnel.mod"),
    ({"tunnel.mode": "privacy", "proxy.listen": "0.0.0.0:1"}, "proxy.listen", "is not a loopback address"),
    ({"tunnel.mode": None}, "tunnel.mode", "it must be one of"),
    ({"network.name": "home"}, "network.name", "`macrovpn network` makes homes"),
    ({"proxy.password": "[redacted]"}, "proxy.password", "can be no value"),
    ({"peers.gossip": False, "peers.dht": False}, "peers.gossip", "no peer would be found"),
    ({"bypass.rules": ["a b"]}, "bypass.rules", "it must be a list of rules"),
    ({"payments.cap": "0.0000001"}, "payments.cap", "it must be an amount in coins"),
]


async def test_one_that_is_wrong_changes_nothing(node: RunningNode, home: Path) -> None:
    before = node.settings()
    for changes, key, reason in WRONG:
        with pytest.raises(ConfigError) as caught:
            await node.change(changes)
        assert caught.value.where == key
        assert reason in str(caught.value)
        assert text_of(home) == FILE
        assert node.settings() == before
    assert node.status()["mode"] == "speed"


async def test_a_flag_counts_until_the_setting_is_changed(node: RunningNode) -> None:
    assert row(node, "tunnel.hops") | {"value": 2, "source": "flag"} == row(node, "tunnel.hops")
    await node.change({"tunnel.mode": "balanced"})
    assert node.status()["hops"] == 2
    await node.change({"tunnel.hops": 4})
    assert node.status()["hops"] == 4
    assert row(node, "tunnel.hops")["source"] == "file"


async def test_what_the_environment_says_cannot_be_changed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACROVPN_TUNNEL_MODE", "privacy")
    node = RunningNode(load(home), home)
    with pytest.raises(ConfigError, match="MACROVPN_TUNNEL_MODE sets it and counts more than the file"):
        await node.change({"tunnel.mode": "speed"})
    assert row(node, "tunnel.mode")["source"] == "MACROVPN_TUNNEL_MODE"


@pytest.mark.parametrize(
    "changes",
    [{"bypass.lists": ["missing"]}, {"sharing.monthly_gb": 1.0}],
    ids=["a list is missing", "a file is damaged"],
)
async def test_what_cannot_be_met_changes_nothing(node: RunningNode, home: Path, changes: dict[str, Any]) -> None:
    (home / QUOTA_NAME).write_text("?")
    with pytest.raises(MacroVpnError):
        await node.change({"tunnel.regions": ["NL"], "bypass.rules": ["a.example"], **changes})
    assert text_of(home) == FILE
    assert node.rules()["digest"] == RunningNode(load(home), home).rules()["digest"]
    assert node.status()["restart_to_apply"] == []
    assert node.regions() == []


async def test_a_file_that_was_edited_by_hand_is_told_of(node: RunningNode, home: Path) -> None:
    (home / "config.toml").write_text(FILE.replace("speed", "privacy"))
    assert node.status()["restart_to_apply"] == ["tunnel.mode"]
    assert node.status()["mode"] == "speed"
    (home / "config.toml").write_text(FILE.replace("speed", "sped"))
    assert "config.toml, line 7: tunnel.mode must be one of" in node.status()["settings_problem"]
    assert node.status()["restart_to_apply"] == []
    listed = node.settings()
    assert "line 7" in listed["problem"]
    assert row(node, "tunnel.mode")["value"] == "speed"
    with pytest.raises(ConfigError, match="line 7"):
        await node.change({"tunnel.spread": 1})
    (home / "config.toml").unlink()
    assert "node.roles" in node.status()["restart_to_apply"]


async def test_rules_and_networks_are_read_again_on_request(node: RunningNode, home: Path) -> None:
    before = node.rules()
    more = '[bypass]\nrules = ["a.example"]\n[trust]\nnetworks = ["x: gateway=192.0.2.1"]\n'
    (home / "config.toml").write_text(FILE + more)
    assert node.status()["restart_to_apply"] == ["bypass.rules", "trust.networks"]
    await node.reload_rules()
    assert node.rules()["count"] == before["count"] + 1
    assert node.status()["restart_to_apply"] == ["trust.networks"]
    await node.reload_trust()
    assert node.status()["restart_to_apply"] == []


async def test_a_wallets_cap_is_the_setting(node: RunningNode, home: Path) -> None:
    assert (await node.wallet())["cap"] is None
    assert await node.wallet_do(WalletOrder("cap", units=500_000)) == {"cap": 500_000}
    assert (await node.wallet())["cap"] == 500_000
    assert load(home).payments.cap == "0.5"
    await node.wallet_do(WalletOrder("cap"))
    assert (await node.wallet())["cap"] is None
    assert load(home).payments.cap == "none"


# -- that each of them reaches what goes by it


def relay_gate(node: Any) -> Any:
    return node._tunnel.relay.gate


def rules_of(node: Any) -> Any:
    return node._choosing.choice.rules


def sharing_of(node: Any) -> Any:
    return node._serving.sharing


def wallet_of(node: Any) -> Any:
    return node._money._wallet


REACHES: dict[str, tuple[Any, Callable[[Any], object], object]] = {
    "tunnel.mode": (
        "privacy",
        lambda node: (node._tunnel.pool.builder.shape, node._following.sites.own, node._choosing.choice.lean),
        (Shape.EVEN, SiteOptions((), "privacy", 7), LEANS["privacy"]),
    ),
    "tunnel.hops": (4, lambda node: rules_of(node).hops, 4),
    "tunnel.regions": (["NL"], lambda node: (rules_of(node).regions, node.regions()[0]["region"]), (("NL",), "NL")),
    "tunnel.excluded_regions": (["DE"], lambda node: rules_of(node).excluded, ("DE",)),
    "tunnel.switch_back": (False, lambda node: node._choosing.choice._regions._switch_back, False),
    "tunnel.min_tariff": (1, lambda node: rules_of(node).min_tariff, 1),
    "tunnel.max_tariff": (3, lambda node: (rules_of(node).max_tariff, node._following.sites.own.max_tariff), (3, 3)),
    "tunnel.spread": (4, lambda node: node._following.sites.count, 4),
    "tunnel.hop_interval_s": (60, lambda node: node._tunnel.pool.builder.age_s, 60.0),
    "peers.friends": (
        [FRIEND.peer_id],
        lambda node: (rules_of(node).friends, sharing_of(node)._friends),
        (frozenset({FRIEND.peer}),) * 2,
    ),
    "sharing.up_mbit": (5.0, lambda node: relay_gate(node)._rate, 625_000.0),
    "sharing.down_mbit": (4.0, lambda node: relay_gate(node)._rate, 500_000.0),
    "sharing.monthly_gb": (1.0, lambda node: (relay_gate(node) is None, sharing_of(node).month_mb), (False, 0)),
    "sharing.hours": (["mon 00:00-00:01"], lambda node: len(sharing_of(node)._clock._hours.minutes), 1),
    "sharing.circuits": (7, lambda node: sharing_of(node)._settings.circuits, 7),
    "sharing.flows": (7, lambda node: sharing_of(node)._settings.flows, 7),
    "sharing.only_friends": (
        True,
        lambda node: (sharing_of(node)._settings.only_friends, descriptor_of(node).restricted),
        (True, True),
    ),
    "sharing.memory_mb": (64, lambda node: node._serving._load._too_full.limit, 64_000_000),
    "bypass.rules": (
        ["a.example"],
        lambda node: node._front.rules.decide("a.example", 443, None).action,
        Action.BYPASS,
    ),
    "bypass.presets": ([], lambda node: (node.rules()["count"], len(node._front.rules)), (1, 1)),
    "bypass.lists": (["ads"], lambda node: node._front.rules.decide("b.example", 443, None).action, Action.BLOCK),
    "trust.networks": (["x: gateway=192.0.2.1"], lambda node: len(node._following.trust._networks), 1),
    "payments.cap": ("0.5", lambda node: wallet_of(node).cap, 500_000),
    "payments.deposit": (2.0, lambda node: wallet_of(node)._settings.deposit, 2.0),
    "payments.channels": (3, lambda node: wallet_of(node)._settings.channels, 3),
    "node.log_level": ("debug", lambda node: logging.getLogger().level, logging.DEBUG),
    "sharing.drain_s": (7, lambda node: node.request_stop(), 7.0),
}
"""Another value of each setting, what goes by it, and what is there then. The last one stops the node."""


def descriptor_of(node: Any) -> Descriptor:
    return Descriptor.decode(node._peering.descriptor(), time.time())


def test_none_is_left_out() -> None:
    assert REACHES.keys() == LIVE
    assert FIELDS.keys() > LIVE


async def test_each_reaches_what_goes_by_it(node: RunningNode, home: Path) -> None:
    write_rules(home, "ads", [Rule.parse("block b.example")])
    assert relay_gate(node) is None
    assert node.regions() == []
    for name, (value, probe, expected) in REACHES.items():
        if name not in ("tunnel.regions", "sharing.up_mbit", "sharing.drain_s"):  # there is nothing to look at before
            assert probe(node) != expected, name
        assert await node.change({name: value}) == {"applied": [name], "for_new": [], "after_restart": []}
        assert probe(node) == expected, name


# -- the switch


class Desktop:
    """The system's proxy settings, and what was done to them."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.fails = False

    def _do(self, what: str) -> None:
        self.done.append(what)
        if self.fails:
            raise MacroVpnError("The desktop is away.")

    def take(self) -> None:
        self._do("take")

    def give_back(self) -> None:
        self._do("give back")


async def refused(node: RunningNode) -> bytes:
    """What the local port says to a request."""
    reader, writer = await asyncio.open_connection(*split_endpoint(node.status()["proxy"]))
    writer.write(b"GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: 127.0.0.1:1\r\nConnection: close\r\n\r\n")
    try:
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()


async def test_off_and_on(home: Path) -> None:
    desktop = Desktop()
    node = RunningNode(load(home), home, system_proxy=desktop)
    with pytest.raises(MacroVpnError, match="not up yet"):
        await node.switch(False)
    await node.start()
    try:
        assert b"X-MacroVPN-Reason: off" not in await refused(node)
        await node.switch(False)
        await node.switch(False)
        status = node.status()
        assert (status["state"], status["circuits"]) == ("down", 0)
        assert "`macrovpn on`" in status["reason"]
        assert b"X-MacroVPN-Reason: off" in await refused(node)
        assert "FindProxyForURL" in node.pac()
        assert not node._in_need()
        await node.switch(True)
        assert node.status()["state"] in ("connecting", "blocked")
        assert b"X-MacroVPN-Reason: off" not in await refused(node)
        assert desktop.done == ["give back", "take"]
    finally:
        await node.stop()


async def test_a_desktop_that_fails_leaves_it_off(home: Path) -> None:
    desktop = Desktop()
    node = RunningNode(load(home), home, system_proxy=desktop)
    await node.start()
    try:
        desktop.fails = True
        for on in (False, True):
            with pytest.raises(MacroVpnError, match="The desktop is away"):
                await node.switch(on)
            assert node.status()["state"] == "down"
            assert b"X-MacroVPN-Reason: off" in await refused(node)
    finally:
        await node.stop()


async def test_who_only_serves_has_nothing_to_switch(home: Path) -> None:
    node = RunningNode(load(home, {"node.roles": ("relay",)}), home)
    await node.start()
    try:
        with pytest.raises(MacroVpnError, match="has no proxy"):
            await node.switch(False)
    finally:
        await node.stop()
