"""The system's settings are put back, whatever happens meanwhile; with a place in memory."""

from __future__ import annotations

import json
import socket
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import ConfigError, MacroVpnError
from node import system_proxy
from node.desktops import SystemProxyError, Values
from node.system_proxy import Left, held, left, places_here, put_back_left

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BEFORE: Final[Values] = {"http": "corp:3128", "https": "", "hosts": "corp", "mode": "none"}


class KilledError(BaseException):
    """The process is gone: what it would do at its end, it cannot do any more."""


class Desk:
    """A place with two servers, a list and a switch."""

    name: ClassVar = "gnome"
    switch: ClassVar = "mode"
    bypass: ClassVar = "hosts"

    def __init__(self, folder: Path, values: Values | None = None) -> None:
        self.values = dict(BEFORE if values is None else values)
        self.written: list[tuple[str, str]] = []
        self.writes_left: int | None = None
        self.keeps = True
        self.fails = False
        self._record = folder / "system-proxy" / "before.json"

    def read(self) -> Values:
        self._live()
        return dict(self.values)

    def ours(self, host: str, port: int, present: Mapping[str, str]) -> Values:
        assert present.keys() == BEFORE.keys()
        return {"http": f"{host}:{port}", "https": f"{host}:{port}", "hosts": "loopback", "mode": "manual"}

    def write(self, values: Mapping[str, str]) -> None:
        for key, value in values.items():
            assert json.loads(self._record.read_text())["places"]["gnome"]["ours"].keys() == BEFORE.keys()
            self._live()
            if self.writes_left is not None:
                self.writes_left -= 1
            self.written.append((key, value))
            if self.keeps:
                self.values[key] = value

    def _live(self) -> None:
        if self.fails:
            raise SystemProxyError("The desktop is away.")
        if self.writes_left == 0:
            raise KilledError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(system_proxy, "default_home", lambda: tmp_path)
    monkeypatch.setenv("XDG_CURRENT_DESKTOP", "ubuntu:GNOME")
    monkeypatch.setattr(system_proxy, "places_here", lambda: places_here("linux"))
    return tmp_path


@pytest.fixture
def desk(home: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    found = Desk(home)
    monkeypatch.setattr(system_proxy, "PLACES", {"gnome": lambda: found})
    return found


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
    return found


def test_settings_point_here_meanwhile_and_are_put_back(home: Path, desk: Desk, port: int) -> None:
    here = f"127.0.0.1:{port}"
    with held("127.0.0.1", port):
        assert desk.values == {"http": here, "https": here, "hosts": "loopback", "mode": "manual"}
        record = home / "system-proxy" / "before.json"
        assert stat.S_IMODE(record.stat().st_mode) == 0o600
        assert json.loads(record.read_text())["places"]["gnome"]["before"] == BEFORE
        assert left() == (Left.SET, f"the system's proxy settings point to {here}")
        assert put_back_left() == "", "a node that lives keeps them"
    assert desk.values == BEFORE
    assert left() == (Left.NOTHING, "")
    assert put_back_left() == ""
    first, last = desk.written[:4], desk.written[4:]
    assert first[-1] == ("mode", "manual"), "the switch comes when the servers are there"
    assert last[0] == ("mode", "none"), "and goes before they do"


@pytest.mark.parametrize("end", [MacroVpnError("no port"), KeyboardInterrupt()])
def test_settings_are_put_back_when_a_node_cannot_start_or_is_interrupted(
    desk: Desk, port: int, end: BaseException
) -> None:
    with pytest.raises(type(end)), held("127.0.0.1", port):
        raise end
    assert desk.values == BEFORE


def test_after_a_mistake_of_the_node_browsers_stay_closed(desk: Desk, port: int) -> None:
    with pytest.raises(ZeroDivisionError), held("127.0.0.1", port):
        raise ZeroDivisionError
    assert desk.values["mode"] == "manual"
    whose, sentence = left()
    assert whose is Left.LEFT
    assert "`macrovpn down` puts back what was there before" in sentence
    assert put_back_left() == "The system's proxy settings are as they were before the node set them."
    assert desk.values == BEFORE


def crash(desk: Desk, port: int, writes: int) -> None:
    """Have a node die after some values were written, or while it runs."""
    desk.writes_left = writes
    with suppress(KilledError), held("127.0.0.1", port):
        desk.writes_left = 0
    desk.writes_left = None


VALUES: Final = st.sampled_from(["", "corp:3128", "none", "auto", "manual", "loopback"])
EDITS: Final = st.dictionaries(st.sampled_from(sorted(BEFORE)), st.sampled_from(["mine", "other"]))


@given(
    before=st.fixed_dictionaries(dict.fromkeys(BEFORE, VALUES)),
    lives=st.lists(st.tuples(st.integers(1, 6), EDITS), min_size=1, max_size=3),
    again=st.booleans(),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_after_crashes_all_is_there_but_what_the_user_changed(
    desk: Desk, port: int, before: Values, lives: list[tuple[int, Values]], again: bool
) -> None:
    desk.values = dict(before)
    edited: Values = {}
    entered = False
    for writes, edits in lives:
        crash(desk, port, writes)
        desk.values |= edits
        edited |= edits
        if "mode" in edits:
            entered = False
        elif edits.keys() & {"http", "https"}:
            entered = True
    if again:
        with held("127.0.0.1", port):
            assert desk.values["http"] == f"127.0.0.1:{port}"
    else:
        put_back_left()
    wanted = before | edited
    if entered and desk.values["mode"] == "manual":
        wanted["mode"] = "manual"  # it switches the user's own server now
    assert desk.values == wanted
    assert left()[0] is Left.NOTHING


@pytest.mark.parametrize(
    ("edits", "wanted"),
    [
        ({"hosts": "mine"}, BEFORE | {"hosts": "mine"}),
        ({"mode": "auto"}, BEFORE | {"mode": "auto"}),
        ({"http": "mine:1"}, BEFORE | {"http": "mine:1", "mode": "manual"}),
    ],
)
def test_what_the_user_changed_stays(desk: Desk, port: int, edits: Values, wanted: Values) -> None:
    crash(desk, port, 100)
    desk.values |= edits
    assert put_back_left().endswith(", except for what was changed since.")
    assert desk.values == wanted


def test_the_next_node_leaves_no_gap(desk: Desk, port: int) -> None:
    crash(desk, port, 100)
    desk.written.clear()
    with held("127.0.0.1", port):
        assert desk.written == [], "what already points to the port stays as it is"
    assert desk.values == BEFORE


def test_a_second_node_is_refused(desk: Desk, port: int) -> None:
    with held("127.0.0.1", port):
        with pytest.raises(SystemProxyError, match=r"Another node \(process \d+\) has set"), held("127.0.0.1", port):
            pass
        assert desk.values["mode"] == "manual"


def test_settings_that_do_not_stay_are_no_settings(desk: Desk, port: int) -> None:
    desk.keeps = False
    with pytest.raises(SystemProxyError, match="did not stay as they were written"), held("127.0.0.1", port):
        pytest.fail("a browser would go direct")
    assert desk.written
    assert left()[0] is Left.NOTHING


def test_what_cannot_be_put_back_is_tried_again(desk: Desk, port: int) -> None:
    with pytest.raises(SystemProxyError, match=r"could not be put back: The desktop is away\..*tries again"):  # noqa: SIM117
        with held("127.0.0.1", port):
            desk.fails = True
    with pytest.raises(SystemProxyError, match="could not be put back"):
        put_back_left()
    desk.fails = False
    desk.keeps = False
    with pytest.raises(SystemProxyError, match="did not take what was there before"):
        put_back_left()
    assert left()[0] is Left.LEFT
    desk.keeps = True
    put_back_left()
    assert desk.values == BEFORE


def test_one_place_that_fails_does_not_keep_the_other(
    home: Path, desk: Desk, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kde = Desk(home)
    monkeypatch.setattr(system_proxy, "PLACES", {"gnome": lambda: desk, "kde": lambda: kde})
    monkeypatch.setenv("XDG_CURRENT_DESKTOP", "KDE")
    with pytest.raises(SystemProxyError, match="away"), held("127.0.0.1", port):
        kde.fails = True
    assert desk.values == BEFORE
    kde.fails = False
    assert kde.values["mode"] == "manual"
    monkeypatch.setenv("XDG_CURRENT_DESKTOP", "GNOME")
    with held("127.0.0.1", port):
        assert kde.values["mode"] == "manual"
    assert kde.values == BEFORE, "what one session left, the next one puts back, too"


DAMAGED: Final = (
    b"",
    b"\xff",
    b"[]",
    b'{"version": 2, "proxy": "127.0.0.1:1", "places": {}}',
    b'{"version": 1, "proxy": "127.0.0.1:1", "places": {"plasma": {"before": {}, "ours": {}}}}',
    b'{"version": 1, "proxy": "127.0.0.1:1", "places": {"gnome": {"before": {}, "ours": {"mode": "manual"}}}}',
    b'{"version": 1, "proxy": "127.0.0.1:1", "places": {}, "more": 1}',
    b" " * (1 << 20) + b"{}",
)


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_record_changes_nothing_and_says_what_to_do(home: Path, desk: Desk, port: int, text: bytes) -> None:
    folder = home / "system-proxy"
    folder.mkdir()
    (folder / "before.json").write_bytes(text)
    what = r"before\.json is damaged.*Set them by hand.*and remove that file"
    with pytest.raises(SystemProxyError, match=what), held("127.0.0.1", port):
        pytest.fail("nobody could put anything back")
    with pytest.raises(SystemProxyError, match=what):
        put_back_left()
    assert left()[0] is Left.LEFT
    assert "is damaged" in left()[1]
    assert desk.written == []
    assert (folder / "before.json").read_bytes() == text


@pytest.mark.parametrize(
    ("host", "port", "problem"),
    [
        ("127.0.0.1", 0, "number from 1 to 65535"),
        ("0.0.0.0", 1080, r"one of 127\.0\.0\.0/8"),
        ("::1", 1080, r"one of 127\.0\.0\.0/8"),
        ("192.0.2.1", 1080, r"one of 127\.0\.0\.0/8"),
    ],
)
def test_addresses_that_must_not_outlive_the_node(desk: Desk, host: str, port: int, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem), held(host, port):
        pass
    assert desk.written == []


def test_another_program_at_the_port_gets_nothing(desk: Desk) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ConfigError, match="cannot be used"), held("127.0.0.1", other.getsockname()[1]):
            pass
    assert desk.written == []


@pytest.mark.parametrize(
    ("platform", "desktop", "wanted"),
    [
        ("linux", "ubuntu:GNOME", ["gnome"]),
        ("linux", "X-Cinnamon", ["gnome"]),
        ("linux", "KDE", ["kde", "gnome"]),
        ("freebsd14", "KDE", ["kde", "gnome"]),
        ("darwin", "", ["macos"]),
        ("win32", "", ["windows"]),
    ],
)
def test_places_of_a_session(platform: str, desktop: str, wanted: list[str]) -> None:
    assert list(places_here(platform, {"XDG_CURRENT_DESKTOP": desktop})) == wanted


@pytest.mark.parametrize("environment", [{}, {"XDG_CURRENT_DESKTOP": "XFCE"}, {"XDG_CURRENT_DESKTOP": "gnome"}])
def test_a_desktop_without_such_settings_is_refused(environment: Mapping[str, str]) -> None:
    with pytest.raises(SystemProxyError, match=r"XDG_CURRENT_DESKTOP is .*others go direct\. Point the browser"):
        places_here("linux", environment)
