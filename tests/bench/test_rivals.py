"""Networks of others: their settings, and what is said when they are missing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.compare import lacking
from bench.rivals import tor
from bench.rivals.programs import await_port, missing, programs, tell

NODES = {
    name: tor.Node(name, Path("/f") / name, f"10.83.0.{number}", 25000 + number, 25100 + number)
    for number, name in enumerate(tor.PLACES, 1)
}
AUTHORITIES = "DirAuthority x\n"


def lines(name: str) -> list[str]:
    return tor.settings(NODES[name], AUTHORITIES).splitlines()


def test_everybody_knows_the_authorities_and_has_a_folder_of_its_own() -> None:
    for name in tor.PLACES:
        assert {"DirAuthority x", f"DataDirectory /f/{name}", f"Nickname bench{name}"} <= set(lines(name))


def test_only_exits_let_anything_out() -> None:
    leaves = {name for name in tor.PLACES if "ExitPolicy accept *:*" in lines(name)}
    assert leaves == set(tor.EXITS)
    assert {name for name in tor.PLACES if "ExitPolicy reject *:*" in lines(name)} == {"a1", "a2", "a3", "r1", "r2"}


def test_authorities_publish_the_parameters_of_the_public_network() -> None:
    for name in tor.PLACES:
        assert any(line.startswith("ConsensusParams cc_alg=2") for line in lines(name)) is (name in tor.AUTHORITIES)


def test_the_client_alone_has_a_proxy() -> None:
    assert [name for name in tor.PLACES if any(line == "SocksPort 127.0.0.1:25200" for line in lines(name))] == [
        "client"
    ]


def test_a_missing_program_is_named_and_how_to_get_it() -> None:
    assert missing("sh", "no-such-program") == ["no-such-program"]
    there, gone = SimpleNamespace(TOOLS=("sh",), PACKAGES="x"), SimpleNamespace(TOOLS=("sh", "nix-da"), PACKAGES="ab c")
    assert lacking(there) == ""
    assert lacking(gone) == "not measured: nix-da missing (apt-get install ab c)"


def test_programs_end_with_their_block() -> None:
    with programs() as made:
        made.start("one", ["sh", "-c", "echo said; exec sleep 60"])
        pid = made.pids["one"]
        assert Path(f"/proc/{pid}").exists()
        folder = made.folder
    assert not Path(f"/proc/{pid}").exists()
    assert not folder.exists()


def test_a_command_that_fails_says_why() -> None:
    assert tell("cat", text="what went in") == "what went in"
    with pytest.raises(SystemExit, match="sh -c echo bad >&2; exit 3: bad"):
        tell("sh", "-c", "echo bad >&2; exit 3")


def test_a_port_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.rivals.programs._OPEN_S", 0.1)
    with pytest.raises(SystemExit, match="port 1 of"):
        await_port("127.0.0.1", 1)
