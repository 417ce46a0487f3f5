"""The wallet's key is read from where only its owner can read it, and shown to nobody."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pytest

from core.errors import ConfigError
from ledger.wallet_key import VARIABLE, WalletKey, read_wallet_key, take_wallet_key

if TYPE_CHECKING:
    from pathlib import Path

SECRET: Final = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
ACCOUNT: Final = "2c7536e3605d9c16a7a3d7b1898e529396a65c23"
"""From the documentation of web3.js (`eth.accounts.privateKeyToAccount`)."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "wallet"
    made.write_text(SECRET + "\n")
    made.chmod(0o600)
    return made


@pytest.mark.parametrize("text", [SECRET, f"0x{SECRET}", f" {SECRET.upper()}\n"])
def test_a_key(text: str) -> None:
    key = WalletKey(text, "test")
    assert key.account.hex() == ACCOUNT
    assert key.reveal().hex() == SECRET


@pytest.mark.parametrize(
    "text",
    [
        "",
        SECRET[1:],
        SECRET + "00",
        "0x0x" + SECRET[4:],
        "g" + SECRET[1:],
        SECRET[:32] + " " + SECRET[32:],
        "0" * 64,
        "f" * 64,
        "é" * 64,
    ],
)
def test_no_key(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        WalletKey(text, "wallet.key")
    assert error.value.where == "wallet.key"
    assert not text or text not in str(error.value)
    assert error.value.__cause__ is None


def test_a_key_shows_itself_to_nobody() -> None:
    key = WalletKey(SECRET, "test")
    for shown in (repr(key), str(key), f"{key!r} {key}", repr([key]), repr({"key": key})):
        assert SECRET not in shown
        assert str(bytes.fromhex(SECRET)) not in shown
    assert repr(key) == "WalletKey([redacted])"
    assert not hasattr(key, "__dict__")


def test_a_file_of_its_owner(path: Path) -> None:
    assert read_wallet_key(path).account.hex() == ACCOUNT
    path.chmod(0o400)
    assert read_wallet_key(path).account.hex() == ACCOUNT


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601])
def test_a_file_that_others_can_reach_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_wallet_key(path)


def test_what_is_no_file_is_refused(path: Path, tmp_path: Path) -> None:
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(path)
    os.mkfifo(pipe, 0o600)
    for wrong in (link, pipe, tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigError):
            read_wallet_key(wrong)


def test_a_file_of_somebody_else_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(ConfigError, match="the user who runs this"):
        read_wallet_key(path)


def test_a_file_without_a_key_is_refused(path: Path) -> None:
    for content in (b"", b"\xff" * 200, SECRET.encode() * 3):
        path.write_bytes(content)
        with pytest.raises(ConfigError):
            read_wallet_key(path)


def test_the_environment_keeps_no_key() -> None:
    environment = {VARIABLE: SECRET, "HOME": "/"}
    key = take_wallet_key(environment)
    assert key is not None
    assert key.account.hex() == ACCOUNT
    assert environment == {"HOME": "/"}
    assert take_wallet_key(environment) is None
    broken = {VARIABLE: SECRET[1:]}
    with pytest.raises(ConfigError) as error:
        take_wallet_key(broken)
    assert broken == {}
    assert SECRET[1:] not in str(error.value)
