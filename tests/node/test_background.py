"""A node away from the terminal: started, refused, stopped; with a small program in the place of the node."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from core.errors import MacroVpnError
from node import background
from node.client import NoNodeError
from node.files import HomeTakenError, lock_holder
from node.settings import Settings
from tests.harness.demo import until
from tests.node.test_cli import running
from tests.node.test_control import Node

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(background, "program", lambda: ([sys.executable, "-m", "tests.node.fake_node"], ROOT))
    yield tmp_path
    if pid := lock_holder(tmp_path):
        os.kill(pid, 9)


def test_start_and_stop(home: Path) -> None:
    lines: list[str] = []
    status = background.start(["up"], home, lines.append)
    assert status["state"] == "up"
    assert lock_holder(home) == status["pid"]
    assert os.getpgid(status["pid"]) != os.getpgid(0)
    assert lines == ["starting …"]
    with pytest.raises(HomeTakenError):
        background.start(["up"], home, lines.append)
    assert background.stop(home)
    assert lock_holder(home) is None
    assert not background.stop(home)


def test_what_is_for_people_is_not_in_the_log(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The PAC's secret address is, and on which network the machine started."""
    words = "print('http://127.0.0.1:1080/secret/proxy.pac', flush=True); print('a state', file=sys.stderr, flush=True)"
    program = f"import runpy, sys; {words}; runpy.run_module('tests.node.fake_node', run_name='__main__')"
    monkeypatch.setattr(background, "program", lambda: ([sys.executable, "-c", program], ROOT))
    background.start(["up"], home, lambda _: None)
    assert background.stop(home)
    assert (home / background.LOG_NAME).read_text() == "a state\n"


def test_a_node_that_ends_at_once_is_told_with_its_last_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_NODE", "broken")
    with pytest.raises(MacroVpnError, match=r"ended with exit code 1\. this node is broken on purpose"):
        background.start(["up"], home, lambda _: None)


def test_a_blocked_node_is_told_with_its_reason(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_NODE", "blocked")
    monkeypatch.setenv("FAKE_NODE_PEERS", "3")
    with pytest.raises(MacroVpnError, match=r"is blocked: no guard answers\.$"):
        background.start(["up"], home, lambda _: None)
    assert background.stop(home)


def test_a_node_that_still_looks_for_its_first_peers_is_waited_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looking = {"state": "blocked", "reason": "No peers are known yet.", "dht": "on", "peers": 0}
    answers = iter([looking, looking, {"state": "up"}])
    monkeypatch.setattr(background, "ask_status", lambda home, pid: next(answers))
    lines: list[str] = []
    assert background.start(["up"], home, lines.append)["state"] == "up"
    assert lines == ["looking for peers …"]
    until("a node to end", lambda: lock_holder(home), 20)


@pytest.mark.parametrize("known", [{"dht": "on", "peers": 1}, {"dht": "off", "peers": 0}])
def test_a_blocked_node_that_knows_peers_or_asks_nobody_is_not(
    home: Path, monkeypatch: pytest.MonkeyPatch, known: dict[str, object]
) -> None:
    blocked = {"state": "blocked", "reason": "no guard answers."} | known
    monkeypatch.setattr(background, "ask_status", lambda home, pid: blocked)
    with pytest.raises(MacroVpnError, match=r"is blocked: no guard answers\.$"):
        background.start(["up"], home, lambda _: None)
    until("a node to end", lambda: lock_holder(home), 20)


def test_a_node_that_is_not_up_in_time_goes_on(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "START_LIMIT_S", 2.0)
    monkeypatch.setattr(background, "ask_status", lambda home, pid: {"state": "connecting"})
    with pytest.raises(MacroVpnError, match=r"not up after 2 s \(connecting\)\. It goes on trying"):
        background.start(["up"], home, lambda _: None)
    until("a node to end", lambda: lock_holder(home), 20)


def test_a_node_that_does_not_stop_when_asked_gets_a_signal(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "STOP_LIMIT_S", 0.3)
    monkeypatch.setattr(background, "KILL_LIMIT_S", 0.3)
    monkeypatch.setenv("FAKE_NODE", "stubborn")
    status = background.start(["up"], home, lambda _: None)
    with pytest.raises(MacroVpnError, match=f"process {status['pid']}\\) does not stop"):
        background.stop(home)


def test_a_node_that_others_use_is_waited_for_and_ends_when_asked_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_NODE", "used")
    background.start(["share"], home, lambda _: None)
    lines: list[str] = []
    said, outcome = threading.Event(), []

    def progress(line: str) -> None:
        lines.append(line)
        said.set()

    first = threading.Thread(target=lambda: outcome.append(background.stop(home, progress)))
    first.start()
    assert said.wait(10)
    assert lines == ["What runs for others may go on for 60 s. Ask again to stop at once."]
    assert lock_holder(home)
    assert background.stop(home)
    first.join(10)
    assert outcome == [True]
    assert lock_holder(home) is None


def test_a_node_without_control_that_others_use_gets_two_signals(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "PROMPT_S", 0.3)
    monkeypatch.setenv("FAKE_NODE", "used")
    background.start(["share"], home, lambda _: None)
    (home / "control.json").write_text("{}")
    assert background.stop(home)
    assert lock_holder(home) is None


def test_a_node_without_control_gets_a_signal(home: Path) -> None:
    status = background.start(["up"], home, lambda _: None)
    (home / "control.json").write_text("{}")
    assert background.stop(home)
    assert lock_holder(home) is None
    assert status["pid"]


class _App:
    """A stand-in for the module that runs the node."""

    def __init__(self) -> None:
        self.seen: list[tuple[Settings, Path, int | None]] = []
        self.code = 3

    def run(self, settings: Settings, home: Path, *, ready_fd: int | None, **_: object) -> int:
        assert lock_holder(home) == os.getpid()
        assert not (home / "control.json").exists()
        self.seen.append((settings, home, ready_fd))
        return self.code


def test_run_here(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = _App()
    monkeypatch.setitem(sys.modules, "node.app", app)
    monkeypatch.setenv("MACROVPN_PARENT_FD", "0")
    (home / "control.json").write_text("left behind")
    assert background.run_here(Settings(), home, lambda _: None) == 3
    assert app.seen == [(Settings(), home, None)]
    assert lock_holder(home) is None


def test_run_here_announces_once_when_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = iter([None, {"state": "connecting"}, {"state": "up"}])
    monkeypatch.setattr(background, "ask_status", lambda home, pid: next(states))
    announced = threading.Event()
    facts: list[dict[str, Any]] = []

    def announce(status: dict[str, Any]) -> None:
        facts.append(status)
        announced.set()

    class App:
        @staticmethod
        def run(settings: Settings, home: Path, *, ready_fd: int | None, **_: object) -> int:
            assert announced.wait(10)
            return 0

    monkeypatch.setitem(sys.modules, "node.app", App)
    assert background.run_here(Settings(), home, announce) == 0
    assert facts == [{"state": "up", "pid": os.getpid()}]


def test_run_here_leaves_nobody_who_still_asks(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter must not end while a thread is somewhere in a library."""
    asking, ended = threading.Event(), threading.Event()

    def slow(home: Path, pid: int) -> None:
        asking.set()
        assert ended.wait(10)

    class App:
        @staticmethod
        def run(settings: Settings, home: Path, *, ready_fd: int | None, **_: object) -> int:
            assert asking.wait(10)
            threading.Timer(0.2, ended.set).start()
            return 0

    monkeypatch.setattr(background, "ask_status", slow)
    monkeypatch.setitem(sys.modules, "node.app", App)
    assert background.run_here(Settings(), home, lambda status: None) == 0
    assert ended.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name == "announce"]


def test_the_program_is_this_one() -> None:
    command, folder = background.program()
    assert command == [sys.executable, "-m", "node"]
    assert (folder / "node" / "__main__.py").exists()


def test_last_line(tmp_path: Path) -> None:
    assert background.last_line(tmp_path) == ""
    (tmp_path / "node.log").write_text("x" * 5000 + "\nthe end\n\n")
    assert background.last_line(tmp_path) == "the end"


def test_no_node_says_what_to_do() -> None:
    assert str(NoNodeError(Path("/h"))) == "No node runs in /h. Start one with `macrovpn up`."


def test_a_node_that_runs_here_is_announced_once_and_then_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    announced: list[dict[str, Any]] = []
    watched: list[dict[str, Any]] = []
    enough = threading.Event()

    def run(settings: Settings, home: Path, *, ready_fd: int | None, **_: object) -> int:
        with running(home, Node()):
            assert enough.wait(10)
        return 7

    def watch(status: dict[str, Any]) -> None:
        watched.append(status)
        if len(watched) == 2:
            enough.set()

    monkeypatch.setattr("node.app.run", run)
    monkeypatch.setattr(background, "WATCH_S", 0.01)
    assert background.run_here(Settings(), tmp_path, announced.append, watch) == 7
    assert announced == [{"state": "up", "pid": os.getpid()}]
    assert watched[:2] == [{"state": "up"}] * 2
    assert not any(thread.name == "announce" for thread in threading.enumerate())
