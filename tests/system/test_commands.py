"""What the commands print with `--json` beside real nodes, held against the schemas that are shipped."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema_rs import Draft202012Validator

from node.cli_answers import ANSWERS
from node.trust import reader
from pac.trusted import Attachment
from scripts.write_commands import schema_file
from tests.harness.demo import ROOT, Demo, command
from tests.node.commands import answer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.system, pytest.mark.long]

NO_DHT = ("--no-dht", "--port", "0", "--allow-address", "127.0.0.0/8")
OTHERWISE = {"trust confirm"}
"""Refused on a network that is not trusted; its shape is that of a part of `status`."""


class Answers:
    """Holds answers against schemas, and notes of which commands there were some."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def check(self, name: str, value: dict[str, Any]) -> None:
        self.seen.add(name)
        Draft202012Validator(json.loads(schema_file(name).read_text(encoding="utf-8"))).validate(value)

    def ask(self, home: Path | str, name: str, *arguments: object) -> None:
        self.check(name, answer(*name.split(), *arguments, "--home", home))

    def lines(self, home: Path | str, name: str, *arguments: str, enough: int) -> list[dict[str, Any]]:
        """Read lines of a command that goes on, and end it with Ctrl-C."""
        program = [sys.executable, "-m", "node", *name.split(), *arguments, "--json", "--home", str(home)]
        with subprocess.Popen(
            program, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout is not None
            found = [json.loads(process.stdout.readline()) for _ in range(enough)]
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        for line in found:
            self.check(name, line)
        return found


def test_real_answers_fit_their_schemas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def read_once() -> Attachment:
        return Attachment("eth0", "10.0.0.1", "00:11:22:aa:bb:cc", period=(2, 1))

    monkeypatch.setattr(reader, "read_once", read_once)
    for name in ("XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "user"))
    (tmp_path / "list").write_text("a.example\n! a remark\n")
    found, own = Answers(), tmp_path / "own"
    with Demo("--relays", "2", "--exits", "1", "--tariff", "2", log=tmp_path / "log") as demo:
        found.check("demo", demo.facts)
        homes = {process["role"]: process["home"] for process in demo.facts["processes"]}
        for home in homes.values():
            for name in ("status", "route", "peers", "wallet", "config list", "network list"):
                found.ask(home, name)
        found.ask(demo.home, "route", "--explain")
        found.ask(demo.home, "pair", "--list")
        found.ask(demo.home, "wallet cap", "none")
        for name in ("hop", "pac", "env", "trust list", "trust here", "doctor", "pair", "dashboard", "off", "on"):
            found.ask(demo.home, name)
        found.ask(demo.home, "bypass add", "a.example", "--preset", "banking")
        found.ask(demo.home, "bypass import", tmp_path / "list", "--name", "ads")
        found.ask(demo.home, "bypass list", "--all")
        found.ask(demo.home, "bypass test", "https://a.example/")
        found.ask(demo.home, "bypass remove", "a.example")
        found.ask(demo.home, "trust add", "office")
        found.ask(demo.home, "trust remove", "office")
        found.ask(demo.home, "config get", "tunnel.mode")
        for name, value in (("tunnel.regions", "NL,DE"), ("node.engine", "aioquic"), ("tunnel.regions", "")):
            found.ask(demo.home, "config set", name, value)
        events = found.lines(demo.home, "status", "--watch", enough=3)
        assert {event["event"] for event in events} == {"status", "second"}
        found.ask(demo.home, "wallet claim")
        found.ask(demo.home, "wallet deposit", "1")
        found.ask(demo.home, "wallet export", tmp_path / "backup")
        found.check("wallet books", answer("wallet", "books", demo.home))
        found.ask(demo.home, "wallet close")
    assert found.lines(own, "up", "--foreground", *NO_DHT, enough=1)[0]["state"] == "blocked", "there is no peer"
    found.lines(own, "share", "--role", "relay", *NO_DHT, enough=2)
    found.check("share", command("share", "--background", "--role", "relay", *NO_DHT, home=own))
    found.ask(own, "status")
    found.check("down", command("down", home=own))
    invite = answer("network", "create", "home", "--home", own)
    found.check("network create", invite)
    found.ask(own, "network invite", "home")
    found.ask(own, "network join", invite["invite"], "--as", "work")
    found.ask(own, "network leave", "work", "--yes")
    for name in ("service install", "service status", "service remove"):
        found.ask(own, name)
    found.check("completion", answer("completion", "zsh"))
    assert found.seen == set(ANSWERS) - OTHERWISE
