"""A hop on a path."""

from __future__ import annotations

from core.ids import PeerKey
from tunnel.path import Hop


def test_a_hop_shows_neither_keys_nor_addresses() -> None:
    hop = Hop(PeerKey(bytes(range(32))), b"link" * 8, b"onion---" * 4, (("192.0.2.1", 4433),))
    assert repr((hop,)) == "(Hop(00010203),)"
    assert f"{hop}" == "Hop(00010203)"
