"""Keys, tokens, codes and passwords: their files are closed to others, nothing shows them by accident, and no program
that is started gets them. docs/supply-chain.md lists them."""

from __future__ import annotations

import ast
import logging
import os
import re
import stat
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import pytest

from core.ids import PeerKey
from core.processes import SETTING_PREFIX
from ledger.books import PayerChannel
from ledger.payer import OwnChannel
from ledger.store_file import open_file
from ledger.voucher import SigningKey
from ledger.wallet_key import WalletKey
from node import desktops
from node.channel_keys import ChannelKeys
from node.config import load
from node.config_edit import set_value
from node.control.pairing import Codes, Pairings
from node.control.shapes import Code, GivenCode, PairedToken, Token
from node.files import load_token, make_home
from node.networks import join
from node.settlements import wallet_key
from peers.guard_store import save
from peers.guards import PinnedHops
from peers.identity import Identity
from peers.invite import Invite
from peers.networks import Network
from peers.onion import OnionKeys
from tests.node.commands import answer, call
from tunnel.control import LinkUp
from tunnel.frames import Position, Resume
from tunnel.service import TunnelParts
from tunnel.wireguard.handshake import Keys
from tunnel.wireguard.noise import Symmetric

if TYPE_CHECKING:
    from collections.abc import Callable

    from node.settings import Settings

ROOT: Final = Path(__file__).resolve().parents[2]
SECRET: Final = bytes(range(0x80, 0xA0))
PASSWORD: Final = "canary-of-a-password"
PACKAGES: Final = ("core", "pac", "ledger", "tunnel", "peers", "exits", "proxy", "node")


# -- files

FILES: Final[dict[str, Callable[[Path], object]]] = {
    "keys/*.key": lambda home: (Identity.load(home / "keys"), OnionKeys(home / "keys", 0, 0)),
    "wallet.key": wallet_key,
    "control.token": lambda home: load_token(home / "control.token", 32),
    "pac.token": lambda home: load_token(home / "pac.token", 16),
    "pairings": lambda home: Pairings(home).add("chrome-extension://a"),
    "config.toml": lambda home: set_value(home, "proxy.password", PASSWORD),
    "networks/home/network": lambda home: join(home, Invite(Network("home", SECRET))),
    "guards": lambda home: save(home / "guards", PinnedHops()),
    "money.db": lambda home: open_file(home / "money.db")[0].close(),
}
"""What has secrets in it, and how it is made."""


@pytest.mark.parametrize("pattern", FILES)
def test_files_are_closed_to_others(tmp_path: Path, pattern: str) -> None:
    """Whatever the umask is, and without anything left over."""
    before = os.umask(0)
    try:
        home = make_home(tmp_path / "home")
        FILES[pattern](home)
    finally:
        os.umask(before)
    made = {path: stat.S_IMODE(path.lstat().st_mode) for path in (home, *home.rglob("*"))}
    assert any(path.match(pattern) for path in made if path.is_file())
    assert {mode for path, mode in made.items() if path.is_file()} == {0o600}
    assert {mode for path, mode in made.items() if path.is_dir()} == {0o700}
    assert not [path for path in made if path.name.startswith(".")]


# -- what shows itself


def settings() -> Settings:
    return load(Path("/nowhere"), {"proxy.password": PASSWORD, "payments.rpc": f"http://a:{PASSWORD}@127.0.0.1:1/"}, {})


def shown() -> list[object]:
    """One of each thing that holds a secret."""
    keys = Keys(SECRET, SECRET, 1, 2, SECRET, SECRET)
    network = Network("home", SECRET)
    codes = Codes()
    codes.make("page", 0)
    return [
        keys,
        LinkUp(b"", keys),
        Symmetric(SECRET, SECRET),
        Resume(SECRET[:16], SECRET[:16], 1, Position(0, 0, 0, False)),
        TunnelParts(address_ok=bool, preshared=SECRET),
        Identity.ephemeral(),
        network,
        Invite(network),
        SigningKey(SECRET),
        WalletKey(SECRET.hex(), "a file"),
        ChannelKeys(SECRET),
        PayerChannel(SECRET, PeerKey(SECRET), SECRET, SECRET[:20], SECRET, 1),
        OwnChannel(b"c" * 32, SigningKey(SECRET), 1),
        settings(),
        msgspec.structs.asdict(settings()),
        codes,
        codes._codes,
        Code(code=PASSWORD),
        GivenCode(code=PASSWORD, valid_s=1),
        Token(token=PASSWORD),
        PairedToken(token=PASSWORD, id="a"),
    ]


@pytest.mark.parametrize("number", range(len(shown())))
def test_nothing_shows_its_secret(number: int, caplog: pytest.LogCaptureFixture) -> None:
    """As text, in a log, in an error and its traceback."""
    thing = shown()[number]
    try:
        raise ValueError(thing)
    except ValueError as error:
        trace = "".join(traceback.format_exception(error))
        logging.getLogger("test").error("found %s", thing, exc_info=True)
    for text in (repr(thing), str(thing), f"{thing}", trace, caplog.text):
        assert text
        for secret in (repr(SECRET)[2:-1], repr(SECRET[:16])[2:-1], SECRET.hex(), SECRET[:16].hex(), PASSWORD):
            assert secret not in text
        assert not re.search("symbols='", text)


def test_a_secret_setting_is_not_shown(tmp_path: Path) -> None:
    where = ("--home", tmp_path)
    for name, value in (("proxy.password", PASSWORD), ("payments.rpc", f"http://a:{PASSWORD}@127.0.0.1:1/")):
        said = call("config", "set", name, value, *where)
        assert said.exit_code == 0
        assert PASSWORD not in said.output
        assert PASSWORD not in call("config", "list", *where).output
        assert PASSWORD in call("config", "get", name, *where).output


def test_a_secret_need_not_stand_in_a_command(tmp_path: Path) -> None:
    """`ps` shows the arguments of all processes to everybody."""
    from click.testing import CliRunner

    from node.cli import cli

    arguments = ["config", "set", "proxy.password", "-", "--home", str(tmp_path)]
    assert CliRunner().invoke(cli, arguments, input=f"{PASSWORD}\n").exit_code == 0
    assert answer("config", "get", "proxy.password", "--home", tmp_path)["value"] == PASSWORD


# -- programs that are started

STARTS: Final = {"Popen", "run", "create_subprocess_exec", "create_subprocess_shell", "check_output", "system"}
OURS: Final = {"node/background.py"}
"""Starts the node itself, which reads settings."""


def starts() -> list[tuple[str, ast.Call]]:
    found: list[tuple[str, ast.Call]] = []
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="subprocess" | "os"), attr=name)) if name in STARTS:
                    found.append((path.relative_to(ROOT).as_posix(), node))
                case ast.Call(func=ast.Attribute(attr=name)) if name.startswith("create_subprocess"):
                    found.append((path.relative_to(ROOT).as_posix(), node))
    return found


def test_every_program_gets_an_environment_of_its_own() -> None:
    found = starts()
    assert len(found) > 4
    without = {file for file, call_ in found if not any(word.arg == "env" for word in call_.keywords)}
    assert without == OURS


def test_settings_are_not_given_to_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACROVPN_PROXY_PASSWORD", PASSWORD)
    monkeypatch.setenv("MACROVPN_WALLET_KEY", SECRET.hex())
    said = desktops.run(["env"])
    assert "PATH=" in said
    assert SETTING_PREFIX not in said
