"""The system's settings are put back, whatever happens meanwhile; with a place in memory."""

from __future__ import annotations

import json
import socket
import stat
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import ConfigError, MacroVpnError
from node import system_proxy
from node.desktops import SystemProxyError, Values
from node.system_proxy import Left, held, left, places_here, put_back_left
from tests.harness.desk import BEFORE, Desk, crash

if TYPE_CHECKING:
    from collections.abc import Mapping


def test_settings_point_here_meanwhile_and_are_put_back(desk: Desk) -> None:
    here = f"127.0.0.1:{desk.port}"
    with held("127.0.0.1", desk.port):
        assert desk.values == {"http": here, "https": here, "hosts": "loopback", "mode": "manual"}
        record = desk.record
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
def test_settings_are_put_back_when_a_node_cannot_start_or_is_interrupted(desk: Desk, end: BaseException) -> None:
    with pytest.raises(type(end)), held("127.0.0.1", desk.port):
        raise end
    assert desk.values == BEFORE


def test_after_a_mistake_of_the_node_browsers_stay_closed(desk: Desk) -> None:
    with pytest.raises(ZeroDivisionError), held("127.0.0.1", desk.port):
        raise ZeroDivisionError
    assert desk.values["mode"] == "manual"
    whose, sentence = left()
    assert whose is Left.LEFT
    assert "`macrovpn down` puts back what was there before" in sentence
    assert put_back_left() == "The system's proxy settings are as they were before the node set them."
    assert desk.values == BEFORE


VALUES: Final = st.sampled_from(["", "corp:3128", "none", "auto", "manual", "loopback"])
EDITS: Final = st.dictionaries(st.sampled_from(sorted(BEFORE)), st.sampled_from(["mine", "other"]))


@given(
    before=st.fixed_dictionaries(dict.fromkeys(BEFORE, VALUES)),
    lives=st.lists(st.tuples(st.integers(1, 6), EDITS), min_size=1, max_size=3),
    again=st.booleans(),
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_after_crashes_all_is_there_but_what_the_user_changed(
    desk: Desk, before: Values, lives: list[tuple[int, Values]], again: bool
) -> None:
    desk.values = dict(before)
    edited: Values = {}
    entered = False
    for writes, edits in lives:
        crash(desk, writes)
        desk.values |= edits
        edited |= edits
        if "mode" in edits:
            entered = False
        elif edits.keys() & {"http", "https"}:
            entered = True
    if again:
        with held("127.0.0.1", desk.port):
            assert desk.values["http"] == f"127.0.0.1:{desk.port}"
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
def test_what_the_user_changed_stays(desk: Desk, edits: Values, wanted: Values) -> None:
    crash(desk)
    desk.values |= edits
    assert put_back_left().endswith(", except for what was changed since.")
    assert desk.values == wanted


def test_the_next_node_leaves_no_gap(desk: Desk) -> None:
    crash(desk)
    desk.written.clear()
    with held("127.0.0.1", desk.port):
        assert desk.written == [], "what already points to the port stays as it is"
    assert desk.values == BEFORE


def test_what_is_away_for_a_while_is_put_back_when_it_is_there(desk: Desk) -> None:
    crash(desk)
    unplugged = desk.values.pop("https")
    with held("127.0.0.1", desk.port):
        desk.values["https"] = unplugged
    assert desk.values == BEFORE


def test_a_second_node_is_refused(desk: Desk) -> None:
    refused = pytest.raises(SystemProxyError, match=r"Another node \(process \d+\) has set")
    with held("127.0.0.1", desk.port):
        with refused, held("127.0.0.1", desk.port):
            pytest.fail("what the first one has set would be lost")
        assert desk.values["mode"] == "manual"


def test_settings_that_do_not_stay_are_no_settings(desk: Desk) -> None:
    desk.keeps = False
    with pytest.raises(SystemProxyError, match="did not stay as they were written"), held("127.0.0.1", desk.port):
        pytest.fail("a browser would go direct")
    assert desk.written
    assert left()[0] is Left.NOTHING


def test_what_cannot_be_put_back_is_tried_again(desk: Desk) -> None:
    refused = pytest.raises(SystemProxyError, match=r"could not be put back: The desktop is away\..*tries again")
    with refused, held("127.0.0.1", desk.port):
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


def test_one_place_that_fails_does_not_keep_the_other(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    kde = Desk(desk.home)
    monkeypatch.setattr(system_proxy, "PLACES", {"gnome": lambda: desk, "kde": lambda: kde})
    monkeypatch.setattr(system_proxy, "places_here", lambda: ("kde", "gnome"))
    with pytest.raises(SystemProxyError, match="away"), held("127.0.0.1", desk.port):
        kde.fails = True
    assert desk.values == BEFORE
    kde.fails = False
    assert kde.values["mode"] == "manual"
    monkeypatch.setattr(system_proxy, "places_here", lambda: ("gnome",))
    with held("127.0.0.1", desk.port):
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
def test_a_damaged_record_changes_nothing_and_says_what_to_do(desk: Desk, text: bytes) -> None:
    desk.record.parent.mkdir()
    desk.record.write_bytes(text)
    what = r"before\.json is damaged.*Set them by hand.*and remove that file"
    with pytest.raises(SystemProxyError, match=what), held("127.0.0.1", desk.port):
        pytest.fail("nobody could put anything back")
    with pytest.raises(SystemProxyError, match=what):
        put_back_left()
    assert left()[0] is Left.LEFT
    assert "is damaged" in left()[1]
    assert desk.written == []
    assert desk.record.read_bytes() == text


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


def test_they_can_be_given_back_and_taken_again_meanwhile(desk: Desk) -> None:
    with held("127.0.0.1", desk.port) as ours:
        for _ in range(2):
            ours.give_back()
            assert desk.values == BEFORE
            assert not desk.record.exists()
            assert left() == (Left.NOTHING, "")
        ours.take()
        assert desk.values["mode"] == "manual"
        assert left()[0] is Left.SET
    assert desk.values == BEFORE
    with held("127.0.0.1", desk.port) as ours:
        ours.give_back()
    assert desk.values == BEFORE


def test_what_is_not_taken_is_as_it_was(desk: Desk) -> None:
    with held("127.0.0.1", desk.port) as ours:
        ours.give_back()
        desk.keeps = False
        with pytest.raises(SystemProxyError, match="did not stay"):
            ours.take()
        desk.keeps = True
        assert desk.values == BEFORE
        ours.take()
    assert desk.values == BEFORE
