"""The bytes that transfers carry."""

from __future__ import annotations

import hashlib

import pytest

from bench.content import STEP_S, content, digest, due

SIZE = 3_000_001


def test_content_is_the_same_however_it_is_cut() -> None:
    whole = b"".join(content(0, SIZE))
    assert len(whole) == SIZE
    cut = b"".join(b"".join(content(start, min(SIZE, start + 70_001))) for start in range(0, SIZE, 70_001))
    assert cut == whole
    assert digest(SIZE) == hashlib.sha256(whole).hexdigest()


def test_a_shift_by_a_power_of_two_shows() -> None:
    whole = b"".join(content(0, SIZE))
    assert all(whole[: 1 << 16] != whole[1 << power :][: 1 << 16] for power in range(21))


@pytest.mark.parametrize(
    ("rate", "elapsed", "sent"), [(0, 0.0, 1000), (100, 0.0, 1), (100, 2.0, 201), (100, 99.0, 1000)]
)
def test_a_paced_sender_keeps_to_its_rate(rate: int, elapsed: float, sent: int) -> None:
    assert STEP_S == 0.01
    assert due(1000, rate, elapsed) == sent
