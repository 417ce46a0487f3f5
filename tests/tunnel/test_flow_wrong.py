"""What the other end of a flow may not do, and messages that were changed on the way."""

from __future__ import annotations

import pytest

from core.errors import Reason
from tests.harness.entropy import flipped
from tests.harness.joined import Ends
from tunnel.frames import Frame, encode_open, encode_reset, encode_token, frame


@pytest.mark.parametrize(
    "frames",
    [
        [frame(Frame.FIN), frame(Frame.DATA, b"x")],
        [frame(Frame.FIN), frame(Frame.FIN)],
        [frame(Frame.OPENED)],
        [encode_open(bytes(16), "a", 1)],
        [encode_token(Frame.PING, 1)],
        [encode_token(Frame.PONG, 1)],
        [bytes.fromhex("00000000")],
        [bytes.fromhex("ff00000161")],
        [frame(Frame.CREDIT, b"short")],
        [frame(Frame.RESET, b"")],
        [frame(Frame.RESET, b"12")],
        [frame(Frame.DATA, b"cut off")[:-1]],
        [b"\3"],
    ],
    ids=lambda frames: b"|".join(frames).hex(),
)
def test_what_breaks_the_flow(frames: list[bytes]) -> None:
    ends = Ends()
    ends.near.say(*frames)
    ends.near.stream.deliver(ends.far.carrier)
    ends.far.check_closed(Reason.PROTOCOL)
    assert ends.far.stream.deliver(ends.near.carrier)
    ends.near.check_closed(Reason.PROTOCOL)


def test_padding_is_ignored() -> None:
    ends = Ends()
    ends.near.say(frame(Frame.PAD, bytes(100)), frame(Frame.DATA, b"text"), frame(Frame.PAD))
    ends.run()
    assert ends.far.heard.data == b"text"


def test_an_empty_message_is_harmless() -> None:
    ends = Ends()
    ends.near.say()
    ends.near.flow.write(b"text")
    ends.run()
    assert ends.far.heard.data == b"text"


def test_frames_after_a_reset_are_not_read() -> None:
    ends = Ends()
    ends.near.say(encode_reset(Reason.REFUSED), frame(Frame.DATA, b"x"), b"\3")
    ends.near.stream.deliver(ends.far.carrier)
    ends.far.check_closed(Reason.REFUSED)
    assert not ends.far.heard.data


def test_a_changed_message_breaks_the_flow() -> None:
    ends = Ends()
    ends.near.flow.write(b"text")
    ends.near.stream.sent[0] = flipped(ends.near.stream.sent[0], 150)
    ends.near.stream.deliver(ends.far.carrier)
    ends.far.check_closed(Reason.PROTOCOL)
    assert not ends.far.heard.data


@pytest.mark.parametrize("trick", ["lost", "repeated", "moved"])
def test_messages_come_once_and_in_order(trick: str) -> None:
    ends = Ends()
    for text in (b"one", b"two", b"three"):
        ends.near.flow.write(text)
    sent = ends.near.stream.sent
    first, second, third = sent
    sent.clear()
    sent.extend({"lost": (first, third), "repeated": (first, first), "moved": (first, third, second)}[trick])
    ends.near.stream.deliver(ends.far.carrier)
    ends.near.stream.deliver(ends.far.carrier)
    assert ends.far.heard.data == b"one"
    ends.far.check_closed(Reason.PROTOCOL)


def test_a_stream_that_ends_without_fin_is_no_good_end() -> None:
    ends = Ends()
    ends.near.flow.write(b"text")
    ends.run()
    ends.far.carrier.ended()
    assert ends.far.heard.data == b"text"
    assert ends.far.heard.eof == 0
    ends.far.check_closed(Reason.CLOSED)
    assert ends.far.stream.forgotten


def test_a_stream_that_ends_after_fin_but_before_the_other_fin() -> None:
    ends = Ends()
    ends.near.flow.finish()
    ends.run()
    ends.far.carrier.ended()
    assert ends.far.heard.eof == 1
    ends.far.check_closed(Reason.CLOSED)


def test_the_end_of_the_stream_may_come_twice() -> None:
    ends = Ends()
    ends.far.carrier.ended()
    ends.far.carrier.ended()
    ends.far.check_closed(Reason.CLOSED)


def test_a_done_flow_is_forgotten_when_the_stream_ends() -> None:
    ends = Ends(finish_on_eof=True)
    ends.near.flow.finish()
    ends.run()
    assert ends.near.stream.forgotten
    assert ends.far.stream.forgotten
