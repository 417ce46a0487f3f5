"""Commands where something around them is odd: where they write, what they may read, how wide and in which letters."""

from __future__ import annotations

import os
import subprocess
import sys
from shlex import quote
from typing import TYPE_CHECKING, Final

import pytest

from node import background
from tests.harness.demo import ROOT
from tests.node.commands import call

if TYPE_CHECKING:
    from pathlib import Path

MACROVPN: Final = f"PYTHONPATH={quote(str(ROOT))} {quote(sys.executable)} -m node"
DEPRIVED: Final = "setpriv --bounding-set=-all --inh-caps=-all"
"""Has root stopped by permissions as anybody else is."""


def shell(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in a folder; it must end soon, and show no traceback."""
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=os.environ | {"LC_ALL": "C.UTF-8"} | environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    return done


def test_output_that_nobody_takes(tmp_path: Path) -> None:
    full = shell(f"{MACROVPN} config list --home h > /dev/full", tmp_path)
    assert (full.returncode, full.stderr) == (1, b"Error: The system refuses: No space left on device.\n")
    lines = f"{MACROVPN} config list --json --home h"
    cut = shell(f"{{ {lines}; {lines}; echo $? >code; }} | head -c 9", tmp_path)
    assert (cut.stdout, cut.stderr) == (b'{"setting', b"")
    assert (tmp_path / "code").read_text() in ("0\n", "1\n")


@pytest.mark.long
def test_letters_that_a_terminal_lacks(tmp_path: Path) -> None:
    """A home with a name that Latin-1 does not have, and JSON that needs no letter beyond ASCII."""
    status = f"{MACROVPN} status --home žluť"
    odd = shell(f"{status}; {status} --json", tmp_path, PYTHONIOENCODING="latin-1")
    assert odd.returncode == 0
    assert b"/?lu?. Start one" in odd.stdout
    assert b"/\\u017elu\\u0165" in odd.stdout.splitlines()[-1]


@pytest.mark.long
def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    gone = shell(f"mkdir gone && cd gone && rmdir ../gone && {MACROVPN} status --home h", tmp_path)
    assert (gone.returncode, gone.stdout) == (1, b"")
    assert gone.stderr.startswith(b"Error: ")


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can make somebody else's home")
def test_somebody_elses_home(tmp_path: Path) -> None:
    closed, readable = tmp_path / "closed", tmp_path / "readable"
    for folder, mode in ((closed, 0o700), (readable, 0o755)):
        folder.mkdir()
        folder.chmod(mode)
        os.chown(folder, 65534, 65534)
    commands = [f"{DEPRIVED} env {MACROVPN} {words}" for words in ("status --home closed", "up --home readable")]
    refused = shell("; ".join([*commands, "echo $? >code"]), tmp_path)
    assert b"'--home': Directory 'closed' is not readable." in refused.stderr
    assert b"/readable/node.log: Permission denied." in refused.stderr
    assert (refused.stdout, (tmp_path / "code").read_text()) == (b"", "1\n")


@pytest.mark.parametrize("columns", ["1", "20", "500"])
def test_any_width(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    for words in ("--help", "share --help", "config set"):
        result = call(*words.split())
        assert "Usage: " in result.output
        assert result.exit_code == (0 if "--help" in words else 2)


def test_ctrl_c_while_a_node_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> dict[str, object]:
        raise KeyboardInterrupt

    monkeypatch.setattr(background, "start", interrupted)
    result = call("up", "--home", tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"The node goes on starting away from here: see `macrovpn status --home {tmp_path}`" in result.stderr


def test_sentences_name_the_node_that_was_meant(tmp_path: Path) -> None:
    """A command that stands in a sentence can be copied, whichever node the call was about."""
    home = tmp_path / "a home"
    call("network", "create", "work", "--home", home)
    result = call("hop", "--home", home, "--network", "work")
    assert f"`macrovpn up --home '{home}' --network work`" in result.stderr
    assert f"`macrovpn network list --home '{home}'`" in call("hop", "--home", home, "--network", "x").stderr
