"""A laptop that sleeps and wakes up, where it was or elsewhere: nothing goes direct, nothing hangs, and it goes on."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import pytest

from tests.harness.asleep import Sleeper
from tests.harness.namespaces import why_not
from tests.harness.roaming import WEB, Journey

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

NAP_S: Final = 10.0
"""Longer than the exit keeps a link on which nothing comes."""
NIGHT_S: Final = 65.0
"""Longer than the exit keeps flows without a path."""
AWAKE_S: Final = 15.0
"""Within so long after it has woken up the node must work, and must have ended what cannot go on."""
PENDING: Final = 8


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[Journey]:
    if reason := why_not("nft", "curl", "gcc"):
        pytest.skip(reason)
    with Journey(tmp_path) as built:
        yield built


@pytest.fixture
def sleeper(journey: Journey, tmp_path: Path) -> Iterator[Sleeper]:
    with Sleeper(journey, tmp_path) as made:
        yield made


def goes_on(process: subprocess.Popen[bytes], count: int = 5) -> bool:
    """Whether so many bytes more come of a page that has no end."""
    assert process.stdout is not None
    return len(process.stdout.read(count)) == count


@pytest.mark.parametrize(
    ("seconds", "moves"),
    [
        (NAP_S, True),
        pytest.param(NAP_S, False, marks=pytest.mark.long),
        pytest.param(NIGHT_S, True, marks=pytest.mark.long),
    ],
)
def test_a_laptop_sleeps_and_wakes_up(journey: Journey, sleeper: Sleeper, seconds: float, moves: bool) -> None:
    before = len(journey.asked_from())
    with ExitStack() as stack:
        running = stack.enter_context(sleeper.fetching("hold"))
        assert goes_on(running, len(WEB))
        with sleeper.asleep(seconds):
            pending = [stack.enter_context(sleeper.fetching("")) for _ in range(PENDING)]
            if moves:
                journey.go_to(Journey.AWAY)
        took_s = sleeper.until_it_works(AWAKE_S)
        answers = [process.communicate(timeout=AWAKE_S)[0].decode() for process in pending]
        assert set(answers) <= {WEB, ""}, "answered through the tunnel, or refused"
        if seconds == NAP_S:
            assert goes_on(running), "the exit has kept it"
        else:
            assert running.communicate(timeout=AWAKE_S)[0].count(b".") <= 20, "what the exit has given up ends"
    assert set(journey.asked_from()[before:]) == {WEB}, "nobody was asked directly"
    print(f"{seconds:.0f} s, moves {moves}: works after {took_s:.1f} s, {answers.count(WEB)} of {PENDING} answered")
