"""What is made of delays, rates and failures: whose they are, what a liar gains, and that nothing grows."""

from __future__ import annotations

import random
from dataclasses import replace
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import Reason
from core.ids import PeerKey
from peers.descriptor import Role
from peers.measurements import DELAY_HALF_S, MAX_MEASURED, Kind, Measurements
from peers.scores import BELIEVED_KB_S, LEANS, USUAL_FAILING, USUAL_KB_S, Figures, weight, weights
from tests.peers.build import plain

NOW = 1000.0


def key(number: int) -> PeerKey:
    return PeerKey(number.to_bytes(32))


GUARD, SECOND, EXIT, OTHER = (key(number) for number in range(1, 5))
PATH = [GUARD, SECOND, EXIT]


def figures(known: Measurements, peer: PeerKey, now: float = NOW) -> Figures:
    return known.figures(plain(int.from_bytes(peer), Role.RELAY, ()), now)


def failing(known: Measurements, peer: PeerKey, kind: Kind = Kind.BUILD) -> float:
    record = known.of(peer)
    return 0.0 if record is None else record.failing[kind].value


def evidence(known: Measurements, peer: PeerKey, kind: Kind = Kind.BUILD) -> float:
    record = known.of(peer)
    return 0.0 if record is None else record.failing[kind].evidence(NOW)


# -- what is expected of whom nothing is known


def test_nothing_is_known_of_a_new_peer() -> None:
    found = plain(1, Role.RELAY, ())
    assert Measurements().figures(found, NOW) == Figures()
    measured = Measurements()
    measured.flow_tried([found.peer], Reason.LOCAL, NOW)
    measured.link_answered(found.peer, 0.2, NOW)
    again = measured.figures(found, NOW)
    assert again.failing == pytest.approx(USUAL_FAILING)
    assert replace(again, failing=USUAL_FAILING) == Figures()


def test_distance_is_what_to_expect_until_something_else_was_measured() -> None:
    known, found = Measurements(), plain(int.from_bytes(EXIT), Role.EXIT, ())
    assert known.figures(found, NOW, 0.2) == Figures(rtt_s=0.2, expected_rtt_s=0.2)
    steps = [0.2]
    for _ in range(16):
        known.answered([EXIT], 0.02, NOW)
        steps.append(known.figures(found, NOW, 0.2).rtt_s)
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] < 0.06
    assert known.figures(found, NOW + 20 * DELAY_HALF_S, 0.2).rtt_s == pytest.approx(0.2, abs=1e-3)


def test_a_declared_capacity_is_believed_up_to_a_bound_until_another_was_shown() -> None:
    known = Measurements()
    declared = {kb_s: replace(plain(1, Role.RELAY, ()), capacity_kb_s=kb_s) for kb_s in (0, 300, 10**9)}
    assert [known.figures(found, NOW).rate_kb_s for found in declared.values()] == [USUAL_KB_S, 300, BELIEVED_KB_S]
    for _ in range(50):
        known.carried([key(1)], 200.0, NOW)
    assert known.figures(declared[10**9], NOW).rate_kb_s < 700


# -- delays


def test_each_peers_part_of_the_delay_is_found() -> None:
    """Guards are measured alone; what is left of each circuit is shared out until it fits them all."""
    parts = {key(number): part for number, part in enumerate([0.02, 0.03, 0.01, 0.15, 0.04, 0.3, 0.02])}
    guards, seconds, exits = [key(0), key(1)], [key(2), key(3)], [key(4), key(5), key(6)]
    known, rng = Measurements(), random.Random(1)
    for _ in range(600):
        path = [rng.choice(guards), rng.choice(seconds), rng.choice(exits)]
        known.link_answered(path[0], parts[path[0]], NOW)
        known.answered(path, sum(parts[peer] for peer in path) + rng.uniform(0, 0.01), NOW)
    for guard in guards:
        assert figures(known, guard).rtt_s == pytest.approx(parts[guard], abs=0.01)
    # Only differences among those that stand at the same place can be told, and only they matter.
    for place in (seconds, exits):
        found = [figures(known, peer).rtt_s for peer in place]
        true = [parts[peer] for peer in place]
        for one, other in zip(found, true, strict=True):
            assert one - found[0] == pytest.approx(other - true[0], abs=0.06)


def test_a_slow_exit_does_not_make_its_guard_look_slow() -> None:
    known = Measurements()
    for _ in range(30):
        known.link_answered(GUARD, 0.01, NOW)
        known.answered(PATH, 2.0, NOW)
    assert figures(known, GUARD).rtt_s < 0.02
    assert figures(known, EXIT).rtt_s > 0.5


def test_a_path_of_one_hop_is_all_of_the_delay() -> None:
    known = Measurements()
    for _ in range(200):
        known.answered([EXIT], 0.2, NOW)
    assert figures(known, EXIT).rtt_s == pytest.approx(0.2, abs=0.02)


def test_jitter_is_how_far_delays_stray() -> None:
    steady, shaky = Measurements(), Measurements()
    for turn in range(60):
        steady.answered([EXIT], 0.1, NOW)
        shaky.answered([EXIT], 0.05 if turn % 2 else 0.15, NOW)
    assert figures(steady, EXIT).jitter_s < 0.01
    assert figures(shaky, EXIT).jitter_s > 0.03
    assert weight(figures(shaky, EXIT), LEANS["speed"]) < weight(figures(steady, EXIT), LEANS["speed"])


def test_delays_are_forgotten_without_use() -> None:
    known = Measurements()
    for _ in range(30):
        known.answered([EXIT], 1.0, NOW)
    assert figures(known, EXIT).known
    later = figures(known, EXIT, NOW + 10 * DELAY_HALF_S)
    assert not later.known
    assert later.rtt_s < 0.1


def test_what_yesterday_has_shown_counts_today_but_failures_are_soon_forgiven() -> None:
    known = Measurements()
    for _ in range(16):
        known.answered([EXIT], 0.3, NOW)
        known.build_failed([EXIT], -1, Reason.NEXT_HOP, NOW)
    assert figures(known, EXIT).failing > 0.8
    tomorrow = figures(known, EXIT, NOW + 86_400.0)
    assert tomorrow.known
    assert tomorrow.rtt_s > 0.2
    assert tomorrow.failing == pytest.approx(USUAL_FAILING, abs=0.01)


# -- rates


def test_the_best_rate_counts_and_a_slow_destination_does_not_hide_it() -> None:
    known = Measurements()
    known.carried(PATH, 8000.0, NOW)
    known.carried(PATH, 9000.0, NOW)
    for _ in range(5):
        known.carried(PATH, 50.0, NOW)
    assert figures(known, EXIT).rate_kb_s > 4000
    for _ in range(300):
        known.carried(PATH, 50.0, NOW)
    assert figures(known, EXIT).rate_kb_s < 1200


# -- failures


def test_a_built_circuit_speaks_for_all_of_its_hops() -> None:
    known = Measurements()
    known.built(PATH, NOW)
    assert [failing(known, peer) for peer in PATH] == [0, 0, 0]
    assert [evidence(known, peer) for peer in PATH] == [1, 1, 1]


def test_a_report_is_booked_on_the_pair_and_more_on_the_reporter() -> None:
    known = Measurements()
    known.build_failed(PATH, 1, Reason.NEXT_HOP, NOW)
    assert failing(known, GUARD) == 0
    assert failing(known, SECOND) == failing(known, EXIT) == 1
    assert evidence(known, SECOND) == pytest.approx(2 / 3)
    assert 0.25 < evidence(known, EXIT) < 1 / 3


def test_what_this_node_finds_itself_is_booked_in_full() -> None:
    known = Measurements()
    known.build_failed(PATH, -1, Reason.NEXT_HOP, NOW)
    assert (failing(known, GUARD), evidence(known, GUARD)) == (1, 1)
    assert known.of(SECOND) is None


def test_a_hop_that_refuses_speaks_for_itself() -> None:
    known = Measurements()
    known.build_failed(PATH, 1, Reason.BUSY, NOW)
    assert [failing(known, peer) for peer in PATH] == [0, 1, 0]
    assert known.of(EXIT) is None


def test_what_does_not_verify_may_have_been_changed_on_its_way() -> None:
    known = Measurements()
    known.build_failed(PATH, 2, Reason.PROTOCOL, NOW)
    assert [evidence(known, peer) for peer in PATH] == [1, 1.5, 0.5]
    assert failing(known, SECOND) == pytest.approx(1 / 3)


@pytest.mark.parametrize(("reporter", "reason"), [(0, Reason.TIMED_OUT), (-1, Reason.TIMED_OUT), (-1, Reason.BUSY)])
def test_what_nobody_can_tell_is_shared_by_all_who_may_be_at_fault(reporter: int, reason: Reason) -> None:
    known = Measurements()
    known.build_failed(PATH, reporter, reason, NOW)
    assert [failing(known, peer) for peer in PATH] == [1, 1, 1]
    assert sum(evidence(known, peer) for peer in PATH) == pytest.approx(1)


@pytest.mark.parametrize(
    ("path", "shares"),
    [([EXIT], [1]), ([GUARD, EXIT], [0.5, 0.5]), (PATH, [0.2, 0.4, 0.4]), ([OTHER, *PATH], [0.1, 0.1, 0.4, 0.4])],
)
def test_an_end_without_explanation_is_mostly_the_last_twos(path: list[PeerKey], shares: list[float]) -> None:
    known = Measurements()
    known.ended(path, Reason.CLOSED, False, NOW)
    assert [evidence(known, peer, Kind.END) for peer in path] == pytest.approx(shares)
    assert all(failing(known, peer, Kind.END) == 1 for peer in path)


def test_other_ends() -> None:
    known = Measurements()
    known.ended(PATH, Reason.TIMED_OUT, True, NOW)
    assert [evidence(known, peer, Kind.END) for peer in PATH] == [1, 0, 0]
    known.ended(PATH, Reason.DONE, False, NOW)
    assert failing(known, EXIT, Kind.END) == 0
    assert failing(known, GUARD, Kind.END) == 0.5


@pytest.mark.parametrize(
    ("reason", "weighs"),
    [
        (None, 1),
        (Reason.BUSY, 1),
        (Reason.NOT_ALLOWED, 1),
        (Reason.HOST_UNREACHABLE, 0.25),
        (Reason.TIMED_OUT, 0.25),
        (Reason.LOCAL, 0),
        (Reason.CLOSED, 0),
    ],
)
def test_flows_by_reason(reason: Reason | None, weighs: float) -> None:
    known = Measurements()
    known.flow_tried(PATH, reason, NOW)
    assert known.of(GUARD) is None
    assert evidence(known, EXIT, Kind.FLOW) == weighs
    assert failing(known, EXIT, Kind.FLOW) == (reason is not None and weighs > 0)


# -- who lies


def test_a_dead_hop_is_found_and_the_honest_who_report_it_are_not_hurt() -> None:
    known, rng = Measurements(), random.Random(2)
    exits = [key(number) for number in range(10, 20)]
    seconds = [key(number) for number in range(4)]
    dead = exits[0]
    for _ in range(400):
        path = [GUARD, rng.choice(seconds), rng.choice(exits)]
        if path[-1] == dead:
            known.build_failed(path, 1, Reason.NEXT_HOP, NOW)
        else:
            known.built(path, NOW)
    assert figures(known, dead).failing > 0.6
    assert max(figures(known, second).failing for second in seconds) < 0.2
    assert weights([figures(known, peer) for peer in exits], LEANS["balanced"])[0] == 0


def accused_by_a_liar(known: Measurements, honest: list[PeerKey], friends: list[PeerKey]) -> None:
    """A guard says of all honest exits that they are dead, and lets its friends through."""
    rng = random.Random(3)
    for _ in range(300):
        end = rng.choice([*honest, *friends])
        if end in honest:
            known.build_failed([GUARD, end], 0, Reason.NEXT_HOP, NOW)
        else:
            known.built([GUARD, end], NOW)


def test_a_guard_that_accuses_everybody_is_believed_less_and_less() -> None:
    honest, friends = [key(number) for number in range(100, 120)], [key(number) for number in range(200, 205)]
    known = Measurements()
    accused_by_a_liar(known, honest, friends)
    assert figures(known, GUARD).failing > 0.6
    left = [figures(known, peer) for peer in honest]
    assert mean(each.failing for each in left) < 0.5
    found = weights([*left, *(figures(known, peer) for peer in friends)], LEANS["balanced"])
    # By head count, honest exits would be drawn 80 % of the time.
    assert sum(found[:20]) / sum(found) > 0.5


# -- bounds


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 9), min_size=1, max_size=5, unique=True),
            st.integers(-1, 4),
            st.sampled_from(list(Reason)),
            st.floats(0, 1e4),
        ),
        max_size=60,
    )
)
def test_whatever_happens_figures_stay_within_their_bounds(
    events: list[tuple[list[int], int, Reason, float]],
) -> None:
    known, now = Measurements(), 0.0
    for numbers, reporter, reason, pause in events:
        path = [key(number) for number in numbers]
        now += pause
        known.build_failed(path, min(reporter, len(path) - 1), reason, now)
        known.ended(path, reason, reporter < 0, now)
        known.flow_tried(path, reason, now)
        known.answered(path, pause / 1000, now)
        known.carried(path, pause, now)
        for peer in path:
            found = figures(known, peer, now)
            assert 0 <= found.failing <= 1
            assert 0 <= found.confidence < 1
            assert 0 <= found.rtt_s <= 10.1
            assert found.jitter_s >= 0
            assert 0 <= found.rate_kb_s <= 1e4


def test_only_so_many_peers_are_remembered_those_used_last() -> None:
    known = Measurements()
    for number in range(2 * MAX_MEASURED):
        known.built([key(0), key(number)], NOW)
    assert len(known) == MAX_MEASURED
    assert known.of(key(0)) is not None
    assert known.of(key(1)) is None
    assert known.of(key(2 * MAX_MEASURED - 1)) is not None
