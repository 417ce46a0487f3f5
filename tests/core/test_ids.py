"""Names of peers."""

from __future__ import annotations

from core.ids import PEER_KEY_BYTES, short


def test_short_shows_four_bytes() -> None:
    assert short(bytes(range(PEER_KEY_BYTES))) == "00010203"
