"""The switch over the end of a node: off stays off, however the node ended, and whoever says `up` means on."""

from __future__ import annotations

import os
import signal
import stat
from typing import TYPE_CHECKING, Final

import pytest

from core.errors import MacroVpnError
from node import switch
from node.background import stop
from node.config import load
from node.files import HomeLock
from node.running import RunningNode
from node.switch import OFF_NAME, is_left_off
from node.system_proxy import held
from tests.harness import waiting
from tests.harness.demo import command, status_of, until
from tests.harness.desk import BEFORE, Desk, crash
from tests.node.commands import call
from tests.node.test_live import FILE, Desktop, refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.node.commands import Started

BY_ITSELF: Final = ("up", "--as-left", "--port", "0", "--no-dht")
"""As the service starts a node, but for ports of its own."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "config.toml").write_text(FILE)
    return tmp_path


@pytest.fixture
def ended(home: Path) -> Iterator[None]:
    """Whatever runs there is gone afterwards."""
    yield
    stop(home)


async def test_a_node_is_as_its_switch_was_left(home: Path) -> None:
    first = RunningNode(load(home), home)
    await first.start()
    await first.switch(False)
    await first.stop()
    assert stat.S_IMODE((home / OFF_NAME).stat().st_mode) == 0o600
    assert (home / OFF_NAME).read_bytes() == b""

    desktop = Desktop()
    second = RunningNode(load(home), home, system_proxy=desktop)
    await second.start()
    try:
        status = second.status()
        assert (status["state"], status["circuits"]) == ("down", 0)
        assert "stays so when it is started again" in status["reason"]
        assert b"X-MacroVPN-Reason: off" in await refused(second)
        assert "FindProxyForURL" in second.pac(), "a browser that cannot load it goes direct"
        assert not second._in_need()
        pool = second._following.pool
        assert pool is not None
        assert pool.failure is None, "it builds nothing, so it failed at nothing"
        await second.switch(True)
        assert second._in_need()
        await waiting.until(lambda: pool.failure)
        assert b"X-MacroVPN-Reason: off" not in await refused(second)
    finally:
        await second.stop()
    assert desktop.done == ["take"]
    assert not is_left_off(home)


async def test_off_says_nothing_to_who_only_serves(home: Path) -> None:
    (home / OFF_NAME).touch()
    node = RunningNode(load(home, {"node.roles": ("relay",)}), home)
    await node.start()
    try:
        assert node.status()["state"] == "up"
        assert node._in_need(), "it looks for others all the same"
    finally:
        await node.stop()


async def test_what_cannot_be_remembered_is_told_and_tried_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    desktop = Desktop()
    node = RunningNode(load(home), home, system_proxy=desktop)
    await node.start()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(switch, "write_private", full)
            with pytest.raises(
                MacroVpnError, match=r"starts here again will be on: .* cannot be written: No space left"
            ):
                await node.switch(False)
        assert b"X-MacroVPN-Reason: off" in await refused(node)
        assert desktop.done == [], "browsers stay pointed at what refuses"
        await node.switch(False)
        assert is_left_off(home)
        assert desktop.done == ["give back"]
        (home / OFF_NAME).unlink()
        (home / OFF_NAME).mkdir()
        with pytest.raises(MacroVpnError, match=r"starts here again will be off: .* cannot be removed"):
            await node.switch(True)
        assert node.status()["state"] != "down"
        (home / OFF_NAME).rmdir()
    finally:
        await node.stop()


@pytest.mark.usefixtures("ended")
def test_off_outlives_a_crash_until_the_user_says_up(home: Path) -> None:
    (home / OFF_NAME).touch()
    first = command(*BY_ITSELF, home=home)
    assert first["state"] == "down"
    os.kill(first["pid"], signal.SIGKILL)
    until("the end of its node", lambda: not status_of(home))
    assert command(*BY_ITSELF, home=home)["state"] == "down"
    assert status_of(home)["reason"] == switch.OFF
    assert stop(home)


def test_up_means_on(home: Path, started: Started) -> None:
    (home / OFF_NAME).touch()
    assert "switched" not in call("up", "--as-left", "--home", home).output
    assert started.away == [(["up", "--as-left"], home)]
    assert is_left_off(home)
    assert "It was switched off, and is switched on again." in call("up", "--home", home).output
    assert not is_left_off(home)


@pytest.mark.usefixtures("started")
def test_a_node_that_runs_keeps_its_switch(home: Path) -> None:
    (home / OFF_NAME).touch()
    lock = HomeLock(home)
    lock.acquire()
    call("up", "--home", home)
    lock.release()
    assert is_left_off(home)


def test_the_system_s_settings_are_not_taken_by_a_node_that_is_off(desk: Desk) -> None:
    crash(desk)
    assert desk.values != BEFORE
    with held("127.0.0.1", desk.port, taken=False) as ours:
        assert desk.values == BEFORE
        ours.take()
        assert desk.values["mode"] == "manual"
    assert desk.values == BEFORE
