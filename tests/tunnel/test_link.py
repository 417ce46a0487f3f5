"""A link: two of them in memory, with a wire between that a test may tamper with."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from core.errors import CircuitError, DecodeError, LinkError, Reason
from tests.harness.entropy import flipped
from tests.harness.linked import NOW, Linked, Owner, Receiver, record
from tests.harness.waiting import turns, until
from tunnel.control import Kind, encode_circuit
from tunnel.creation import ANSWER_BYTES, CREATION_BYTES
from tunnel.limits import MAX_CONTROL, MAX_MESSAGE

if TYPE_CHECKING:
    from tests.harness.wire import WireConnection

CREATION, ANSWER = bytes(CREATION_BYTES), bytes(ANSWER_BYTES)


# -- coming up and going down


async def test_both_sides_come_up() -> None:
    linked = await Linked.up()
    assert linked.near_events.ups == [linked.near]
    assert linked.far_events.ups == [linked.far]
    assert linked.near.static == linked.link_key
    assert await linked.alive()


async def test_a_dial_by_peer_id_alone() -> None:
    linked = Linked(knows_key=False)
    linked.near.want_descriptor()
    await turns()
    assert await linked.alive()


async def test_a_descriptor_of_somebody_else_is_refused() -> None:
    linked = Linked(knows_key=False)
    linked.near._verify = lambda raw: linked.verify(b"else")
    linked.near.want_descriptor()
    with pytest.raises(LinkError):
        await asyncio.wait_for(linked.near.up, 1)
    assert linked.near.counters == {"descriptor: of somebody else": 1}


async def test_no_side_comes_up_with_the_wrong_key() -> None:
    linked = Linked()
    linked.near.initiate(bytes([9] * 32), NOW)
    with pytest.raises(LinkError):
        await asyncio.wait_for(linked.near.up, 1)
    assert linked.far.closed
    assert not linked.far_events.ups
    assert not linked.near_events.downs


async def test_the_end_is_told_once() -> None:
    linked = await Linked.up()
    linked.near.close()
    linked.near.close()
    await turns()
    for link, events in ((linked.near, linked.near_events), (linked.far, linked.far_events)):
        assert link.closed
        assert not link.is_up
        assert (events.downs, events.closed) == ([link], [link])


@pytest.mark.parametrize("what", ["end", "reset"])
async def test_a_control_stream_that_ends_is_the_end(what: str) -> None:
    linked = await Linked.up()
    if what == "end":
        linked.near_wire.write(0, b"", end=True)
    else:
        linked.near_wire.reset(0)
    await turns()
    assert linked.far.closed
    assert linked.near.closed


@pytest.mark.parametrize(
    "data",
    [b"\0\0", b"\0\1\x63", b"\0\2\x10\0", b"\xff\xff", b"\0\x94" + bytes(148), b"\0\x5c\2" + bytes(91)],
    ids=["empty", "unknown", "want with more", "too long", "initiation", "response"],
)
async def test_garbage_on_the_control_stream(data: bytes) -> None:
    linked = Linked()
    linked.near_wire.write(0, data)
    await turns()
    assert linked.far.closed
    assert sum(linked.far.counters.values()) == 1


async def test_a_changed_control_message_is_the_end() -> None:
    linked = await Linked.up()
    linked.near_wire.tamper = lambda stream, data: flipped(data, 150)
    linked.near.send_gossip(b"hello")
    await turns()
    assert linked.far.closed
    assert not linked.far_events.gossips


async def test_control_bytes_may_come_one_at_a_time() -> None:
    linked = Linked()
    pieces: list[bytes] = []

    def one_by_one(stream: int, data: bytes) -> bytes:
        pieces.append(data)
        for byte in data:
            linked.near_wire._soon(linked.far_wire._received, stream, bytes([byte]), False)
        return b""

    linked.near_wire.tamper = one_by_one
    linked.near.initiate(linked.link_key, NOW)
    await turns()
    assert await linked.alive()


async def test_unknown_control_kinds_are_counted_and_ignored() -> None:
    linked = await Linked.up()
    linked.near._machine._send(200, b"later version")  # type: ignore[arg-type]
    linked.near._flush()
    assert await linked.alive()
    assert linked.far.counters == {"unknown control": 1}


async def test_a_neighbour_that_takes_no_control_messages_is_dropped() -> None:
    linked = await Linked.up()
    linked.near_wire.stalled = True
    for _ in range(66):
        linked.near.send_gossip(bytes(MAX_CONTROL - 100))
    assert linked.near.closed
    assert linked.near.counters == {"control queue": 1}


# -- circuits


async def test_a_creation_is_asked_for_and_answered() -> None:
    linked = await Linked.up()
    owner, far_owner = Owner(), Owner()
    creating = asyncio.ensure_future(linked.near.create(CREATION, owner, 1))
    await turns()
    assert linked.far_events.creations == [(0, CREATION)]
    assert linked.far.answer(0, ANSWER, far_owner)
    assert await creating == (0, ANSWER)
    linked.far.destroy(0, Reason.BUSY)
    await turns()
    assert (owner.reasons, far_owner.reasons) == ([Reason.BUSY], [])


@pytest.mark.parametrize("side", ["near", "far"])
async def test_each_side_has_circuit_numbers_of_its_own(side: str) -> None:
    linked = await Linked.up()
    link, events = (linked.near, linked.far_events) if side == "near" else (linked.far, linked.near_events)
    tasks = [asyncio.ensure_future(link.create(CREATION, Owner(), 1)) for _ in range(3)]
    await turns()
    assert [number for number, _ in events.creations] == ([0, 2, 4] if side == "near" else [1, 3, 5])
    link.close()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_an_answer_that_does_not_come_in_time_is_a_destroyed_circuit() -> None:
    linked = await Linked.up()
    with pytest.raises(CircuitError):
        await linked.near.create(CREATION, Owner(), 0.01)
    await turns()
    assert not linked.far.answer(0, ANSWER, Owner())
    assert not linked.far._owners
    assert not linked.far._asked
    assert not linked.near._owners
    assert not linked.near._answers
    assert await linked.alive()


async def test_a_cancelled_creation_is_a_destroyed_circuit() -> None:
    linked = await Linked.up()
    creating = asyncio.ensure_future(linked.near.create(CREATION, Owner(), 5))
    await turns()
    creating.cancel()
    await turns()
    assert not linked.far.answer(0, ANSWER, Owner())
    assert not linked.near._owners


async def test_a_creation_ends_with_the_link() -> None:
    linked = await Linked.up()
    creating = asyncio.ensure_future(linked.near.create(CREATION, Owner(), 5))
    await turns()
    linked.far.close()
    with pytest.raises(CircuitError):
        await asyncio.wait_for(creating, 1)
    assert not linked.far.answer(0, ANSWER, Owner())


async def test_owners_hear_of_the_end_of_the_link() -> None:
    linked = await Linked.up()
    owner, far_owner = Owner(), Owner()
    creating = asyncio.ensure_future(linked.near.create(CREATION, owner, 1))
    await turns()
    linked.far.answer(0, ANSWER, far_owner)
    await creating
    linked.near.close()
    await turns()
    assert (owner.reasons, far_owner.reasons) == ([Reason.NEXT_HOP], [Reason.NEXT_HOP])


async def control(linked: Linked, kind: Kind, body: bytes) -> None:
    """Let the dialling neighbour say what it never would."""
    linked.near._machine.send(kind, body)
    linked.near._flush()
    await turns()


@pytest.mark.parametrize("numbers", [(1,), (0, 0), (4, 2), (0xFFFFFFFF,)], ids=str)
async def test_wrong_circuit_numbers_cost_the_link(numbers: tuple[int, ...]) -> None:
    linked = await Linked.up()
    for number in numbers:
        await control(linked, Kind.CREATE, encode_circuit(number, CREATION))
    assert linked.far.closed
    assert linked.far.counters == {"control: wrong circuit number": 1}
    assert len(linked.far_events.creations) == len(numbers) - 1


@pytest.mark.parametrize("kind", [Kind.CREATE, Kind.CREATED, Kind.DESTROY])
async def test_circuit_messages_of_the_wrong_size_cost_the_link(kind: Kind) -> None:
    linked = await Linked.up()
    await control(linked, kind, b"wrong size")
    assert linked.far.closed


async def test_answers_and_ends_of_unknown_circuits_are_ignored() -> None:
    linked = await Linked.up()
    for number in (0, 1, 7, 0xFFFFFFFF):
        await control(linked, Kind.CREATED, encode_circuit(number, ANSWER))
        await control(linked, Kind.DESTROY, encode_circuit(number, b"\0"))
    assert await linked.alive()


# -- streams


async def test_messages_pass_both_ways() -> None:
    linked = await Linked.up()
    mine, theirs = await linked.send(b"one", b"", bytes(MAX_MESSAGE))
    assert theirs.messages == [b"one", b"", bytes(MAX_MESSAGE)]
    assert theirs.stream is not None
    theirs.stream.send(record(b"back"))
    await turns()
    assert mine.messages == [b"back"]


async def test_the_serving_side_may_open_streams_too() -> None:
    linked = await Linked.up()
    linked.far.open_stream(Receiver()).send(record(b"hello"))
    await turns()
    assert linked.near_events.opened[0].messages == [b"hello"]


async def test_a_stream_that_ends_in_both_directions_is_forgotten() -> None:
    linked = await Linked.up()
    mine, theirs = await linked.send(b"one")
    assert mine.stream is not None
    assert theirs.stream is not None
    mine.stream.finish()
    await turns()
    assert (theirs.ends, mine.ends) == (1, 0)
    theirs.stream.finish()
    await turns()
    assert mine.ends == 1
    linked.near.forget_stream(mine.stream)
    linked.far.forget_stream(theirs.stream)
    assert linked.near.stream_count == linked.far.stream_count == 0


async def test_a_reset_stream_ends_at_the_other_side() -> None:
    linked = await Linked.up()
    mine, theirs = await linked.send(b"one")
    assert mine.stream is not None
    mine.stream.reset()
    mine.stream.send(record(b"late"))
    mine.stream.finish()
    await turns()
    assert (theirs.ends, mine.ends) == (1, 0)
    assert linked.near.stream_count == linked.far.stream_count == 0
    assert await linked.alive()


async def test_the_end_of_the_link_ends_every_stream() -> None:
    linked = await Linked.up()
    mine, theirs = await linked.send(b"one")
    linked.near.close()
    await turns()
    assert (mine.ends, theirs.ends) == (1, 1)


def tamper_once(wire: WireConnection, bit: int) -> None:
    """Flip a bit of the next bytes that go out on a flow's stream."""

    def changed(stream: int, data: bytes) -> bytes:
        if stream == 0:
            return data
        wire.tamper = None
        return flipped(data, bit)

    wire.tamper = changed


@pytest.mark.parametrize("bit", [16, 100, 8 * 2 + 8 * 40 + 5])
async def test_a_bit_flipped_between_neighbours_is_the_end_of_the_link(bit: int) -> None:
    linked = await Linked.up()
    mine, _ = await linked.send(bytes(40))
    tamper_once(linked.near_wire, bit=bit)
    assert mine.stream is not None
    mine.stream.send(record(bytes(40)))
    await turns()
    assert linked.far.closed
    assert linked.near.closed
    assert linked.far.counters == {"record: link tag does not verify": 1}
    assert linked.far_events.opened[0].messages == [bytes(40)]
    assert mine.ends == 1


async def test_every_flipped_bit_of_a_record_is_found() -> None:
    linked = await Linked.up()
    mine, theirs = await linked.send(b"first")
    assert mine.stream is not None
    linked.near_wire.written.clear()
    linked.far_wire.deaf = True
    mine.stream.send(record(b"text"))
    await turns()
    linked.far_wire.deaf = False
    (stream, data), state = linked.near_wire.written[0], linked.far._streams[mine.stream.id]
    for bit in range(16, 8 * len(data)):
        with pytest.raises(DecodeError):
            state.received(memoryview(flipped(data, bit)))
    linked.far.stream_received(stream, memoryview(data), False)
    assert theirs.messages == [b"first", b"text"]


@pytest.mark.parametrize("trick", ["lost", "repeated", "moved", "other stream", "way back"])
async def test_records_come_once_in_order_on_their_stream(trick: str) -> None:
    linked = await Linked.up()
    mine, _ = await linked.send(b"zero")
    linked.near_wire.written.clear()
    linked.far_wire.deaf = True
    assert mine.stream is not None
    for body in (b"one", b"two"):
        mine.stream.send(record(body))
    await turns()
    linked.far_wire.deaf = False
    (number, one), (_, two) = linked.near_wire.written
    wrong = {
        "lost": [(number, two)],
        "repeated": [(number, one), (number, one)],
        "moved": [(number, two), (number, one)],
        "other stream": [(number + 4, one)],
    }
    if trick == "way back":
        linked.near.stream_received(number, memoryview(one), False)
        assert linked.near.closed
        return
    for stream, data in wrong[trick]:
        linked.far.stream_received(stream, memoryview(data), False)
    assert linked.far.closed


@pytest.mark.parametrize("data", [b"\xff\xff", b"\0\0", b"\0\x0f" + bytes(15), b"\0\x20" + bytes(32)])
async def test_garbage_on_a_flow_stream_costs_the_link(data: bytes) -> None:
    linked = await Linked.up()
    linked.near_wire.write(4, data)
    await turns()
    assert linked.far.closed
    assert not linked.far_events.opened


async def test_a_stream_before_the_handshake_costs_the_link() -> None:
    linked = Linked()
    linked.near_wire.write(4, b"\0\x20" + bytes(32))
    await turns()
    assert linked.far.closed
    assert linked.far.counters == {"link: stream before the handshake": 1}


@pytest.mark.parametrize("number", [1, 2, 3, 5])
async def test_streams_that_the_other_side_may_not_open_are_ignored(number: int) -> None:
    linked = await Linked.up()
    linked.near_wire.write(number, b"\0\x20" + bytes(32))
    assert await linked.alive()
    assert linked.far.stream_count == 0


async def test_a_stream_without_bytes_is_no_stream() -> None:
    linked = await Linked.up()
    linked.near_wire.write(4, b"", end=True)
    assert await linked.alive()
    assert linked.far.stream_count == 0


async def test_a_full_stream_says_stop_and_then_go_on() -> None:
    linked = await Linked.up()
    mine, theirs = await linked.send(b"one")
    assert mine.stream is not None
    linked.near_wire.stalled = True
    assert not mine.stream.send(record(b"two"))
    assert mine.stream.queued == len(record(b"two"))
    linked.near_wire.go_on()
    await until(lambda: mine.writables)
    await turns()
    assert theirs.messages == [b"one", b"two"]
