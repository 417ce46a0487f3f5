"""Who is to blame, and for how long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Reason
from core.ids import PeerKey
from tunnel import blame as blame_module
from tunnel.blame import Blame, Shares, shares_of_build, shares_of_end, shares_of_silence
from tunnel.limits import AVOID_FROM, BLAME_HALF_S, MAX_BLAME, MAX_BLAMED, PROVED_S

GUARD, RELAY, EXIT, OTHER = (PeerKey(bytes([number]) * 32) for number in range(4))
PATH = [GUARD, RELAY, EXIT]
PEERS = st.sampled_from(PATH)


def silent(*peers: PeerKey) -> Shares:
    return Shares(dict.fromkeys(peers, 1.0), {})


# -- shares


@pytest.mark.parametrize(
    ("reporter", "reason", "heavy", "light"),
    [
        (-1, Reason.NEXT_HOP, [GUARD], []),
        (0, Reason.NEXT_HOP, [RELAY], [GUARD]),
        (1, Reason.NEXT_HOP, [EXIT], [RELAY]),
        (0, Reason.TIMED_OUT, [RELAY, EXIT], [GUARD]),
        (-1, Reason.TIMED_OUT, [GUARD, RELAY, EXIT], []),
        (1, Reason.BUSY, [RELAY], []),
        (2, Reason.NOT_ALLOWED, [EXIT], []),
        (0, Reason.PROTOCOL, [GUARD], []),
        (2, Reason.NEXT_HOP, [EXIT], []),
        (1, Reason.PRICE, [RELAY], []),
        (0, Reason.UNPAID, [RELAY], [GUARD]),
        (1, Reason.COUNTS_DIFFER, [EXIT], [RELAY]),
        (-1, Reason.COUNTS_DIFFER, [GUARD], []),
        (2, Reason.UNPAID, [EXIT], []),
        (0, Reason.NO_CHANNEL, [], [GUARD, RELAY]),
        (2, Reason.NO_CHANNEL, [], [EXIT]),
        (-1, Reason.NO_CHANNEL, [], [GUARD]),
        (-1, Reason.SPENDING_CAP, [], []),
    ],
)
def test_who_is_blamed_for_a_build(reporter: int, reason: Reason, heavy: list[PeerKey], light: list[PeerKey]) -> None:
    blame = Blame()
    blame.accuse(shares_of_build(PATH, reporter, reason), 0.0)
    weights = {peer: blame.weight(peer, 0.0) for peer in PATH}
    assert [peer for peer in PATH if weights[peer] >= AVOID_FROM] == heavy
    assert [peer for peer in PATH if 0 < weights[peer] < AVOID_FROM] == light


def test_who_never_has_a_channel_is_left_out_in_the_end() -> None:
    blame = Blame()
    for _ in range(6):
        blame.accuse(shares_of_build(PATH, 1, Reason.NO_CHANNEL), 0.0)
    assert blame.avoided(0.0) == [RELAY, EXIT]


def test_an_answer_that_was_changed_may_have_been_changed_on_its_way() -> None:
    assert shares_of_build(PATH, 2, Reason.PROTOCOL).fault == {GUARD: 0.25, RELAY: 0.25, EXIT: 0.5}


def test_a_silent_guard_alone_is_blamed() -> None:
    assert shares_of_silence(PATH, True, []).silence == {GUARD: 1.0}


def test_behind_a_living_guard_it_is_one_of_the_others() -> None:
    assert shares_of_silence(PATH, False, []).silence == {RELAY: 0.5, EXIT: 0.5}
    assert shares_of_silence(PATH, False, [EXIT]).silence == {RELAY: 1.0}


def test_when_all_live_nobody_is_silent() -> None:
    assert shares_of_silence(PATH, False, PATH) == shares_of_end(PATH)
    assert not shares_of_end(PATH).silence


@given(st.integers(1, 5), st.integers(-1, 4), st.sampled_from(Reason))
def test_shares_are_bounded_and_of_the_path(length: int, reporter: int, reason: Reason) -> None:
    path = [PeerKey(bytes([number]) * 32) for number in range(length)]
    shares = shares_of_build(path, min(reporter, length - 1), reason)
    for part in shares:
        assert set(part) <= set(path)
        assert 0 <= sum(part.values()) <= 1.0 + 1e-9


# -- weights


def test_blame_halves() -> None:
    blame = Blame()
    blame.accuse(silent(RELAY), 0.0)
    assert blame.weight(RELAY, BLAME_HALF_S) == pytest.approx(0.5)
    assert blame.avoided(2 * BLAME_HALF_S - 0.1) == [RELAY]
    assert blame.avoided(2 * BLAME_HALF_S + 0.1) == []


def test_a_sign_of_life_refutes_silence_that_began_before() -> None:
    blame = Blame()
    blame.accuse(silent(RELAY, EXIT), 10.0, silent_since=8.5)
    blame.proved([RELAY], 8.0, 10.1)
    assert blame.weight(RELAY, 10.1) > 0
    blame.proved([RELAY], 9.0, 10.2)
    assert (blame.weight(RELAY, 10.2), blame.avoided(10.2)) == (0.0, [EXIT])


def test_who_answered_since_is_not_accused() -> None:
    blame = Blame()
    blame.proved([EXIT], 9.0, 9.1)
    blame.accuse(silent(RELAY, EXIT), 10.0, silent_since=8.5)
    assert blame.avoided(10.0) == [RELAY]
    assert blame.alive_since(PATH, 8.5) == [EXIT]


def test_a_sign_of_life_does_not_excuse_a_fault() -> None:
    blame = Blame()
    blame.avoid(RELAY, 0.0)
    blame.proved([RELAY], 1.0, 1.0)
    assert blame.avoided(1.0) == [RELAY]


def test_who_accuses_one_after_another_is_left_out() -> None:
    blame = Blame()
    for number in range(2):
        path = [GUARD, PeerKey(bytes([10 + number]) * 32), EXIT]
        blame.accuse(shares_of_build(path, 0, Reason.NEXT_HOP), 0.0)
    assert GUARD in blame.avoided(0.0)


def test_to_confirm_costs_nothing() -> None:
    blame = Blame()
    for _ in range(5):
        blame.accuse(shares_of_build(PATH, 0, Reason.NEXT_HOP), 0.0)
    assert blame.avoided(0.0) == [RELAY]


def test_the_least_blamed_comes_back_first() -> None:
    blame = Blame()
    blame.accuse(silent(RELAY), 0.0)
    blame.accuse(silent(EXIT), 0.0)
    blame.accuse(silent(EXIT), 0.0)
    assert blame.avoided(0.0) == [RELAY, EXIT]


def test_who_lived_a_moment_ago_is_preferred_unless_blamed_since() -> None:
    blame = Blame()
    blame.proved([RELAY, EXIT], 0.0, 0.0)
    blame.accuse(silent(EXIT), 1.0)
    assert [blame.proved_lately(peer, 1.0) for peer in (RELAY, EXIT, OTHER)] == [True, False, False]
    assert not blame.proved_lately(RELAY, PROVED_S + 0.1)


def test_memory_is_bounded_and_keeps_the_heaviest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blame_module, "MAX_BLAMED", 5)
    blame = Blame()
    blame.avoid(GUARD, 0.0)
    for number in range(50):
        blame.proved([PeerKey(number.to_bytes(32))], 0.0, 0.0)
    assert len(blame) == 5
    assert blame.avoided(0.0) == [GUARD]
    assert MAX_BLAMED > 100


@given(st.lists(st.tuples(st.sampled_from(["silent", "fault", "proved"]), PEERS, st.floats(0, 20)), max_size=40))
def test_weights_stay_in_bounds_and_only_fall_by_themselves(steps: list[tuple[str, PeerKey, float]]) -> None:
    blame, now = Blame(), 0.0
    for step, peer, passed in steps:
        before = blame.weight(peer, now)
        now += passed
        assert blame.weight(peer, now) <= before
        match step:
            case "silent":
                blame.accuse(silent(peer), now)
            case "fault":
                blame.accuse(Shares({}, {peer: 1.0}), now)
            case _:
                blame.proved([peer], now, now)
        assert 0 <= blame.weight(peer, now) <= 2 * MAX_BLAME
        assert blame.avoided(now) == sorted(blame.avoided(now), key=lambda other: blame.weight(other, now))
