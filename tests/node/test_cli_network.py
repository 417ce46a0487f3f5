"""`macrovpn network` as a user types it, and `--network` at other commands."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import pytest

from node import cli_network
from node.networks import membership, names
from peers.invite import Introduction, Invite
from tests.node.commands import answer, call
from tests.node.test_cli import running
from tests.node.test_control import Node
from tests.peers.build import identity

if TYPE_CHECKING:
    from pathlib import Path

    from peers.networks import Network

PEER = Introduction(identity(1).peer, identity(1).link_key, ("203.0.113.7", 4433))


def refusal(*arguments: object, code: int = 1) -> str:
    """Run a command that must fail with one sentence and no traceback."""
    result = call(*arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    return result.stderr


def test_an_invite_brings_another_machine_in(tmp_path: Path) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    made = answer("network", "create", "home", "--home", mine)
    assert (made["name"], made["peers"]) == ("home", 0)
    joined = answer("network", "join", made["invite"], "--home", theirs)
    assert joined == {"name": "home", "home": str(theirs / "networks" / "home"), "peers": 0}
    secrets = [membership(base / "networks" / "home", "home").network.secret for base in (mine, theirs)]
    assert secrets[0] == secrets[1] == Invite.decode(made["invite"]).network.secret
    assert answer("network", "invite", "home", "--home", theirs)["invite"] == made["invite"]


def test_every_network_has_a_secret_of_its_own(tmp_path: Path) -> None:
    made = [answer("network", "create", name, "--home", tmp_path)["invite"] for name in ("one", "two")]
    assert len({Invite.decode(text).network.secret for text in made}) == 2


def test_the_invite_is_the_first_line_and_all_of_it(tmp_path: Path) -> None:
    result = call("network", "create", "home", "--home", tmp_path)
    assert Invite.decode(result.stdout).network.name == "home"
    assert "macrovpn share --network home --role exit" in result.stderr


def test_creating_twice_keeps_the_first(tmp_path: Path) -> None:
    made = answer("network", "create", "home", "--home", tmp_path)
    assert "already" in refusal("network", "create", "home", "--home", tmp_path)
    assert answer("network", "invite", "home", "--home", tmp_path)["invite"] == made["invite"]


def test_an_invite_may_come_from_standard_input(tmp_path: Path) -> None:
    """Where neither the list of processes nor the shell's history shows it."""
    from click.testing import CliRunner

    from node.cli import cli

    made = answer("network", "create", "home", "--home", tmp_path / "mine")
    arguments = ["network", "join", "-", "--home", str(tmp_path / "theirs")]
    assert CliRunner().invoke(cli, arguments, input=made["invite"] + "\n").exit_code == 0
    assert names(tmp_path / "theirs") == ["home"]


def test_another_name_of_ones_own(tmp_path: Path) -> None:
    invites = [answer("network", "create", "home", "--home", tmp_path / who)["invite"] for who in ("a", "b")]
    answer("network", "join", invites[0], "--home", tmp_path)
    assert "another network home already" in refusal("network", "join", invites[1], "--home", tmp_path)
    answer("network", "join", invites[1], "--as", "work", "--home", tmp_path)
    assert names(tmp_path) == ["home", "work"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("hello", "This is not an invite"),
        ("macrovpn1:abc", "This invite is damaged"),
        ("macrovpn9:abc", "another version"),
        ("macrovpn1:" + "a" * 3000, "This invite is damaged"),
    ],
)
def test_what_is_no_invite_is_said(tmp_path: Path, text: str, sentence: str) -> None:
    assert sentence in refusal("network", "join", text, "--home", tmp_path, code=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["Home", "a b", "../x", ""])
def test_bad_names_are_wrong_usage(tmp_path: Path, name: str) -> None:
    assert "the name of a network" in refusal("network", "create", name, "--home", tmp_path, code=2)


def test_the_public_networks_name_is_refused(tmp_path: Path) -> None:
    assert "public network" in refusal("network", "create", "main", "--home", tmp_path)


def test_the_running_node_is_asked_for_its_invite(tmp_path: Path) -> None:
    answer("network", "create", "home", "--home", tmp_path)
    home = tmp_path / "networks" / "home"
    node = Node()
    node.invite_text = Invite(membership(home, "home").network, (PEER,)).encode()
    with running(home, node):
        found = answer("network", "invite", "home", "--home", tmp_path)
        assert found == {"name": "home", "invite": node.invite_text, "peers": 1}
        listed = answer("network", "list", "--home", tmp_path)["networks"]
        assert [(one["name"], one["private"]) for one in listed] == [("main", False), ("home", True)]


def test_a_network_that_is_left_is_gone(tmp_path: Path) -> None:
    answer("network", "create", "home", "--home", tmp_path)
    asked = call("network", "leave", "home", "--home", tmp_path)
    assert (asked.exit_code, asked.stdout) == (1, "")
    assert "Go on?" in asked.stderr
    assert "Nothing was removed. With --yes nothing is asked." in asked.stderr
    assert names(tmp_path) == ["home"]
    answer("network", "leave", "home", "--yes", "--home", tmp_path)
    assert names(tmp_path) == []
    assert "in no private network" in refusal("network", "leave", "home", "--yes", "--home", tmp_path)


@pytest.mark.parametrize("command", ["up", "share", "down", "status", "route", "peers", "hop", "pac"])
def test_an_unknown_network_is_never_the_public_one(tmp_path: Path, command: str) -> None:
    assert "no private network 'home'" in refusal(command, "--network", "home", "--home", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_network_names_the_networks_own_home(tmp_path: Path) -> None:
    answer("network", "create", "home", "--home", tmp_path)
    home = tmp_path / "networks" / "home"
    assert answer("status", "--network", "home", "--home", tmp_path)["reason"] == f"no node runs in {home}"
    call("config", "set", "tunnel.hops", "1", "--network", "home", "--home", tmp_path)
    assert "hops = 1" in (home / "config.toml").read_text()
    assert not (tmp_path / "config.toml").exists()


def test_a_terminal_gets_a_code_to_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code is drawn again from what was printed: it must be that of the invite in capitals."""
    import segno

    text = Invite(membership_of(tmp_path), (PEER,)).encode()
    drawn = cli_network._qr_code(text).splitlines()
    wanted = io.StringIO()
    segno.make_qr(text.upper(), error="l", mode="alphanumeric").terminal(wanted, compact=True, border=2)
    assert drawn == wanted.getvalue().splitlines()
    assert len(drawn) < 40
    assert max(map(len, drawn)) < 80
    shown = _on_terminal(tmp_path)
    assert "▄" in shown
    assert Invite.decode(shown.splitlines()[0]).network.name == "home"


def membership_of(tmp_path: Path) -> Network:
    answer("network", "create", "home", "--home", tmp_path)
    return membership(tmp_path / "networks" / "home", "home").network


def _on_terminal(base: Path) -> str:
    """What `network invite` prints when its standard output is a terminal."""
    import pty
    import subprocess
    import sys

    reader, writer = pty.openpty()
    command = [sys.executable, "-m", "node", "network", "invite", "home", "--home", str(base)]
    with subprocess.Popen(command, stdout=writer, stderr=subprocess.DEVNULL) as process:
        os.close(writer)
        shown = b""
        try:
            while part := os.read(reader, 4096):
                shown += part
        except OSError:  # how a terminal ends on Linux
            pass
        process.wait(10)
    os.close(reader)
    return shown.decode()
