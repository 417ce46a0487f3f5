"""What was found once, and is too long to keep: brackets in brackets, deeper than the parsers of libraries go."""

from __future__ import annotations

import pytest

from tests.fuzz.registry import TARGETS

DEEP = b"[" * 60_000


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("control-request", b'\x05{"a":' + DEEP),
        ("wallet-order", b'\0{"a":' + DEEP),
        ("settings-file", b"[exit]\nrules = " + DEEP[:4000]),
        ("coins", b"1e999999"),
        ("control-request", b'\0{"\xff":1}'),
        ("wallet-order", b'\0{"\xff":1}'),
    ],
    ids=range(6),
)
def test_it_is_refused(name: str, data: bytes) -> None:
    target = TARGETS[name]
    assert len(data) <= target.longest
    assert not target.run(data)
