"""The local port by itself, measured for a moment: every figure comes, and the work of a connection is bounded."""

from __future__ import annotations

from argparse import Namespace

import pytest

from bench import front
from bench.front_ends import DOWN, UP, WORDS, Words

MOST_CPU_US = 1000
"""Of the port for one connection. It takes a sixth of that (docs/design/0029-local-port.md)."""


def test_every_figure_comes() -> None:
    options = Namespace(pipes=["tcp"], runs=1, size=2_000_000, first_bytes=10, connections=200, at_once=20)
    found = front.run(options, [])["tcp"]
    assert {"direct", "socks", "connect", "added_p50"} == set(found["first_byte_ms"])
    assert {f"{way}_{direction}" for way in ("direct", "socks") for direction in ("down", "up")} == set(found["MBps"])
    assert all(found["per_s"][way]["median"] > 0 for way in ("direct", "socks", "connect"))
    assert all(found["per_s"][f"{way}_cpu_us"]["median"] < MOST_CPU_US for way in ("socks", "connect"))


@pytest.mark.parametrize("step", [1, 5, 64])
def test_words_are_read_in_any_pieces(step: int) -> None:
    for said, answer in ((WORDS.pack(DOWN, 7), 7), (WORDS.pack(UP, 20) + bytes(20), 1)):
        words = Words()
        for at in range(0, len(said), step):
            assert not words.to_send
            words.came(said[at : at + step])
        assert words.to_send == answer
