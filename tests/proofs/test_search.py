"""What was planted is found, in every place and form; what was not, is not."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Final

import pytest

from tests.proofs.forms import DIGESTS, Canaries
from tests.proofs.planted import plant, plant_addresses
from tests.proofs.search import Found, search
from tests.proofs.times import Times, samples

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MARK: Final = "canary-5e81d07b"
HOST: Final = f"www.{MARK}.test"
V4: Final = "127.91.82.73"
V6: Final = "2001:db8:5e81::d07b"
MOMENT: Final = 1_795_959_876.543


def places(found: Iterable[Found]) -> set[str]:
    return {one.where.split("/")[0] for one in found}


def test_a_secret_is_found_in_every_place(tmp_path: Path) -> None:
    planted = plant(tmp_path / "planted", f"host=www.{MARK}.test")
    done = search(tmp_path / "planted", Canaries([MARK]))
    found = places(done.found)
    assert [place for place in planted if not any(name.startswith(place) for name in found)] == []
    assert done.streams >= 5
    assert done.files >= len(planted) - 2, "a link, and a log without its database, are no files of their own"
    assert search(tmp_path / "planted", Canaries(["canary-00000000"])).found == []


def test_an_address_is_found_however_it_is_written(tmp_path: Path) -> None:
    planted = plant_addresses(tmp_path / "planted", V4, V6)
    assert places(search(tmp_path / "planted", Canaries([], addresses=[V4, V6])).found) == set(planted)


@pytest.mark.parametrize("digest", DIGESTS)
def test_a_digest_is_found(tmp_path: Path, digest: str) -> None:
    for name, data in (("raw", hashlib.new(digest, HOST.encode()).digest()), ("not", os.urandom(64))):
        (tmp_path / name).write_bytes(b"x" + data)
    (tmp_path / "digits").write_text(hashlib.new(digest, HOST.encode()).hexdigest().upper())
    assert places(search(tmp_path, Canaries([], texts=[HOST])).found) == {"raw", "digits"}


def test_ports_and_sizes_are_found(tmp_path: Path) -> None:
    planted = {
        "port": b"from 127.0.0.1:41234",
        "multiaddr": b"/ip4/127.0.0.1/udp/41234/quic-v1",
        "socket": bytes([2, 0]) + (41234).to_bytes(2) + bytes([127, 0, 0, 1]),
        "size": b"3141593 bytes",
        "size, packed": b"x" + (3_141_593).to_bytes(8, "little"),
    }
    for name, data in planted.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "others").write_bytes(b"41234 3141592 127.0.0.1:41235")
    assert places(search(tmp_path, Canaries([], ports=[41234], sizes=[3_141_593])).found) == set(planted)


def test_a_secret_across_two_pieces_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.proofs.search.STEP", 64)
    monkeypatch.setattr("tests.proofs.search.OVERLAP", 32)
    for at in range(40, 70):
        (tmp_path / f"{at}").write_bytes(bytes(at) + MARK.encode())
    assert places(search(tmp_path, Canaries([MARK])).found) == {f"{at}" for at in range(40, 70)}


@pytest.mark.parametrize("form", samples(MOMENT))
def test_a_moment_is_found_in_every_form(form: str) -> None:
    data = b"\xee" * 3 + samples(MOMENT)[form] + b"\xee" * 5
    assert list(Times(MOMENT - 60, MOMENT + 60).within(data))
    assert not list(Times(MOMENT + 90, MOMENT + 120).within(data))
    assert not list(Times(MOMENT - 160, MOMENT - 90).within(data))


@pytest.mark.parametrize(
    "text",
    ["12:34 a link is up", "at 23:59:07.123 it", "on 2026-11-29", "29/Nov/2026", "[Nov 29", "29.11.2026"],
)
def test_clocks_and_dates_are_found_in_texts(text: str) -> None:
    times = Times(MOMENT - 60, MOMENT + 60)
    assert list(times.within(text.encode(), is_text=True))
    assert not list(times.within(text.encode()))
    for other in (b"127.0.0.1:45", b"[::1]:80", b"2026-11-21", b"ratio 3:1", b"logs.py:34"):
        assert not list(times.within(other, is_text=True)), other
