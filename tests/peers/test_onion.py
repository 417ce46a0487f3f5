"""Onion keys over days, restarts, crashes, wrong clocks, and files that are not theirs."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from core.errors import ConfigError
from core.ids import PeerKey
from peers.onion import DAY_S, OVERLAP_S, OnionKeys, phase_of

if TYPE_CHECKING:
    from collections.abc import Callable

PHASE_S: Final = 5_000
DAY: Final = 20_000
START: Final = float(DAY * DAY_S - PHASE_S)
"""The first second of the peer's day 20,000."""


def load(folder: Path, now: float) -> OnionKeys:
    return OnionKeys(folder, PHASE_S, now)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def file_of(folder: Path, day: int) -> Path:
    return folder / f"onion-{day}.key"


# -- days


def test_a_new_folder_gets_one_key(tmp_path: Path) -> None:
    keys = load(tmp_path / "a" / "keys", START)
    assert len(keys.publics) == len(keys.privates) == 1
    path = file_of(tmp_path / "a" / "keys", DAY)
    assert keys.publics[0] == X25519PrivateKey.from_private_bytes(path.read_bytes()).public_key().public_bytes_raw()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_key_is_todays_for_a_day_then_the_last_for_a_day_and_then_gone(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    keys = load(tmp_path, START)
    (first,) = keys.publics
    assert not keys.advance(START + DAY_S - 1)
    assert keys.advance(START + DAY_S)
    second, last = keys.publics
    assert last == first != second
    assert not keys.advance(START + 2 * DAY_S - 1)
    assert keys.publics == (second, first)
    assert keys.advance(START + 2 * DAY_S)
    assert keys.publics[1] == second
    assert first not in keys.publics
    assert names(tmp_path) == ["onion-20001.key", "onion-20002.key"]
    assert OVERLAP_S == DAY_S


def test_it_says_when_it_is_due(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    keys = load(tmp_path, START + 100)
    assert keys.due_in(START + 100) == DAY_S - 100
    assert not keys.advance(START + 100 + keys.due_in(START + 100) - 0.5)
    assert keys.advance(START + 100 + keys.due_in(START + 100))
    assert keys.due_in(START + DAY_S) == DAY_S


def test_the_keys_last_through_a_restart(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    keys = load(tmp_path, START)
    keys.advance(START + DAY_S)
    assert load(tmp_path, START + DAY_S + 9).publics == keys.publics
    assert load(tmp_path, START + 2 * DAY_S).publics[1] == keys.publics[0]


def test_after_a_long_sleep_no_old_key_is_accepted(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    keys = load(tmp_path, START)
    (before,) = keys.publics
    assert keys.advance(START + 2 * DAY_S)
    assert len(keys.publics) == 1
    assert before not in keys.publics
    assert names(tmp_path) == ["onion-20002.key"]


def test_a_clock_set_back_a_little_changes_nothing(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    keys = load(tmp_path, START)
    before = keys.publics
    assert not keys.advance(START - 600)
    assert load(tmp_path, START - 600).publics == before


def test_a_key_that_a_wrong_clock_made_does_not_live_on(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    keys = load(tmp_path, START + 500 * DAY_S)
    wrong = keys.publics
    assert keys.advance(START)
    assert keys.publics != wrong
    assert names(tmp_path) == ["onion-20000.key"]
    assert load(tmp_path, -1e9).publics != wrong
    assert names(tmp_path) == ["onion-0.key"]


def test_days_begin_at_another_time_for_each_peer() -> None:
    phases = {phase_of(PeerKey(bytes([number]) * 32)) for number in range(50)}
    assert len(phases) == 50
    assert all(0 <= phase < DAY_S for phase in phases)


# -- erasing


def test_a_file_is_overwritten_before_it_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    keys = load(tmp_path, START)
    # Another name for the same file shows what becomes of its bytes.
    witness = tmp_path / "witness"
    os.link(file_of(tmp_path, DAY), witness)
    synced: list[bytes] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(witness.read_bytes())

    monkeypatch.setattr(os, "fsync", watched)
    keys.advance(START + 2 * DAY_S)
    assert bytes(32) in synced
    assert witness.read_bytes() == bytes(32)


def test_a_symbolic_link_is_removed_and_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    load(folder, START)
    (tmp_path / "target").write_bytes(b"x" * 32)
    file_of(folder, DAY).unlink()
    file_of(folder, DAY).symlink_to(tmp_path / "target")
    load(folder, START + 5 * DAY_S)
    assert names(folder) == ["onion-20005.key"]
    assert (tmp_path / "target").read_bytes() == b"x" * 32


# -- files that are not what they should be


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_damaged_key_is_named_and_kept(tmp_path: Path, size: int) -> None:
    tmp_path.chmod(0o700)
    load(tmp_path, START)
    file_of(tmp_path, DAY).write_bytes(bytes(size))
    with pytest.raises(ConfigError, match="32 bytes; remove it") as caught:
        load(tmp_path, START)
    assert caught.value.where.endswith("onion-20000.key")
    assert file_of(tmp_path, DAY).stat().st_size == size


def test_a_damaged_key_that_has_had_its_day_is_erased_unread(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    file_of(tmp_path, DAY - 2).write_bytes(b"?")
    load(tmp_path, START)
    assert names(tmp_path) == ["onion-20000.key"]


@pytest.mark.parametrize("name", ["onion.key", "onion-20000.key.bak", "onion-020000.key", "onion-x.key", "onion-.key"])
def test_a_foreign_key_is_named(tmp_path: Path, name: str) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / name).write_bytes(bytes(32))
    with pytest.raises(ConfigError, match="move it away"):
        load(tmp_path, START)
    assert names(tmp_path) == [name]


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "notes").write_bytes(b"mine")
    load(tmp_path, START)
    assert names(tmp_path) == ["notes", "onion-20000.key"]


def test_a_key_open_to_others_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    load(tmp_path, START)
    file_of(tmp_path, DAY).chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        load(tmp_path, START)
    tmp_path.chmod(0o750)
    with pytest.raises(ConfigError, match="chmod 700"):
        load(tmp_path, START)


def test_a_folder_that_cannot_be_written_leaves_the_keys_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    keys = load(tmp_path, START)
    before = keys.publics

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "mkstemp", full)
        with pytest.raises(ConfigError, match="folder of keys"):
            keys.advance(START + DAY_S)
    assert keys.publics == before
    assert keys.advance(START + DAY_S)
    assert keys.publics[1:] == before


# -- crashes


class Crash(BaseException):
    """The process dies here."""


class DyingDisk:
    """Lets `steps` changes of the file system happen, and none after."""

    CHANGES: Final = ("fsync", "replace", "unlink", "pwrite")

    def __init__(self, patch: pytest.MonkeyPatch, steps: int) -> None:
        self.left = steps
        for name in self.CHANGES:
            patch.setattr(os, name, self._dying(getattr(os, name)))
        patch.setattr(tempfile, "mkstemp", self._dying(tempfile.mkstemp))

    def _dying(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            if self.left <= 0:
                raise Crash
            self.left -= 1
            return call(*args, **kwargs)

        return step


def test_a_crash_at_any_step_loses_no_key_that_was_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for steps in range(60):
        folder = tmp_path / str(steps)
        keys = load(folder, START)
        keys.advance(START + DAY_S)
        today, last = keys.publics
        with monkeypatch.context() as patched:
            DyingDisk(patched, steps)
            try:
                keys.advance(START + 2 * DAY_S)
            except Crash:
                finished = False
            else:
                finished = True
            published = keys.publics
        assert published == (today, last) or finished
        after = load(folder, START + 2 * DAY_S)
        assert after.publics[1] == today
        if finished:
            assert after.publics == published
        # Nothing is left over, and what had its day is gone.
        assert names(folder) == ["onion-20001.key", "onion-20002.key"]
        if finished:
            return
    pytest.fail("it never came to its end")


class Life(RuleBasedStateMachine):
    """Time goes on in leaps, the node starts again, processes die; whoever trusted a descriptor is served."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._now = START
        self._first: dict[bytes, float] = {}
        self._last: dict[bytes, float] = {}
        self._keys = load(Path(self._folder.name), self._now)

    def teardown(self) -> None:
        self._folder.cleanup()

    def _due(self) -> bool:
        return self._keys.due_in(self._now) <= 0

    @rule(leap_s=st.integers(1, 30 * 3600))
    def wait(self, leap_s: int) -> None:
        self._now += leap_s

    @rule()
    def tick(self) -> None:
        self._keys.advance(self._now)

    @rule()
    def start_again(self) -> None:
        self._keys = load(Path(self._folder.name), self._now)

    @precondition(_due)
    @rule(steps=st.integers(0, 14))
    def die(self, steps: int) -> None:
        with pytest.MonkeyPatch.context() as patched, suppress(Crash):
            DyingDisk(patched, steps)
            self._keys.advance(self._now)
        self.start_again()

    @invariant()
    def published(self) -> None:
        if self._due():
            return
        self._first.setdefault(self._keys.publics[0], self._now)
        self._last[self._keys.publics[0]] = self._now
        for public, at in self._last.items():
            if self._now - at <= OVERLAP_S:
                assert public in self._keys.publics
        for public in self._keys.publics:
            assert self._now - self._first[public] < 2 * DAY_S
        assert len(names(Path(self._folder.name))) == len(self._keys.publics) <= 2


Life.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestLife = Life.TestCase
