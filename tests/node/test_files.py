"""Private files and the lock of a home."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import MacroVpnError
from node.files import HomeLock, HomeTakenError, lock_holder, make_home, write_private

ROOT = Path(__file__).resolve().parents[2]
HOLD = "import sys; from pathlib import Path; from node.files import HomeLock; HomeLock(Path(sys.argv[1])).acquire(); "


def test_a_home_is_closed_to_others(tmp_path: Path) -> None:
    home = make_home(tmp_path / "a" / "b")
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert make_home(home) == home
    (tmp_path / "file").touch()
    with pytest.raises(MacroVpnError, match="cannot be made"):
        make_home(tmp_path / "file")


def test_a_private_file_is_whole_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(UnicodeEncodeError):
        write_private(path, "\ud800")
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_one_node_per_home(tmp_path: Path) -> None:
    assert lock_holder(tmp_path) is None
    lock = HomeLock(tmp_path)
    lock.acquire()
    assert lock_holder(tmp_path) == os.getpid()
    with pytest.raises(HomeTakenError, match=f"A node already runs in .* \\(process {os.getpid()}\\)"):
        HomeLock(tmp_path).acquire()
    lock.release()
    lock.release()
    assert lock_holder(tmp_path) is None
    again = HomeLock(tmp_path)
    again.acquire()
    again.release()


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD + "print('held', flush=True); sys.stdin.read()", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        assert lock_holder(tmp_path) == child.pid
        child.kill()
        child.wait(10)
    assert lock_holder(tmp_path) is None
