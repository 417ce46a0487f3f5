"""The layers of a flow: each counter once, each message in its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError
from tests.harness.entropy import flipped
from tunnel.layers import (
    MAX_FLOW_NUMBER,
    MAX_OVERTAKEN,
    MAX_SEQUENCE,
    RECORD_BYTES,
    FlowNumbers,
    Layers,
    flow_number,
)
from tunnel.wireguard.handshake import Keys
from tunnel.wireguard.session import OVERHEAD_BYTES, Session, read_header


def sessions(hops: int) -> tuple[list[Session], list[Session]]:
    """The client's, and those of the hops."""
    mine, theirs = [], []
    for place in range(hops):
        one, two = bytes([2 * place + 1] * 32), bytes([2 * place + 2] * 32)
        mine.append(Session(Keys(one, two, place, 100 + place, b"", b"")))
        theirs.append(Session(Keys(two, one, 100 + place, place, b"", b"")))
    return mine, theirs


def message(record: bytearray) -> memoryview:
    """The message inside a record."""
    return memoryview(bytes(record))[2:-16]


@pytest.mark.parametrize("hops", range(1, 6))
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=4))
def test_each_hop_takes_one_layer(hops: int, texts: list[bytes]) -> None:
    mine, theirs = sessions(hops)
    numbers = [10 * place + 3 for place in range(hops)]
    client = Layers(mine, numbers)
    served = [Layers([session], [number]) for session, number in zip(theirs, numbers, strict=True)]
    for sequence, text in enumerate(texts):
        inner = message(client.seal(text))
        assert len(inner) == len(text) + client.overhead_bytes == len(text) + hops * OVERHEAD_BYTES
        for place, hop in enumerate(served):
            assert read_header(inner) == (100 + place, numbers[place] << 40 | sequence)
            inner = hop.open(inner)
        assert bytes(inner) == text


@pytest.mark.parametrize("hops", range(1, 6))
def test_the_way_back(hops: int) -> None:
    mine, theirs = sessions(hops)
    numbers = list(range(hops))
    client = Layers(mine, numbers)
    served = [Layers([session], [number]) for session, number in zip(theirs, numbers, strict=True)]
    for text in (b"one", b"two", b"three"):
        inner: bytes | memoryview = text
        for hop in reversed(served):
            inner = message(hop.seal(inner))
        assert bytes(client.open(memoryview(inner))) == text


def test_a_record_leaves_room_for_the_link() -> None:
    client = Layers(sessions(2)[0], [0, 0])
    record = client.seal(b"text")
    assert len(record) == 4 + 2 * OVERHEAD_BYTES + RECORD_BYTES
    assert record[:2] == bytes(2)
    assert record[-16:] == bytes(16)


def pair() -> tuple[Layers, Layers]:
    mine, theirs = sessions(1)
    return Layers(mine, [5]), Layers(theirs, [5])


def test_only_the_next_message_opens() -> None:
    mine, theirs = pair()
    first, second = message(mine.seal(b"one")), message(mine.seal(b"two"))
    with pytest.raises(DecodeError):
        theirs.open(second)
    assert bytes(theirs.open(first)) == b"one"
    with pytest.raises(DecodeError):
        theirs.open(first)
    assert bytes(theirs.open(second)) == b"two"


def test_every_flipped_bit_is_refused_and_changes_nothing() -> None:
    mine, theirs = sessions(2)
    client, back = Layers(mine, [1, 2]), [Layers([session], [place + 1]) for place, session in enumerate(theirs)]
    outer = message(back[0].seal(message(back[1].seal(b"text"))))
    for bit in range(8 * len(outer)):
        with pytest.raises(DecodeError):
            client.open(memoryview(flipped(bytes(outer), bit)))
    assert bytes(client.open(outer)) == b"text"


def test_a_change_in_an_inner_layer_is_found() -> None:
    mine, theirs = sessions(2)
    client, back = Layers(mine, [1, 2]), [Layers([session], [place + 1]) for place, session in enumerate(theirs)]
    inner = flipped(bytes(message(back[1].seal(b"text"))), 140)
    with pytest.raises(DecodeError):
        client.open(message(back[0].seal(inner)))


@pytest.mark.parametrize("size", [0, 31, 63])
def test_short_messages_are_refused(size: int) -> None:
    with pytest.raises(DecodeError, match="short"):
        Layers(sessions(2)[0], [1, 1]).open(memoryview(bytes(size)))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_only_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Layers(sessions(2)[0], [1, 1]).open(memoryview(data))


def test_another_flows_message_is_refused() -> None:
    mine, theirs = sessions(1)
    with pytest.raises(DecodeError):
        Layers(theirs, [6]).open(message(Layers(mine, [5]).seal(b"text")))


def test_the_sequence_never_reaches_the_next_flow() -> None:
    mine, theirs = pair()
    mine._sealed = theirs._opened = MAX_SEQUENCE
    last = message(mine.seal(b"last"))
    assert read_header(last)[1] == 5 << 40 | MAX_SEQUENCE
    assert bytes(theirs.open(last)) == b"last"
    with pytest.raises(DecodeError, match="used up"):
        mine.seal(b"more")
    with pytest.raises(DecodeError, match="used up"):
        theirs.open(last)


def test_flow_number() -> None:
    assert flow_number(0) == 0
    assert flow_number(5 << 40 | 77) == 5
    assert flow_number((1 << 63) - 1) == MAX_FLOW_NUMBER
    for wrong in (1 << 63, (1 << 64) - 1):
        with pytest.raises(DecodeError, match="kind"):
            flow_number(wrong)


def test_no_counter_is_given_out_twice() -> None:
    """Flows of one circuit, up to the last flow number, with their messages mixed."""
    mine, _ = sessions(1)
    flows = [Layers(mine, [number]) for number in (0, 1, 2, MAX_FLOW_NUMBER)]
    counters = [read_header(message(flow.seal(b"")))[1] for _ in range(5) for flow in flows]
    assert len(set(counters)) == len(counters)


@given(st.lists(st.one_of(st.integers(0, 20), st.integers(0, MAX_FLOW_NUMBER)), max_size=30))
def test_a_flow_number_is_good_once(numbers: list[int]) -> None:
    """Against a set that remembers all of them."""
    flows, used = FlowNumbers(), set[int]()
    for number in numbers:
        in_reach = number == 0 or number > max(used | {0}) - MAX_OVERTAKEN
        assert flows.unused(number) == (number not in used and in_reach)
        if flows.unused(number):
            flows.use(number)
            used.add(number)
        assert not flows.unused(number)


def test_flows_may_overtake_each_other_so_far() -> None:
    flows = FlowNumbers()
    flows.use(MAX_OVERTAKEN + 7)
    assert not flows.unused(7)
    for number in (8, 0, MAX_OVERTAKEN + 6, 9):
        assert flows.unused(number)
        flows.use(number)
    assert not flows.unused(8)
    assert flows.unused(10)


def test_the_memory_of_flow_numbers_is_bounded() -> None:
    flows = FlowNumbers()
    for number in (1, 2, 1 << 20, MAX_FLOW_NUMBER - 1, MAX_FLOW_NUMBER):
        flows.use(number)
    assert flows._used.bit_length() <= MAX_OVERTAKEN
