"""What a process says and leaves when something fails that nobody catches."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from node.last_words import NO_CORE
from tests.harness.demo import ROOT

CANARY: Final = "canary-9d2c.test"

PREPARED: Final = """
from node import last_words, logs
logs.set_up("debug")
last_words.prepare()
"""
FAILURES: Final = {
    "the main thread": (f"raise OSError('{CANARY}')", "CRITICAL node.last_words: ended by an unexpected error: "),
    "another thread": (
        f"""
import threading
def fail():
    raise OSError('{CANARY}')
thread = threading.Thread(target=fail, name='{CANARY}')
thread.start()
thread.join()
""",
        "ERROR node.last_words: unexpected error in a thread: ",
    ),
    "an object that is removed": (
        f"""
class Fails:
    def __del__(self):
        raise OSError('{CANARY}')
Fails()
""",
        "ERROR node.last_words: unexpected error: ",
    ),
}


def run(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run it in a folder, as a user who allows core files of any size."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    allowed = f"import resource\nresource.setrlimit(resource.RLIMIT_CORE, ({hard}, {hard}))\n"
    return subprocess.run(
        [sys.executable, "-c", allowed + program],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("where", FAILURES)
def test_the_text_of_an_error_stays_unsaid(tmp_path: Path, where: str) -> None:
    failure, words = FAILURES[where]
    assert CANARY in run(failure, tmp_path).stderr, "Python itself says it"
    (line,) = run(PREPARED + failure, tmp_path).stderr.splitlines()
    assert line.startswith(f"{words}OSError at <string>:")


def test_no_memory_is_kept(tmp_path: Path) -> None:
    end = "import os, signal\nos.kill(os.getpid(), signal.SIGABRT)"
    bare, quiet = tmp_path / "bare", tmp_path / "quiet"
    for folder in (bare, quiet):
        folder.mkdir()
    assert run(end, bare).returncode == run(PREPARED + end, quiet).returncode == -signal.SIGABRT
    pattern = Path("/proc/sys/kernel/core_pattern")
    written_here = pattern.exists() and "/" not in pattern.read_text()
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    assert bool(list(bare.iterdir())) == (written_here and hard != 0)
    assert not list(quiet.iterdir())
    shown = "import resource\nprint(resource.getrlimit(resource.RLIMIT_CORE))"
    limit = NO_CORE if hard else 0
    assert run(PREPARED + shown, quiet).stdout == f"({limit}, {limit})\n"
