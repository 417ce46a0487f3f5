"""`macrovpn bypass`: rules, presets and lists, with and without a running node."""

from __future__ import annotations

import multiprocessing
import stat
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import pytest

from core.errors import ConfigError
from node import config_edit, site_rules
from node.config import load
from node.files import editing
from node.running import RunningNode
from node.settings import MODE_HOPS, BypassSettings, PeersSettings, ProxySettings, Settings
from node.site_rules import load_rules, read_rules
from pac.options import MODES
from tests.node.commands import answer, call
from tests.node.test_cli import running
from tests.node.test_control import Node

if TYPE_CHECKING:
    from pathlib import Path
    from threading import Barrier

ROUNDS: Final = 20
CONFIG = """\
# mine
[bypass]  # sites
rules = ["a.example", "block .ads.example"]  # two
presets = []
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "config.toml").write_text(CONFIG)
    return tmp_path


def examined(home: Path, url: str) -> dict[str, Any]:
    return answer("bypass", "test", url, "--home", home)


def test_rules_are_added_and_replaced_and_comments_stay(home: Path) -> None:
    rules = [".Example.NL region=NL,DE mode=privacy max_tariff=3 isolated", "tunnel .ads.example", "a.example"]
    assert answer("bypass", "add", *rules, "--home", home) == {
        "added": [".example.nl region=NL,DE mode=privacy max_tariff=3 isolated", "tunnel .ads.example", "a.example"],
        "replaced": ["a.example", "block .ads.example"],
        "presets": [],
        "running": False,
    }
    assert (home / "config.toml").read_text() == (
        "# mine\n[bypass]  # sites\n"
        'rules = [".example.nl region=NL,DE mode=privacy max_tariff=3 isolated", "tunnel .ads.example", "a.example"]'
        "  # two\npresets = []\n"
    )
    assert "No node runs; the next one obeys." in call("bypass", "add", "b.example", "--home", home).stdout


def test_a_home_is_made_for_the_first_rule(tmp_path: Path) -> None:
    answer("bypass", "add", "a.example", "--preset", "banking", "--home", tmp_path / "new")
    bypass = load(tmp_path / "new", environ={}).bypass
    assert (bypass.rules, bypass.presets) == (("a.example",), ("local", "banking"))
    removed = answer("bypass", "remove", "--preset", "local", "--home", tmp_path / "new")
    assert removed["presets"] == ["local"]
    assert load(tmp_path / "new", environ={}).bypass.presets == ("banking",)


def test_rules_are_removed(home: Path) -> None:
    assert answer("bypass", "remove", ".ads.example", "--home", home)["removed"] == ["block .ads.example"]
    result = call("bypass", "remove", "tunnel a.example", "--home", home)
    assert (result.exit_code, "There is no rule tunnel a.example" in result.stderr) == (1, True)
    assert load(home, environ={}).bypass.rules == ("a.example",)
    for option in ("--preset", "--list"):
        result = call("bypass", "remove", option, "banking", "--home", home)
        assert (result.exit_code, "banking is not in use" in result.stderr) == (1, True)


def add_one_by_one(home: Path, name: str, together: Barrier) -> list[int]:
    """Add rules, each at the same time as the other process, and say how each command ended."""
    codes = []
    for number in range(ROUNDS):
        together.wait(30)
        codes.append(call("bypass", "add", f"{name}{number}.example", "--home", home).exit_code)
    return codes


def test_two_processes_that_add_at_once_lose_nothing(home: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    with spawn.Manager() as manager, ProcessPoolExecutor(2, spawn) as pool:
        together = manager.Barrier(2)
        adding = [pool.submit(add_one_by_one, home, name, together) for name in ("left", "right")]
        assert [one.result(60) for one in adding] == [[0] * ROUNDS] * 2
    kept = load(home, environ={}).bypass.rules
    expected = {f"{name}{number}.example" for name in ("left", "right") for number in range(ROUNDS)}
    assert (set(kept), len(kept)) == (expected | {"a.example", "block .ads.example"}, 2 * ROUNDS + 2)
    assert [path.name for path in home.iterdir()] == ["config.toml"], "no lock is left behind"


def test_who_edits_for_too_long_keeps_others_from_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_edit, "EDIT_WAIT_S", 0.1)
    file = home / "list.txt"
    file.write_text("c.example\n")
    commands = (
        ("bypass", "add", "b.example"),
        ("bypass", "remove", "a.example"),
        ("bypass", "import", file),
        ("trust", "remove", "home"),
        ("config", "set", "tunnel.hops", "2"),
    )
    with editing(home, 0):
        for command in commands:
            result = call(*command, "--home", home)
            assert result.exit_code == 1, command
            assert "were not changed: another command has been changing them for 0.1 s. Try again" in result.stderr
    assert (home / "config.toml").read_text() == CONFIG


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        (["block", ".ads.example"], "in quotes"),
        ([".a.example", "region=NL"], "in quotes"),
        ([".a.example", "isolated"], "in quotes"),
        (["a.example:x"], "a.example:x: a port is a number"),
        (["block a.example mode=speed"], "this rule says block"),
    ],
)
def test_what_is_no_rule_is_wrong_usage_and_changes_nothing(home: Path, rules: list[str], says: str) -> None:
    result = call("bypass", "add", *rules, "--home", home)
    assert result.exit_code == 2
    assert says in result.stderr
    assert (home / "config.toml").read_text() == CONFIG


def test_a_running_node_is_told_at_once(home: Path) -> None:
    node = Node()
    with running(home, node):
        assert answer("bypass", "add", "b.example", "--home", home)["running"] is True
        assert node.reloads == 1
        assert examined(home, "b.example")["node"] == "the one that runs obeys others, until it starts again"
        node.digest = load_rules(load(home, environ={}).bypass, home).digest
        assert examined(home, "b.example")["node"] == "the one that runs obeys these rules"
        node.reload_error = ConfigError("config.toml, line 2", "this is wrong")
        result = call("bypass", "remove", "b.example", "--home", home)
        written = "The rules are written, but the running node does not go by them yet."
        assert (result.exit_code, result.stderr) == (1, f"Error: {written} {node.reload_error}\n")


def test_list_shows_what_there_is(home: Path) -> None:
    answer("bypass", "add", "--preset", "local", "--home", home)
    found = answer("bypass", "list", "--home", home)
    assert found["sources"] == [{"source": "your rules", "count": 2}, {"source": "preset local", "count": 11}]
    assert found["rules"] == [
        {"rule": "a.example", "source": "your rules"},
        {"rule": "block .ads.example", "source": "your rules"},
    ]
    assert len(answer("bypass", "list", "--all", "--home", home)["rules"]) == 13
    assert "  block .ads.example\npreset local: 11" in call("bypass", "list", "--home", home).stdout


def test_a_hosts_file_becomes_a_list_that_blocks(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "My Hosts (2).txt"
    file.write_text("0.0.0.0 x.example\n0.0.0.0 a.example\n10.0.0.1 nas\n")
    found = answer("bypass", "import", file, "--home", home)
    assert found["list"] == "my-hosts-2"
    assert found["taken"] == {"tunnel": 0, "bypass": 0, "block": 2}
    assert (found["left_out"], found["left_out_lines"][0]["line"]) == (1, 3)
    path = home / "rules" / "my-hosts-2.txt"
    assert found["file"] == str(path)
    assert path.read_text() == "block x.example\nblock a.example\n"
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)
    assert examined(home, "x.example")["action"] == "block"
    assert examined(home, "a.example")["source"] == "your rules", "one's own rules come before lists"

    file.write_text("y.example\n")
    answer("bypass", "import", file, "--as", "tunnel", "--home", home)
    assert load(home, environ={}).bypass.lists == ("my-hosts-2",)
    assert list(map(str, read_rules(home, "my-hosts-2"))) == ["tunnel y.example"]
    answer("bypass", "remove", "--list", "my-hosts-2", "--home", home)
    assert (load(home, environ={}).bypass.lists, path.exists()) == ((), False)


def test_a_pac_is_read_and_not_run(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "corp.pac"
    file.write_text(
        'function FindProxyForURL(url, host) {\n  if (dnsDomainIs(host, ".corp.example")) return "DIRECT";\n'
        '  if (isPlainHostName(host)) return "DIRECT";\n}\n'
    )
    text = call("bypass", "import", file, "--home", home).stdout
    assert "list      corp: 1 bypass\nleft out  1 lines\n  line 3: " in text
    assert examined(home, "http://a.corp.example/")["rule"] == "*.corp.example"


def test_what_cannot_be_imported_is_said(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ü.txt"
    file.write_text("no host\n")
    assert call("bypass", "import", file, "--home", home).exit_code == 2
    result = call("bypass", "import", file, "--name", "x", "--home", home)
    assert (result.exit_code, "Nothing in this file" in result.stderr) == (1, True)
    monkeypatch.setattr(site_rules, "MAX_LIST_BYTES", 4)
    result = call("bypass", "import", file, "--name", "x", "--home", home)
    assert (result.exit_code, "more than" in result.stderr) == (1, True)
    assert not (home / "rules").exists()


def test_a_list_that_is_missing_or_wrong_is_not_missed_in_silence(home: Path) -> None:
    bypass = BypassSettings(lists=("ads",))
    with pytest.raises(ConfigError, match="import the list ads again"):
        load_rules(bypass, home)
    (home / "rules").mkdir()
    (home / "rules" / "ads.txt").write_text("a.example\nb.example:x\n")
    with pytest.raises(ConfigError, match=r"ads\.txt, line 2: a port"):
        load_rules(bypass, home)
    (home / "rules" / "ads.txt").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_rules(bypass, home)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example/x", {"action": "bypass", "rule": "a.example", "source": "your rules", "pac": "direct"}),
        ("a.example:8080", {"action": "bypass", "port": 8080, "scheme": "https", "agree": True}),
        ("ws://x.ads.example", {"action": "block", "rule": "block .ads.example", "pac": "proxy", "port": 80}),
        ("http://[::1]/", {"action": "tunnel", "rule": "", "source": "", "host": "::1", "agree": True, "beware": ""}),
        ("https://s.example/", {"action": "bypass", "agree": True}),
        ("https://s.example:8443/", {"action": "bypass", "proxy": "tunnel", "agree": False}),
        ("https://w.example/", {"action": "tunnel", "node": "none runs"}),
    ],
)
def test_a_url_is_examined(home: Path, url: str, expected: dict[str, Any]) -> None:
    answer("bypass", "add", "https://s.example", "w.example mode=speed region=NL", "--home", home)
    found = examined(home, url)
    assert found | expected == found
    assert set(found["options"]) == {"regions", "mode", "max_tariff", "isolated"}
    assert (
        f"PAC       {'DIRECT' if found['pac'] == 'direct' else 'to the proxy'}"
        in call("bypass", "test", url, "--home", home).stdout
    )


@pytest.mark.parametrize("url", ["", "https://", "https://a.example:99999/", "x://a.example/", "http://[::1/", "a b"])
def test_what_is_no_url_cannot_be_examined(home: Path, url: str) -> None:
    result = call("bypass", "test", url, "--home", home)
    assert (result.exit_code, "write for example https://www.example.com/" in result.stderr) == (2, True)


def test_rules_as_text_are_parted_by_commas_but_not_in_regions(home: Path) -> None:
    text = "a.example region=NL,US-CA mode=speed, b.example region=NL,DE,c.example"
    assert load(home, environ={"MACROVPN_BYPASS_RULES": text}).bypass.rules == (
        "a.example region=NL,US-CA mode=speed",
        "b.example region=NL,DE",
        "c.example",
    )


@pytest.mark.parametrize("mode", MODES)
def test_options_have_the_modes_of_the_settings(home: Path, mode: str) -> None:
    assert load(home, {"tunnel.mode": mode}, {}).tunnel.mode == mode
    assert set(MODES) == set(MODE_HOPS)


async def test_a_real_node_obeys_the_file_as_it_is_now(home: Path) -> None:
    peers = PeersSettings(bootstrap=(), dht=False, port_mapping=False)
    bypass = load(home, environ={}).bypass
    node = RunningNode(Settings(proxy=ProxySettings(listen="127.0.0.1:0"), peers=peers, bypass=bypass), home)
    await node.start()
    try:
        before = node.rules()
        pac = node.pac()
        assert before["count"] == 2
        (home / "config.toml").write_text(CONFIG.replace("a.example", "b.example"))
        await node.reload_rules()
        assert node.rules()["digest"] != before["digest"]
        assert node.pac() != pac
        assert load_rules(load(home, environ={}).bypass, home).digest == node.rules()["digest"]
        (home / "config.toml").write_text(CONFIG.replace("a.example", "b.example:x"))
        pac, rules = node.pac(), node.rules()
        with pytest.raises(ConfigError):
            await node.reload_rules()
        assert (node.pac(), node.rules()) == (pac, rules)
    finally:
        await node.stop()
