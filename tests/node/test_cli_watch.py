"""`macrovpn status --watch`: on a terminal, in a pipe, as JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from node import cli_watch
from tests.harness.demo import ROOT, until
from tests.harness.terminal import Terminal
from tests.node.test_cli import KEYS, running
from tests.node.test_control import Node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UP = {"state": "up", "proxy": "127.0.0.1:1080", "exit_region": "NL", "exit_regions": ["NL"], "hops": 3, "flows": 2}


@contextmanager
def watching(home: Path, *arguments: str, output: int) -> Iterator[subprocess.Popen[bytes]]:
    heard = ["env", "--default-signal=INT"]  # what runs in the background may have been told to ignore Ctrl-C
    command = [*heard, sys.executable, "-m", "node", "status", "--watch", "--home", str(home), *arguments]
    environment = os.environ | {"TERM": "xterm-256color"}
    process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.PIPE, env=environment)
    try:
        yield process
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
        assert (process.returncode, errors) == (0, b"")
    finally:
        process.kill()
        process.wait()


def test_a_terminal_shows_the_node_come_change_and_go(tmp_path: Path) -> None:
    node = Node()
    with Terminal(80, 30) as terminal, watching(tmp_path, output=terminal.output):

        def seen(words: str) -> bool:
            return words in [" ".join(line.split()) for line in terminal.frame]

        until("a word of no node", lambda: "down" in terminal.text)
        node.facts = dict(UP)
        with running(tmp_path, node):
            until("the exit", lambda: seen("exit NL, 3 hops"))
            until("the speed", lambda: seen("down 0.00 Mbit/s █"))
            until("the wait", lambda: seen("answers 4 ms from asking to the first byte"))
            node.facts = UP | {"state": "blocked", "reason": "no guard answers."}
            until("the change", lambda: seen("blocked: no guard answers."))
        until("the end", lambda: terminal.text.rfind("no node runs") > terminal.text.rfind("blocked"))


def test_a_pipe_gets_lines_without_figures(tmp_path: Path) -> None:
    node = Node()
    node.facts = dict(UP)
    log = tmp_path / "log"
    with log.open("wb") as file, running(tmp_path, node), watching(tmp_path, output=file.fileno()):
        until("the first line", lambda: log.read_text() == "up: NL, 3 hops\n")
        node.facts = UP | {"flows": 5}
        node.facts = UP | {"state": "blocked", "reason": "no guard answers."}
        until("the second", lambda: log.read_text() == "up: NL, 3 hops\nblocked: no guard answers.\n")


def test_json_has_every_event(tmp_path: Path) -> None:
    node = Node()
    log = tmp_path / "log"

    def events() -> list[dict[str, Any]]:
        return [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]

    with log.open("wb") as file, running(tmp_path, node), watching(tmp_path, "--json", output=file.fileno()):
        until("two events", lambda: len(events()) >= 2)
    first, second = events()[:2]
    assert (first["event"], first["state"]) == ("status", "up")
    assert first.keys() == KEYS | {"event"}, "a line has every key, whatever the node says"
    assert second == {"event": "second"} | node.second()


def test_speeds_are_drawn() -> None:
    assert cli_watch.bars([0, 1, 50, 100]) == " ▁▄█"
    assert cli_watch.bars([0, 0]) == "  "
    assert cli_watch.bars([]) == ""
    assert cli_watch.rate_text(150_000) == "1.20 Mbit/s"
    assert cli_watch.rate_text(12_500_000) == "100 Mbit/s"
