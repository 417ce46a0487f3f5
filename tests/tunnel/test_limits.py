"""The limits fit each other: what one end may send, the hops between take."""

from __future__ import annotations

import pytest

from tunnel import limits
from tunnel.blame import REPORTER_SHARE
from tunnel.control import DESCRIPTOR, WANT_DESCRIPTOR, Kind, encode_circuit
from tunnel.creation import ANSWER_BYTES, ANSWER_HEAD_BYTES, CREATION_BYTES, HEAD_BYTES
from tunnel.flow import MAX_DATA
from tunnel.frames import Frame, frame
from tunnel.lane_frames import encode_select
from tunnel.layers import RECORD_BYTES
from tunnel.wireguard.session import OVERHEAD_BYTES


def test_a_full_message_fits_a_record_at_every_hop() -> None:
    assert limits.MAX_MESSAGE == limits.MAX_PLAINTEXT + limits.MAX_HOPS * OVERHEAD_BYTES
    assert limits.MAX_MESSAGE + RECORD_BYTES < 1 << 16
    assert MAX_DATA + len(encode_select(1)) + len(frame(Frame.DATA)) == limits.MAX_PLAINTEXT


def test_the_longest_path_fits_a_creation_and_its_answer() -> None:
    assert limits.MAX_HOPS * HEAD_BYTES <= CREATION_BYTES
    assert limits.MAX_HOPS * ANSWER_HEAD_BYTES <= ANSWER_BYTES
    assert len(encode_circuit(0, bytes(CREATION_BYTES))) + 1 + OVERHEAD_BYTES <= limits.MAX_CONTROL
    assert not {WANT_DESCRIPTOR, DESCRIPTOR}.intersection(Kind)


def test_honest_ends_stay_below_a_relays_budget() -> None:
    """What is counted for a DATA frame covers all that is added to it, so a circuit's credit bounds its queue."""
    added = limits.MAX_HOPS * OVERHEAD_BYTES + RECORD_BYTES + 4
    assert added < limits.DATA_COST
    assert 2 * limits.MAX_CIRCUIT_WINDOW < limits.CIRCUIT_QUEUE < limits.RELAY_BYTES


@pytest.mark.parametrize(
    ("shorter", "longer"),
    [
        ("CREATION_S", "BUILD_S"),
        ("DIAL_S", "FIRST_DIAL_S"),
        ("WATCH_EVERY_S", "NEIGHBOUR_S"),
        ("NEIGHBOUR_S", "LINK_SILENT_S"),
        ("LINK_SILENT_S", "LINK_IDLE_S"),
        ("PING_EVERY_S", "UNEASY_S"),
        ("UNEASY_S", "DOUBTED_S"),
        ("DOUBTED_S", "SUSPECT_S"),
        ("STAGGER_S", "NEIGHBOUR_S"),
        ("MOVE_S", "ORPHAN_S"),
        ("AVOID_FROM", "MAX_BLAME"),
        ("SUSPECT_S", "PATH_S"),
        ("PING_EVERY_S", "SUSPECT_S"),
        ("PATH_S", "OPEN_S"),
        ("LINK_KEEPALIVE_S", "LINK_IDLE_S"),
        ("SUSPECT_S", "LINK_IDLE_S"),
    ],
)
def test_times_are_in_order(shorter: str, longer: str) -> None:
    assert 0 < getattr(limits, shorter) < getattr(limits, longer)


def test_who_is_nearest_to_the_trouble_names_it() -> None:
    """A hop's own failure to reach the next one comes before the patience of the hop before it ends."""
    assert limits.DIAL_S + limits.PAYING_S + 2 * limits.NEIGHBOUR_S < limits.CREATION_S < limits.BUILD_S


def test_a_circuits_silence_is_known_to_be_its_guards_before_it_is_given_up() -> None:
    assert limits.UNEASY_S + limits.NEIGHBOUR_S < limits.SUSPECT_S


def test_honest_pings_are_answered() -> None:
    assert 1 / limits.WATCH_EVERY_S < limits.PONGS_PER_S


def test_one_report_does_not_cost_the_reporter_its_place() -> None:
    assert REPORTER_SHARE < limits.AVOID_FROM < 2 * REPORTER_SHARE
