"""`macrovpn share`: what its options become, what is said once, and what it shows while it runs."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING, Any, Final

import pytest
from rich.console import Console

from core.errors import Reason
from node.cli_share import EXPLAINED_NAME
from node.config import PARENT_FD_ENV
from node.settings import ExitSettings, NodeSettings, Settings, SharingSettings
from node.share_view import Changes, Screen
from node.sharing_view import Figures, rows, sharing_section, state_sentence
from tests.node.commands import Started, answer, call
from tests.node.test_logs import bare_root

if TYPE_CHECKING:
    from pathlib import Path

FLAGS: Final = [
    "--role", "exit", "--up", "12.5", "--down", "20", "--cap", "200", "--hours", "22:00-06:00",
    "--hours", "mon-fri 9:00-10:00", "--friends-only", "--policy", "web", "--region", "NL",
    "--metrics", "127.0.0.1:0", "--notice", "0.0.0.0:8080", "--allow-destination", "198.51.100.0/24",
    "--no-dht", "--log-level", "debug",
]  # fmt: skip
SETTINGS: Final = Settings(
    node=NodeSettings(roles=("exit", "relay")),
    sharing=SharingSettings(up_mbit=20, monthly_gb=200, hours=("22:00-06:00",), flows=64, only_friends=True),
    exit=ExitSettings(rules=("reject *.example.com:*",), allow_destinations=("198.51.100.0/24",)),
)
BUSY: Final = Figures(3, 12, None, (), 1_234_567, 45_000, 1_500, 12_345)


def status(figures: Figures = BUSY, **more: Any) -> dict[str, Any]:
    return (
        {"state": "up", "reason": "", "reachable": "public", "via": 0}
        | more
        | {"sharing": sharing_section(SETTINGS, figures, {"metrics": "127.0.0.1:9464", "notice": "0.0.0.0:80"})}
    )


# -- options


def test_every_option_is_a_setting(tmp_path: Path, started: Started) -> None:
    result = call("share", "--home", tmp_path, *FLAGS)
    assert result.exit_code == 3, result.output
    settings = started.here[0][0]
    assert settings.sharing == SharingSettings(
        up_mbit=12.5,
        down_mbit=20,
        monthly_gb=200,
        hours=("22:00-06:00", "mon-fri 9:00-10:00"),
        only_friends=True,
        metrics="127.0.0.1:0",
    )
    assert settings.exit == ExitSettings(policy="web", notice="0.0.0.0:8080", allow_destinations=("198.51.100.0/24",))
    assert (settings.node.region, settings.node.log_level, settings.peers.dht) == ("NL", "debug", False)


def test_options_are_passed_on_to_the_background(tmp_path: Path, started: Started) -> None:
    answer("share", "--background", "--home", tmp_path, *FLAGS)
    [(arguments, _)] = started.away
    assert call(*arguments, "--foreground", "--home", tmp_path).exit_code == 3
    assert call("share", "--home", tmp_path, *FLAGS).exit_code == 3
    assert started.here[0] == started.here[1]


def test_units_and_whole_hours(tmp_path: Path, started: Started) -> None:
    call(
        "share", "--home", tmp_path, "--limit", "20mbit", "--up", "5 Mbit/s", "--cap", "0.5GB/month", "--hours", "20-8"
    )
    sharing = started.here[0][0].sharing
    assert (sharing.up_mbit, sharing.down_mbit, sharing.monthly_gb) == (5, 20, 0.5)
    assert sharing.hours == ("20:00-8:00",)


@pytest.mark.parametrize(
    "flags",
    [
        ["--limit", "fast"],
        ["--limit", "20GB"],
        ["--limit", "0.01"],
        ["--cap", "-1"],
        ["--hours", "25-8"],
        ["--hours", "night"],
        ["--metrics", "9464"],
        ["--notice", "example.org:80"],
        ["--policy", "none"],
    ],
)
def test_wrong_values_are_wrong_usage(tmp_path: Path, started: Started, flags: list[str]) -> None:
    assert call("share", "--home", tmp_path, *flags).exit_code == 2
    assert not started.here


def test_what_an_exit_means_is_said_once(
    tmp_path: Path,
    started: Started,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "exit" not in call("share", "--home", tmp_path, "--role", "relay").stderr
    assert not (tmp_path / EXPLAINED_NAME).exists()
    monkeypatch.setenv(PARENT_FD_ENV, "9")
    assert call("share", "--home", tmp_path, "--role", "exit").stderr == "", "nobody reads what a child says"
    monkeypatch.delenv(PARENT_FD_ENV)
    assert "connections of strangers will leave" in call("share", "--home", tmp_path, "--role", "exit").stderr
    assert call("share", "--home", tmp_path, "--role", "exit").stderr == ""
    assert (tmp_path / EXPLAINED_NAME).read_bytes() == b""


# -- what is shown


def test_sentences() -> None:
    def said(**figures: Any) -> str:
        return state_sentence(sharing_section(SETTINGS, Figures(**figures), {}))

    assert said() == "takes new work"
    assert said(biting=("rate",)) == "takes new work; held back: your rate is reached"
    assert (
        said(refusal=Reason.LIMIT, biting=("month", "x")) == "takes nothing new: the amount of this month is used up, x"
    )
    assert said(refusal=Reason.BUSY) == "takes nothing new: this machine is at its limit"
    assert said(refusal=Reason.LIMIT) == "takes nothing new: a limit of yours is reached"
    assert said(refusal=Reason.BUSY, biting=("rate",)).endswith("your rate is reached, this machine is at its limit")
    assert said(refusal=Reason.LEAVING, flows=1) == "stopping: takes nothing new, 1 flow in 0 circuits to finish"
    relay = {"roles": ["relay"], "state": "draining", "circuits": 1}
    assert state_sentence(relay) == "stopping: takes nothing new, 1 circuit to finish"
    assert sharing_section(Settings(), Figures(), {}) == {}, "a client shares nothing"


def test_rows() -> None:
    assert rows(status()["sharing"]) == [
        ("sharing", "exit and relay; takes new work"),
        ("carrying", "12 flows in 3 circuits"),
        ("speed", "9.9 Mbit/s to destinations, 0.4 Mbit/s back"),
        ("carried", "1.5 GB since the start"),
        ("month", "12.3 GB of 200 GB"),
        ("limits", "20 Mbit/s each way, 64 flows, 22:00-06:00, friends only"),
        ("earned", "payments are off"),
        ("policy", "default and 1 rules of yours"),
        ("beware", "reaches what exits refuse otherwise: 198.51.100.0/24. This is for tests"),
        ("metrics", "http://127.0.0.1:9464/metrics"),
        ("notice", "http://0.0.0.0:80/"),
    ]
    assert ("speed", "– to destinations, – back") in rows({"roles": ["relay"]}), "an older or newer node may tell less"


def test_lines_at_changes_only(capsys: pytest.CaptureFixture[str]) -> None:
    changes = Changes(as_json=False)
    for figures in (BUSY, Figures(), Figures(refusal=Reason.LEAVING, flows=9), Figures(refusal=Reason.LEAVING)):
        changes.show(status(figures))
    reach = "others reach this peer directly, as its settings or its neighbours say"
    assert capsys.readouterr().out == f"takes new work; {reach}\nstopping: takes nothing new; {reach}\n"


def test_lines_do_not_say_when_somebody_came(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output may go to something that stamps each line with the time."""
    for as_json in (False, True):
        changes = Changes(as_json=as_json)
        for biting in ((), ("rate",), (), ("circuits", "flows"), ("friends",), ()):
            changes.show(status(Figures(biting=biting)))
        changes.show(status(Figures(refusal=Reason.LIMIT, biting=("hours", "rate"))))
        first, second = capsys.readouterr().out.splitlines()
        assert "hours" in second
        assert not {"rate", "circuits", "flows", "friends"} & set(f"{first} {second}".replace('"', " ").split())


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    changes = Changes(as_json=True)
    changes.show(status())
    changes.show(status(reachable="unknown", via=2))
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    shown = {"state": "up", "reason": "", "reachable": "public", "via": 0, "sharing": "open", "biting": []}
    assert first == shown
    assert second == shown | {"reachable": "unknown", "via": 2}


def test_a_terminal_shows_figures_and_log_lines_above_them() -> None:
    drawn = io.StringIO()
    with bare_root():
        screen = Screen("info", Console(file=drawn, force_terminal=True, width=100, highlight=False, markup=False))
        screen.show(status(reason="[red]not markup\x1b[31m"))
        logging.getLogger("node.somewhere").info("a line")
        screen.show(status(Figures(refusal=Reason.LEAVING, flows=2)))
        screen.close()
    text = drawn.getvalue()
    assert "[red]not markup�[31m" in text
    assert "9.9 Mbit/s to destinations, 0.4 Mbit/s back" in text
    assert text.index("Ctrl-C takes nothing new") < text.index("INFO node.somewhere: a line")
    assert text.index("INFO node.somewhere: a line") < text.index("2 flows in 0 circuits to finish")
    assert text.index("2 flows in 0 circuits to finish") < text.index("Ctrl-C again ends at once.")
