"""Each reader of bytes from outside, with inputs of all kinds: it refuses as documented, or takes them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.registry import TARGETS

if TYPE_CHECKING:
    from tests.fuzz.target import Target

DEEP: Final = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
EXAMPLES: Final = settings.get_profile("deep").max_examples if DEEP else 10

pytestmark = pytest.mark.timeout(0 if DEEP else 120)


@st.composite
def changed(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """A good input with some places overwritten, taken out or put in, or two of them crossed."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 4)):
            case 0 if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case 1 if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case 2:
                data[at:at] = draw(st.binary(max_size=12))
            case 3:
                del data[at : at + draw(st.integers(1, 12))]
            case _:
                other = draw(st.sampled_from(seeds))
                data[at:] = other[draw(st.integers(0, len(other))) :]
    return bytes(data)


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    anything = st.binary(max_size=min(target.longest, 300))
    if not target.seeds:
        return anything
    return anything | changed(target.seeds) | changed(target.seeds)


@pytest.mark.parametrize("name", TARGETS)
def test_arbitrary_bytes(name: str) -> None:
    target = TARGETS[name]

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    )
    @given(inputs(target))
    def check(data: bytes) -> None:
        target.run(data[: target.longest])

    check()


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_taken(name: str) -> None:
    """So that the search begins where there is something to find."""
    target = TARGETS[name]
    assert all(target.run(seed) for seed in target.seeds)
    assert all(len(seed) <= target.longest for seed in target.seeds)
