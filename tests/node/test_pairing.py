"""Codes and pairings, without a server."""

from __future__ import annotations

import hashlib
import stat
from typing import TYPE_CHECKING

import pytest

from node.control.pairing import CODE_LIFE_S, PAIRINGS_NAME, SYMBOLS, TOKEN_BYTES, Codes, Pairings

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1000.0
ORIGIN = "chrome-extension://" + "a" * 32


def test_a_code_lives_for_two_minutes() -> None:
    codes = Codes()
    code = codes.make("extension", NOW)
    assert len(code) == 9
    assert set(code.replace("-", "")) <= set(SYMBOLS)
    assert not codes.trade("extension", code, NOW + CODE_LIFE_S)
    code = codes.make("extension", NOW)
    assert codes.trade("extension", code, NOW + CODE_LIFE_S - 0.001)


@pytest.mark.parametrize("form", ["{}", " {} ", "41081-{}", "41081 {}", "{lower}", "{bare}"])
def test_people_type_codes_as_they_like(form: str) -> None:
    codes = Codes()
    code = codes.make("extension", NOW)
    assert codes.trade("extension", form.format(code, lower=code.lower(), bare=code.replace("-", "")), NOW)


def test_letters_that_look_like_digits_count_as_these() -> None:
    codes = Codes()
    code = codes.make("page", NOW)
    assert len(code) * 5 >= 128, "this one is not typed, and may be tried by programs"
    assert codes.trade("page", code.replace("0", "o").replace("1", "L"), NOW)


@pytest.mark.parametrize("text", ["", "-", "\ud800", "\0" * 64, "É" * 8, "0" * 64])
def test_what_is_no_code_is_wrong(text: str) -> None:
    codes = Codes()
    codes.make("extension", NOW)
    assert not codes.trade("extension", text, NOW)
    assert not codes.trade("page", text, NOW), "there is none"


def test_only_a_digest_is_kept(tmp_path: Path) -> None:
    name, token = Pairings(tmp_path).add(ORIGIN)
    path = tmp_path / PAIRINGS_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(bytes.fromhex(token)) == TOKEN_BYTES
    text = path.read_text()
    assert token not in text
    assert text == f'[{{"id":"{name}","origin":"{ORIGIN}","digest":"{hashlib.sha256(token.encode()).hexdigest()}"}}]\n'
    again = Pairings(tmp_path)
    found = again.find(token)
    assert found is not None
    assert (found.id, found.origin) == (name, ORIGIN)
    assert again.find(token[:-1]) is None
    assert again.find(found.digest) is None
    assert again.revoke(name)
    assert not again.revoke(name)
    assert Pairings(tmp_path).find(token) is None


@pytest.mark.parametrize(
    "data",
    [b"", b"[", b"{}", b'[{"id": 1}]', b'[{"id": "a", "origin": "b", "digest": "c"}]', b'[{"\xff": 1}]', b"[" * 99_999],
    ids=lambda data: data[:10].hex(),
)
def test_a_damaged_file_lets_nobody_in(tmp_path: Path, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / PAIRINGS_NAME).write_bytes(data)
    assert list(Pairings(tmp_path)) == []
    assert (tmp_path / f"{PAIRINGS_NAME}.bad").read_bytes() == data
    assert "pair them again" in caplog.text
