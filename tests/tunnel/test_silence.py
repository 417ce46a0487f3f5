"""How long another end has said nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.silence import LATE_S, Silence

MOMENTS = st.floats(0, 1000)


def test_without_a_question_there_is_no_silence() -> None:
    silence = Silence(0.0)
    assert (silence.since, silence.lasted(100.0)) == (None, 0.0)


def test_it_counts_from_the_question() -> None:
    silence = Silence(0.0)
    silence.asked(10.0)
    silence.asked(11.0)
    assert silence.lasted(12.0) == 2.0


def test_it_counts_from_what_was_heard_before_the_question_within_bounds() -> None:
    silence = Silence(0.0, before_s=0.5)
    silence.asked(10.0)
    assert silence.lasted(11.0) == 1.5
    silence.heard_at = 9.8
    assert silence.lasted(11.0) == pytest.approx(1.2)


def test_whatever_is_heard_ends_it() -> None:
    silence = Silence(0.0)
    silence.asked(1.0)
    silence.heard_at = 3.0
    assert silence.lasted(4.0) == 1.0
    silence.answered(5.0)
    assert silence.lasted(9.0) == 0.0


def test_time_in_which_nobody_looked_does_not_count() -> None:
    silence = Silence(0.0)
    silence.asked(0.0)
    silence.overslept(planned=1.0, now=4.0)
    assert silence.lasted(4.0) == 1.0
    assert silence.lasted(4.5) == 1.5


def test_a_timer_in_time_forgives_nothing() -> None:
    silence = Silence(0.0)
    silence.asked(0.0)
    silence.overslept(planned=1.0, now=1.0 + LATE_S / 2)
    assert silence.lasted(1.0) == 1.0


@given(st.lists(st.tuples(st.sampled_from(["ask", "hear", "answer", "late"]), st.floats(0, 5)), max_size=30))
def test_it_is_never_longer_than_the_time_since_something_was_heard_and_asked(steps: list[tuple[str, float]]) -> None:
    silence, now, heard, asked = Silence(0.0, before_s=0.5), 0.0, 0.0, None
    for step, passed in steps:
        now += passed
        match step:
            case "ask":
                silence.asked(now)
                asked = now if asked is None else asked
            case "hear":
                silence.heard_at = heard = now
            case "answer":
                silence.answered(now)
                heard, asked = now, None
            case _:
                before = silence.lasted(now)
                silence.overslept(now - passed, now)
                assert silence.lasted(now) <= before
        if asked is None:
            assert silence.lasted(now) == 0
        else:
            assert 0 <= silence.lasted(now) <= min(now - heard, now - asked + 0.5) + 1e-9
