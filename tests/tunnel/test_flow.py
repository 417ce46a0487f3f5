"""A flow's two ends, joined in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from core.errors import Reason
from tests.harness.joined import Ends
from tunnel.flow import MAX_DATA
from tunnel.frames import Frame, encode_credit, encode_reset, frame
from tunnel.limits import FLOW_WINDOW, MAX_FLOW_WINDOW
from tunnel.wireguard.session import OVERHEAD_BYTES

if TYPE_CHECKING:
    from core.flow import Buffer

TEXT = bytes(range(256)) * 200


def test_bytes_go_both_ways() -> None:
    ends = Ends()
    assert ends.near.flow.write(b"request")
    assert ends.far.flow.write(TEXT)
    ends.run()
    assert ends.far.heard.data == b"request"
    assert ends.near.heard.data == TEXT


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_a_written_buffer_may_be_used_again(make: type[bytes | bytearray | memoryview]) -> None:
    ends = Ends()
    source = bytearray(FLOW_WINDOW + 10)
    ends.near.flow.write(make(source))
    source[:] = b"\xff" * len(source)
    ends.run()
    assert ends.far.heard.data == bytes(FLOW_WINDOW + 10)


def test_writes_are_cut_to_the_largest_message() -> None:
    ends = Ends()
    ends.near.flow.write(bytes(MAX_DATA + 1))
    assert [len(message) - OVERHEAD_BYTES for message in ends.near.stream.sent] == [MAX_DATA + 4, 5]


def test_nothing_is_sent_for_nothing() -> None:
    ends = Ends()
    assert ends.near.flow.write(b"")
    assert not ends.near.stream.sent


# -- half-close


def test_half_close_from_the_near_end() -> None:
    ends = Ends()
    ends.near.flow.write(b"all")
    ends.near.flow.finish()
    ends.run()
    assert (bytes(ends.far.heard.data), ends.far.heard.eof, ends.far.heard.closed) == (b"all", 1, [])
    ends.far.flow.write(TEXT)
    ends.run()
    assert ends.near.heard.data == TEXT
    ends.far.flow.finish()
    ends.run()
    ends.near.check_closed(Reason.DONE)
    ends.far.check_closed(Reason.DONE)


def test_half_close_from_the_far_end() -> None:
    ends = Ends()
    ends.far.flow.finish()
    ends.run()
    assert ends.near.heard.eof == 1
    ends.near.flow.write(TEXT)
    ends.near.flow.finish()
    ends.run()
    assert ends.far.heard.data == TEXT
    ends.near.check_closed(Reason.DONE)
    ends.far.check_closed(Reason.DONE)


def test_both_finish_at_once() -> None:
    ends = Ends()
    ends.near.flow.finish()
    ends.far.flow.finish()
    ends.run()
    ends.near.check_closed(Reason.DONE)
    ends.far.check_closed(Reason.DONE)


def test_finish_within_the_eof_call() -> None:
    ends = Ends(finish_on_eof=True)
    ends.near.flow.finish()
    ends.run()
    ends.near.check_closed(Reason.DONE)
    ends.far.check_closed(Reason.DONE)


def test_what_was_written_before_finish_arrives_with_the_credit() -> None:
    ends = Ends(hungry=False)
    ends.near.flow.write(bytes(FLOW_WINDOW + 100))
    ends.near.flow.finish()
    ends.run()
    assert (len(ends.far.heard.data), ends.far.heard.eof) == (FLOW_WINDOW, 0)
    ends.far.flow.consumed(FLOW_WINDOW)
    ends.run()
    assert (len(ends.far.heard.data), ends.far.heard.eof) == (FLOW_WINDOW + 100, 1)


def test_credit_still_comes_after_fin() -> None:
    """An end that has sent FIN goes on reading, so it goes on returning credit."""
    ends = Ends()
    ends.near.flow.finish()
    ends.far.flow.write(bytes(5 * FLOW_WINDOW))
    ends.run()
    assert len(ends.near.heard.data) == 5 * FLOW_WINDOW


def test_finish_twice_is_once() -> None:
    ends = Ends()
    ends.near.flow.finish()
    ends.near.flow.finish()
    ends.run()
    assert (ends.far.heard.eof, ends.far.heard.closed) == (1, [])


def test_writing_after_finish_is_ignored() -> None:
    ends = Ends()
    ends.near.flow.finish()
    assert ends.near.flow.write(b"late")
    ends.run()
    assert (bytes(ends.far.heard.data), ends.far.heard.eof) == (b"", 1)


# -- credit


def test_a_reader_that_never_consumes_stops_the_sender() -> None:
    ends = Ends(hungry=False)
    assert ends.near.flow.write(bytes(FLOW_WINDOW))
    assert not ends.near.flow.write(b"more")
    ends.run()
    assert len(ends.far.heard.data) == FLOW_WINDOW
    assert ends.near.heard.writable == 0


def test_returned_credit_lets_the_sender_go_on() -> None:
    ends = Ends(hungry=False)
    assert not ends.near.flow.write(bytes(FLOW_WINDOW + 1))
    ends.run()
    ends.far.flow.consumed(FLOW_WINDOW // 4 - 1)
    ends.run()
    assert len(ends.far.heard.data) == FLOW_WINDOW
    ends.far.flow.consumed(1)
    ends.run()
    assert len(ends.far.heard.data) == FLOW_WINDOW + 1
    assert ends.near.heard.writable == 1


def test_credit_is_exact_over_many_windows() -> None:
    ends = Ends()
    for _ in range(40):
        ends.near.flow.write(bytes(300_001))
        ends.run()
    assert len(ends.far.heard.data) == 40 * 300_001


def test_data_beyond_the_credit_breaks_the_flow() -> None:
    ends = Ends(hungry=False)
    for _ in range(FLOW_WINDOW // MAX_DATA):
        ends.near.say(frame(Frame.DATA, bytes(MAX_DATA)))
    ends.near.say(frame(Frame.DATA, bytes(FLOW_WINDOW % MAX_DATA)))
    ends.run()
    assert ends.far.heard.closed == []
    ends.near.say(frame(Frame.DATA, b"x"))
    ends.near.stream.deliver(ends.far.carrier)
    ends.far.check_closed(Reason.PROTOCOL)
    assert len(ends.far.heard.data) == FLOW_WINDOW


def test_data_beyond_the_credit_before_anyone_listens() -> None:
    ends = Ends(attach=False)
    for _ in range(FLOW_WINDOW // MAX_DATA + 1):
        ends.near.say(frame(Frame.DATA, bytes(MAX_DATA)))
        ends.near.stream.deliver(ends.far.carrier)
    ends.far.attach()
    assert len(ends.far.heard.data) <= FLOW_WINDOW
    ends.far.check_closed(Reason.PROTOCOL)


def test_what_waits_for_a_listener_is_bounded_by_bytes_and_not_by_frames() -> None:
    """Many small frames in large messages: nothing but their bytes may be kept."""
    ends = Ends(attach=False)
    for _ in range(50):
        ends.near.say(frame(Frame.DATA, b"x"), frame(Frame.DATA), frame(Frame.PAD, bytes(30_000)))
        ends.near.stream.deliver(ends.far.carrier)
    assert bytes(ends.far.flow._early) == b"x" * 50
    ends.far.attach()
    assert ends.far.heard.data == b"x" * 50


@pytest.mark.parametrize(
    ("consumed", "window"),
    [(101, FLOW_WINDOW), (100, FLOW_WINDOW - 101), (0, FLOW_WINDOW - 1), (0, 0), ((1 << 64) - 1, 1)],
    ids=["more than was sent", "shrinks", "shrinks at once", "nothing", "huge"],
)
def test_lies_about_credit_break_the_flow(consumed: int, window: int) -> None:
    ends = Ends()
    ends.near.flow.write(bytes(100))
    ends.far.say(encode_credit(consumed, window))
    ends.far.stream.deliver(ends.near.carrier)
    ends.near.check_closed(Reason.PROTOCOL)


def test_a_huge_window_gives_no_more_than_a_window() -> None:
    ends = Ends(hungry=False)
    ends.far.say(encode_credit(0, (1 << 32) - 1))
    ends.far.stream.deliver(ends.near.carrier)
    ends.near.credit.credit_came(0, 2 * MAX_FLOW_WINDOW)
    assert not ends.near.flow.write(bytes(2 * MAX_FLOW_WINDOW))
    sent = sum(len(message) - OVERHEAD_BYTES - 4 for message in ends.near.stream.sent)
    assert sent == MAX_FLOW_WINDOW


def test_old_credit_again_is_no_error() -> None:
    ends = Ends(hungry=False)
    ends.near.flow.write(bytes(100))
    for _ in range(3):
        ends.far.say(encode_credit(0, FLOW_WINDOW))
        ends.far.stream.deliver(ends.near.carrier)
    assert ends.near.heard.closed == []


# -- the link's back-pressure


def test_a_full_link_stops_the_sender_and_goes_on() -> None:
    ends = Ends()
    ends.near.stream.full = True
    ends.near.flow.write(b"first")
    assert not ends.near.flow.write(b"second")
    ends.run()
    assert ends.far.heard.data == b"first"
    ends.unstop(ends.near)
    ends.run()
    assert ends.far.heard.data == b"firstsecond"
    assert ends.near.heard.writable == 1


def test_a_full_link_takes_one_message_at_a_time() -> None:
    ends = Ends()
    ends.near.stream.full = True
    ends.near.flow.write(bytes(10 * MAX_DATA))
    assert len(ends.near.stream.sent) == 1
    ends.near.carrier.writable()
    assert len(ends.near.stream.sent) == 2


def test_order_is_kept_while_the_link_is_full() -> None:
    ends = Ends()
    ends.near.stream.full = True
    for number in range(20):
        ends.near.flow.write(bytes([number]) * 1000)
    ends.near.flow.finish()
    ends.unstop(ends.near)
    ends.run()
    assert ends.far.heard.data == b"".join(bytes([number]) * 1000 for number in range(20))
    assert ends.far.heard.eof == 1


def test_room_that_came_before_the_listener_is_told_to_it() -> None:
    ends = Ends(attach=False)
    ends.near.stream.full = True
    ends.near.flow.write(b"first")
    assert not ends.near.flow.write(b"second")
    ends.unstop(ends.near)
    ends.near.attach()
    assert ends.near.heard.writable == 1


# -- attach


def test_all_that_came_before_is_delivered_in_order() -> None:
    ends = Ends(attach=False)
    ends.near.flow.write(b"early ")
    ends.near.flow.write(b"bytes")
    ends.near.flow.finish()
    ends.run()
    ends.far.attach()
    assert (bytes(ends.far.heard.data), ends.far.heard.eof, ends.far.heard.closed) == (b"early bytes", 1, [])


def test_an_end_that_came_before_is_delivered_last() -> None:
    ends = Ends(attach=False)
    ends.near.flow.write(b"early")
    ends.near.flow.finish()
    ends.run()
    ends.far.flow.finish()
    ends.far.attach()
    assert (bytes(ends.far.heard.data), ends.far.heard.eof, ends.far.heard.closed) == (b"early", 1, [Reason.DONE])


def test_a_reset_that_came_before() -> None:
    ends = Ends(attach=False)
    ends.near.flow.write(b"early")
    ends.near.flow.reset(Reason.RESET)
    ends.run()
    ends.far.attach()
    assert (bytes(ends.far.heard.data), ends.far.heard.eof, ends.far.heard.closed) == (b"early", 0, [Reason.RESET])


def test_a_listener_that_resets_at_the_first_bytes_hears_no_more() -> None:
    ends = Ends(attach=False)
    ends.near.flow.write(b"one")
    ends.near.flow.write(b"two")
    ends.near.flow.finish()
    ends.run()
    heard: list[str] = []

    class Resetting:
        def flow_data(self, data: Buffer) -> None:
            heard.append("data")
            ends.far.flow.reset(Reason.LOCAL)

        def flow_eof(self) -> None:
            heard.append("eof")

        def flow_writable(self) -> None:
            heard.append("writable")

        def flow_closed(self, reason: Reason) -> None:
            heard.append("closed")

    ends.far.flow.attach(Resetting())
    assert heard == ["data"]


# -- reset


def test_reset() -> None:
    ends = Ends()
    ends.near.flow.reset(Reason.REFUSED)
    ends.run()
    ends.far.check_closed(Reason.REFUSED)
    assert ends.near.heard.closed == []
    assert (ends.near.flow.overs, ends.near.stream.finished) == (1, True)


def test_reset_drops_what_waits() -> None:
    ends = Ends(hungry=False)
    ends.near.flow.write(bytes(FLOW_WINDOW + 5))
    ends.near.flow.reset(Reason.LOCAL)
    ends.run()
    assert len(ends.far.heard.data) == FLOW_WINDOW
    ends.far.check_closed(Reason.LOCAL)


def test_a_reset_never_looks_like_a_good_end() -> None:
    ends = Ends()
    ends.near.say(encode_reset(Reason.DONE))
    ends.near.stream.deliver(ends.far.carrier)
    ends.far.check_closed(Reason.CLOSED)


def test_both_reset_at_once() -> None:
    ends = Ends()
    ends.near.flow.reset(Reason.LOCAL)
    ends.far.flow.reset(Reason.RESET)
    ends.run()
    assert (ends.near.heard.closed, ends.far.heard.closed) == ([], [])
    assert (ends.near.flow.overs, ends.far.flow.overs) == (1, 1)


def test_a_flow_that_is_over_ignores_all_calls() -> None:
    ends = Ends()
    ends.near.flow.reset(Reason.LOCAL)
    sent = len(ends.near.stream.sent)
    assert ends.near.flow.write(b"late")
    ends.near.flow.finish()
    ends.near.flow.consumed(FLOW_WINDOW)
    ends.near.flow.reset(Reason.RESET)
    ends.near.carrier.writable()
    assert len(ends.near.stream.sent) == sent
    assert ends.near.flow.overs == 1
