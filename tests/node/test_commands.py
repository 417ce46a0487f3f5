"""Every command with good, bad and missing input, beside a node that runs, starts, is off, says nothing or is gone."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest
from jsonschema_rs import Draft202012Validator

from node import background, cli_ask, cli_watch, client, login
from node.cli import cli
from node.client import NodeClient
from node.config import Settings
from node.files import HomeLock
from node.networks import join
from node.trust import reader
from pac.trusted import Attachment
from peers.invite import Invite
from peers.networks import SECRET_BYTES, Network
from scripts.write_commands import leaves, schema_file
from tests.node import answers
from tests.node.command_rows import ROWS
from tests.node.commands import Started, call
from tests.node.fake_node import FakeNode
from tests.node.test_cli import running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from click.testing import Result


CONFIG: Final = """\
[bypass]
rules = ["own.example"]
[trust]
networks = ["office: gateway=10.0.0.1 mac=00:11:22:aa:bb:cc"]
"""
EACH: Final = pytest.mark.parametrize("command", ROWS)


class Place:
    """A home with a private network `work`, a rule, and a trusted network `office`; and files beside it.

    Args:
        folder: is made.
    """

    def __init__(self, folder: Path) -> None:
        self.home, self._folder = folder / "home", folder
        (folder / "empty").mkdir(parents=True)
        (folder / "list").write_text("a.example\n! a remark\n")
        (folder / "nothing").write_text("! a remark\n")
        self.home.mkdir()
        (self.home / "config.toml").write_text(CONFIG)
        invites = [Invite(Network("work", secret * SECRET_BYTES)) for secret in (b"1", b"2")]
        join(self.home, invites[0])
        self.names = {"INVITE": invites[0].encode(), "OTHER": invites[1].encode(), "HOME": str(self.home)}
        self.names |= {"FILE": str(folder / "list"), "EMPTY": str(folder / "nothing")}

    def call(self, command: str, *arguments: str) -> Result:
        given = [self.names.get(each, each.replace("FOLDER", str(self._folder))) for each in arguments]
        home = ["--home", str(self.home)] if ROWS[command].home and "--home" not in arguments else []
        return call(*command.split(), *given, *home)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: Started) -> Place:
    """Nothing here starts a process, asks the system or changes it."""

    async def read_once() -> Attachment:
        return Attachment("eth0", "10.0.0.1", "00:11:22:aa:bb:cc", period=(2, 1))

    started.status, started.code = answers.STATUS | {"pid": 7}, 0
    facts = {"proxy": "127.0.0.1:4", "pac": "", "control": "", "token_file": "", "home": "/h", "tariff": 2}
    process = {"role": "relay", "pid": 8, "peer_id": answers.PEER_ID, "address": "", "home": "/h/r", "engine": "e"}
    facts |= {"engine": "e", "processes": [process]}
    monkeypatch.setattr("node.demo.run", lambda _options, announce, _say: announce(facts))
    monkeypatch.setattr(reader, "read_once", read_once)
    monkeypatch.setattr(background, "stop", lambda _home, _progress: True)
    monkeypatch.setattr(cli_watch, "ask", lambda home: _Watched(home))
    for name in ("XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "user"))
    monkeypatch.delenv("MACROVPN_HOME", raising=False)
    monkeypatch.setattr(login.Autostart, "start", lambda _self: False)
    return Place(tmp_path / "place")


class _Watched(NodeClient):
    """A node that tells two things, after which the user has seen enough."""

    def events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        yield "status", self.status()
        yield "second", answers.SECOND
        raise KeyboardInterrupt


def fits(command: str, result: Result) -> None:
    """Hold every line of an answer against the schema that is shipped."""
    assert result.stdout, result.output
    assert result.exit_code in (0, ROWS[command].ends)
    schema = json.loads(schema_file(command).read_text(encoding="utf-8"))
    for line in result.stdout.splitlines():
        assert line.isascii()
        Draft202012Validator(schema).validate(json.loads(line))


def failed(result: Result, words: str, code: int = 1) -> None:
    """A failure is a reason on standard error, and nothing else."""
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    assert words in " ".join(result.stderr.split())
    assert "Error: " in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.endswith("\n")


def test_no_command_is_left_out() -> None:
    assert set(ROWS) == {name for name, _ in leaves()}


@EACH
def test_good_input(place: Place, command: str) -> None:
    with running(place.home, FakeNode(Settings(), "")):
        for arguments in ROWS[command].good:
            told = place.call(command, *arguments, "--json")
            fits(command, told)
    again = Place(place.home.parent / "again")
    with running(again.home, FakeNode(Settings(), "")):
        said = again.call(command, *ROWS[command].good[0])
        assert said.exit_code in (0, ROWS[command].ends), said.output
        assert said.stdout.strip()
        assert said.stdout != told.stdout


@EACH
def test_bad_and_missing_input(place: Place, command: str) -> None:
    row = ROWS[command]
    with running(place.home, FakeNode(Settings(), "")):
        for case in row.bad:
            failed(place.call(command, *case.arguments, "--json"), case.words, case.code)
        if row.missing:
            failed(place.call(command, "--json"), row.missing, 2)
        failed(place.call(command, "--nonsense"), "No such option '--nonsense'", 2)


@pytest.mark.long
@EACH
def test_without_a_node(place: Place, command: str) -> None:
    result = place.call(command, *ROWS[command].good[0], "--json")
    if ROWS[command].asks:
        failed(result, f"No node runs in {place.home}. Start one with `macrovpn up --home {place.home}`.")
    elif command == "wallet books":
        failed(result, "No node runs below")
    else:
        fits(command, result)


@pytest.mark.long
@EACH
def test_beside_a_node_that_starts(place: Place, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_ask, "START_WAIT_S", 0.0)
    if not (ROWS[command].asks or command == "status"):
        return
    lock = HomeLock(place.home)
    lock.acquire()
    result = place.call(command, *ROWS[command].good[0], "--json")
    lock.release()
    if command == "status":
        assert json.loads(result.stdout)["state"] == "connecting"
    else:
        failed(result, "is still starting. Try again")


@contextmanager
def silent(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A node that takes connections and answers nothing; whoever asks it has little patience."""
    whole = client._opener

    class Hasty:
        def open(self, request: Any, timeout: float) -> Any:
            assert timeout > 0
            return whole().open(request, timeout=0.01)

    monkeypatch.setattr(client, "_opener", Hasty)
    lock = HomeLock(home)
    lock.acquire()
    with ExitStack() as stack, socket.create_server(("127.0.0.1", 0)) as server:
        stack.callback(lock.release)
        token = home / "control.token"
        token.write_text("0\n")
        facts = {"url": f"http://127.0.0.1:{server.getsockname()[1]}", "token_file": str(token)}
        (home / "control.json").write_text(json.dumps(facts | {"pid": (home / "node.lock").read_text()}))
        yield


@pytest.mark.long
@EACH
def test_beside_a_silent_node(place: Place, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asks = ROWS[command].asks or command in ("status", "config list", "config get", "config set")
    writes = command in ("bypass add", "bypass remove", "trust add", "trust remove", "bypass import")
    if not (asks or writes):
        return
    with silent(place.home, monkeypatch):
        result = place.call(command, *ROWS[command].good[0], "--json")
    failed(result, f"does not answer. `macrovpn down --home {place.home}` ends it.")
    assert ("are written, but the running node does not go by them yet." in result.stderr) is writes


def test_beside_a_node_that_is_off(place: Place, started: Started) -> None:
    node = FakeNode(Settings(), "")
    with running(place.home, node):
        assert place.call("off").exit_code == 0
        failed(place.call("hop"), "Switch it on where you switched it off")
        for command in (["up", "--mode", "speed"], ["up", "--as-left"], ["up", "--foreground"], ["share"]):
            failed(place.call(*command), f"is switched off. Switch it on with `macrovpn on --home {place.home}`.")
        assert not started.here + started.away
        status = json.loads(place.call("status", "--json").stdout)
        assert (status["state"], status["exit_region"]) == ("down", "NL")
        assert place.call("on").exit_code == 0
        assert place.call("hop").exit_code == 0
        assert place.call("off").exit_code == 0
        result = place.call("up", "--json")
        assert "It was switched off, and is switched on again." in result.stderr
        assert json.loads(result.stdout)["state"] == "up"
        assert not started.here + started.away
        assert json.loads(place.call("status", "--json").stdout)["state"] != "down"


def test_options_of_a_group_are_not_lost(place: Place) -> None:
    failed(call("wallet", "--home", place.home, "claim"), "Options stand at the end: macrovpn wallet claim --…", 2)


def test_what_a_dead_node_left_behind_is_not_told_the_token(place: Place) -> None:
    """Its port may be another user's by now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.0)
        (place.home / "control.token").write_text("0\n")
        facts = {"url": f"http://127.0.0.1:{server.getsockname()[1]}", "pid": 1}
        (place.home / "control.json").write_text(json.dumps(facts | {"token_file": str(place.home / "control.token")}))
        for command, row in ROWS.items():
            if row.asks:
                failed(place.call(command, *row.good[0]), "No node runs in")
        with pytest.raises(BlockingIOError):
            server.accept()


def test_what_takes_long_says_so(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(cli_ask, "SILENT_S", 0.0)
    monkeypatch.setattr(cli_ask, "say", said.append)
    lock = HomeLock(place.home)
    lock.acquire()
    monkeypatch.setattr(cli_ask, "START_WAIT_S", 0.2)
    failed(place.call("hop"), "is still starting")
    lock.release()
    assert said == ["The node is starting …"]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (PermissionError(13, "x", "/h/node.lock"), "/h/node.lock: Permission denied."),
        (OSError(28, "x"), "The system refuses: No space left on device."),
        (ValueError("secret.example"), "This is a mistake in macrovpn: ValueError at test_commands.py:"),
        (ExceptionGroup("x", [KeyError("secret.example")]), "This is a mistake in macrovpn: KeyError."),
    ],
)
def test_nobody_is_shown_a_traceback(
    place: Place, monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    def broken(*_: object) -> bool:
        raise error

    monkeypatch.setattr(background, "stop", broken)
    result = place.call("down")
    failed(result, sentence)
    assert "secret.example" not in result.stderr


def test_help_is_whole() -> None:
    """Each command says in one line what it does, and each option what it is for, its unit and its default."""

    def look(command: Any, words: str) -> None:
        for name, child in getattr(command, "commands", {}).items():
            assert not child.get_short_help_str(62).endswith("..."), f"{name}: too long for 80 columns"
            look(child, f"{words} {name}")
        result: Callable[..., Result] = call
        text = " ".join(result(*words.split(), "--help").stdout.split())
        for option in command.params:
            if option.param_type_name != "option":
                continue
            assert option.help, (words, option.name)
            remark = option.get_help_record(option_context(command, words))[1]
            assert option.is_flag or option.multiple or "default" in remark, (words, option.name)
            assert not option.multiple or "Repeatable" in remark, (words, option.name)
            assert " ".join(option.help.split()) in text

    look(cli, "")


def option_context(command: Any, words: str) -> Any:
    import click

    return click.Context(command, info_name=words)
