"""UDP associations: datagrams over links and circuits, their fallback to streams, and their life."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError, FlowError, Reason
from core.flow import MAX_DATAGRAM_BYTES
from tests.harness.bare import ECHO, check_alive
from tests.harness.entropy import flipped
from tests.harness.joined import ONE, TWO
from tests.harness.linked import Linked, Receiver
from tests.harness.network import Came, Network, chain, real_engine, three_hops
from tests.harness.waiting import turns, until
from tests.harness.wire import HELD_DATAGRAMS, Board, WireConnection, WireEngine
from tunnel.datagram_tags import DatagramTags
from tunnel.frames import Frame, decode_datagram, encode_datagram, frame, split
from tunnel.layers import MAX_FLOW_NUMBER, Layers, is_datagram
from tunnel.limits import MAX_DATAGRAM, PING_IDLE_S
from tunnel.wireguard.handshake import Keys
from tunnel.wireguard.session import Session

if TYPE_CHECKING:
    from tunnel.client_flow import ClientFlow
    from tunnel.datagrams import Datagrams
    from tunnel.service import Tunnel

WHERE = "203.0.113.9", 53
NEAR, FAR = Keys(ONE, TWO, 1, 2, b"", b"x" * 32), Keys(TWO, ONE, 2, 1, b"", b"x" * 32)


async def association(client: Tunnel) -> tuple[Datagrams[ClientFlow], Came]:
    flow = await client.pool.dial_datagrams()
    return flow, Came(flow)  # type: ignore[return-value]


def wires(node: Tunnel) -> list[WireConnection]:
    assert isinstance(node.engine, WireEngine)
    return node.engine.connections


def guard_side(network: Network) -> WireConnection:
    """The guard's end of the client's link."""
    return wires(network.nodes[0])[0]


# -- frames and layers


@given(st.binary(max_size=2000), st.integers(1, 65535), st.from_regex(r"\A[!-~]{1,255}\Z"))
def test_a_datagram_is_read_as_it_was_written(payload: bytes, port: int, host: str) -> None:
    ((kind, body),) = split(memoryview(encode_datagram(host, port, payload)))
    assert kind == Frame.DATAGRAM
    assert tuple(decode_datagram(body)) == (host, port, payload)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"\0\1", b"\0\1\0", b"\0\1\1", b"\0\0\1a", b"\0\1\1 ", b"\0\1\1\xff", b"\0\1\3ab"),
        b"\0\1\1a" + bytes(MAX_DATAGRAM_BYTES + 1),
    ],
)
def test_what_is_no_datagram(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_datagram(memoryview(body))


@pytest.mark.parametrize(("host", "port", "size"), [("", 1, 0), ("a" * 256, 1, 0), ("a", 0, 0), ("a", 65536, 0)])
def test_what_cannot_be_written(host: str, port: int, size: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        encode_datagram(host, port, bytes(size))


def test_each_datagram_opens_once_and_in_any_order() -> None:
    near, far = Layers([Session(NEAR)], [7]), Layers([Session(FAR)], [7])
    messages = [bytes(near.seal_datagram(bytes([number]))) for number in range(100)]
    assert all(is_datagram(memoryview(message)) for message in messages)
    assert not is_datagram(memoryview(near.seal(b"x"))[2:-16])
    for number in (50, 99, 0, 98):
        assert far.open_datagram(memoryview(messages[number])) == bytes([number])
        with pytest.raises(DecodeError):
            far.open_datagram(memoryview(messages[number]))


def test_a_datagram_of_another_flow_or_changed_does_not_open() -> None:
    near, other = Layers([Session(NEAR)], [7]), Layers([Session(NEAR)], [8])
    far = Layers([Session(FAR)], [7])
    message = bytes(near.seal_datagram(b"payload"))
    for bit in range(0, len(message) * 8, 7):
        with pytest.raises(DecodeError):
            far.open_datagram(memoryview(flipped(message, bit)))
    with pytest.raises(DecodeError):
        far.open_datagram(memoryview(other.seal_datagram(b"payload")))
    assert bytes(far.open_datagram(memoryview(message))) == b"payload"


def test_a_stream_message_is_no_datagram() -> None:
    near, far = Layers([Session(NEAR)], [7]), Layers([Session(FAR)], [7])
    with pytest.raises(DecodeError):
        far.open_datagram(memoryview(near.seal(b"x"))[2:-16])


# -- a link


def opened(tags: DatagramTags, datagram: bytes) -> tuple[int, bytes]:
    stream, message = tags.open(memoryview(datagram))
    return stream, bytes(message)


def test_link_tags_let_each_datagram_through_once() -> None:
    near, far = DatagramTags(NEAR, dialled=True), DatagramTags(NEAR, dialled=False)
    first, second = near.seal(4, b"first"), near.seal(8, b"second")
    assert opened(far, second) == (8, b"second")
    assert opened(far, first) == (4, b"first")
    with pytest.raises(DecodeError):
        far.open(memoryview(first))
    for bit in range(len(first) * 8):
        with pytest.raises(DecodeError):
            far.open(memoryview(flipped(first, bit)))
    with pytest.raises(DecodeError):
        near.open(memoryview(near.seal(4, b"back to its sender")))


async def test_a_link_hands_datagrams_to_their_stream_and_counts_the_others() -> None:
    linked = await Linked.up()
    stream = linked.near.open_stream(Receiver())
    message = b"\4" + bytes(14) + b"\x80" + bytes(32)
    stream.send(bytearray(2) + message.replace(b"\x80", b"\0") + bytearray(16))
    await turns()
    stream.send_datagram(message)
    sent = linked.near_wire.datagrams[-1]
    for wrong in (sent, flipped(sent, 200), b"", linked.near.datagram_tags.seal(4000, message)):
        linked.near_wire.send_datagram(wrong)
    await turns()
    assert linked.far_events.opened[0].datagrams == [message]
    assert sum(linked.far.counters.values()) == 4
    assert not linked.far.closed


async def test_what_fits_no_datagram_goes_on_the_stream() -> None:
    linked = await Linked.up()
    stream = linked.near.open_stream(Receiver())
    head = b"\4" + bytes(14)
    stream.send(bytearray(2) + head + b"\0" + bytes(32) + bytearray(16))
    message = head + b"\x80" + bytes(MAX_DATAGRAM)
    stream.send_datagram(message)
    await turns()
    assert linked.far_events.opened[0].datagrams == [message]
    assert linked.near_wire.datagrams == []


async def test_what_fits_and_finds_no_room_is_dropped() -> None:
    linked = await Linked.up()
    stream = linked.near.open_stream(Receiver())
    linked.near_wire.stalled = True
    for _ in range(HELD_DATAGRAMS + 5):
        stream.send_datagram(b"\4" + bytes(14) + b"\x80" + bytes(1200))
    assert stream.queued == 0
    assert linked.near.counters["datagram dropped"] == 5


async def test_a_full_stream_drops_datagrams() -> None:
    linked = await Linked.up()
    stream = linked.near.open_stream(Receiver())
    linked.near_wire.stalled = True
    for _ in range(500):
        stream.send_datagram(b"\4" + bytes(14) + b"\x80" + bytes(2000))
    assert stream.queued < 140_000
    assert linked.near.counters["datagram dropped"] > 400


# -- through the network


@pytest.mark.parametrize("real", [False, True], ids=["in memory", "real engine"])
async def test_1200_bytes_pass_three_hops_and_come_back(real: bool) -> None:
    async with three_hops(real_engine if real else Board().engine) as (_, client, echo):
        flow, heard = await association(client)
        for number in range(10):
            assert flow.send(*WHERE, bytes([number]) * 1200)
            await until(lambda number=number: len(heard.datagrams) > number)  # type: ignore[misc]
        assert heard.datagrams == [(*WHERE, bytes([number]) * 1200) for number in range(10)]
        assert echo.associations[0].datagrams == heard.datagrams
        flow.close(Reason.LOCAL)
        await until(lambda: echo.associations[0].reason is Reason.LOCAL)


async def test_1200_bytes_go_as_datagrams_and_larger_ones_on_streams() -> None:
    async with three_hops(Board().engine) as (network, client, _):
        flow, heard = await association(client)
        flow.send(*WHERE, bytes(1200))
        await until(lambda: len(heard.datagrams) == 1)
        links = [connection for node in network.nodes for connection in wires(node)]
        assert sum(len(connection.datagrams) for connection in links) == 6
        flow.send(*WHERE, bytes(MAX_DATAGRAM_BYTES))
        await until(lambda: len(heard.datagrams) == 2)
        assert sum(len(connection.datagrams) for connection in links) == 6
        assert heard.datagrams[1] == (*WHERE, bytes(MAX_DATAGRAM_BYTES))
        assert not flow.send(*WHERE, bytes(MAX_DATAGRAM_BYTES + 1))


async def test_lost_ones_hold_up_nobody_and_repeated_ones_come_once() -> None:
    async with three_hops(Board().engine) as (network, client, echo):
        flow, heard = await association(client)
        guard = guard_side(network)
        lost = iter([True, False] * 50)
        guard.other.lose = lambda data: next(lost)
        for number in range(100):
            flow.send(*WHERE, bytes([number]))
        await until(lambda: len(heard.datagrams) == 50)
        guard.other.lose = lambda data: False
        for data in guard.other.datagrams[-20:] * 2:
            guard.other._pass_datagram(data)  # ten of them were lost before, and are only late
        flow.send(*WHERE, b"last")
        await until(lambda: heard.datagrams[-1][2] == b"last")
        came = echo.associations[0].datagrams
        assert len(came) == len({payload for *_, payload in came}) == 61


async def test_an_association_goes_on_over_another_circuit() -> None:
    async with three_hops(Board().engine) as (_, client, echo):
        flow, heard = await association(client)
        (before,) = {circuit for circuit in client.pool.circuits if flow.flow in circuit.flows}
        client.pool.hop()
        await until(lambda: before.over)

        async def answered() -> None:
            while not heard.datagrams:
                flow.send(*WHERE, b"again")
                await asyncio.sleep(0.01)

        await asyncio.wait_for(answered(), 5)
        assert len(echo.associations) == 1
        assert heard.reason is None


async def test_an_association_begins_on_another_circuit_if_the_first_one_ends_meanwhile() -> None:
    async with three_hops(Board().engine) as (_, client, echo):
        dialling = asyncio.ensure_future(client.pool.dial_datagrams())
        await asyncio.sleep(0)
        (circuit,) = [circuit for circuit in client.pool.circuits if circuit.flows]
        circuit.close(Reason.CLOSED)
        heard = Came(await dialling)
        assert heard.flow.send(*WHERE, b"x")
        await until(lambda: len(heard.datagrams) == 1)
        assert echo.associations[-1].datagrams == heard.datagrams


async def test_an_association_begins_on_another_circuit_if_one_has_no_number_left() -> None:
    async with three_hops(Board().engine) as (_, client, _):
        for circuit in client.pool.circuits:
            circuit._numbers = [MAX_FLOW_NUMBER + 1] * 3
        flow, heard = await association(client)
        flow.send(*WHERE, b"x")
        await until(lambda: len(heard.datagrams) == 1)


async def test_an_idle_circuit_is_watched_as_soon_as_it_has_an_association() -> None:
    async with three_hops(Board().engine) as (_, client, _):
        loop, pulses = asyncio.get_running_loop(), [circuit.pulse for circuit in client.pool.circuits]
        await until(lambda: all(pulse._timer_at > loop.time() + PING_IDLE_S / 2 for pulse in pulses))
        await association(client)
        (circuit,) = [circuit for circuit in client.pool.circuits if circuit.flows]
        before = circuit.pulse._answered_at
        await until(lambda: circuit.pulse._answered_at > before, PING_IDLE_S / 2)


async def test_nothing_stays_of_one_that_nobody_waits_for_any_more() -> None:
    async with three_hops(Board().engine) as (_, client, echo):
        dialling = asyncio.ensure_future(client.pool.dial_datagrams())
        await until(lambda: any(circuit.flows for circuit in client.pool.circuits))
        dialling.cancel()
        await until(lambda: bool(echo.associations) and echo.associations[0].reason is Reason.LOCAL)
        assert not any(circuit.flows for circuit in client.pool.circuits)


@pytest.mark.parametrize("host", ["203.0.113.9", "2001:db8:1111:2222:3333:4444:5555:6666"])
async def test_the_largest_payload_that_goes_as_a_datagram(host: str) -> None:
    """As `docs/protocol.md` says of three hops."""
    largest = 1269 - len(host)
    async with three_hops(Board().engine) as (network, client, _):
        flow, heard = await association(client)
        for size, passed in ((largest, 6), (largest + 1, 4)):
            before = sum(len(link.datagrams) for node in network.nodes for link in wires(node))
            heard.datagrams.clear()
            flow.send(host, 53, bytes(size))
            await until(lambda: bool(heard.datagrams))
            after = sum(len(link.datagrams) for node in network.nodes for link in wires(node))
            assert after - before == passed, "of six links, there and back, the client's own are the narrowest"


async def test_a_relay_that_is_no_exit_refuses() -> None:
    network = Network(Board().engine)
    try:
        await network.add()
        network.paths = [[0]]
        client = network.client()
        await client.start(0, client=True)
        with pytest.raises(FlowError):
            await client.pool.dial_datagrams()
    finally:
        await network.close()


async def test_data_on_an_association_ends_it() -> None:
    async with chain(1, Board().engine) as (_, client, echo):
        flow, heard = await association(client)
        flow.flow._send(frame(Frame.DATA, b"x"))
        await until(lambda: heard.reason is Reason.PROTOCOL)
        assert echo.associations[0].reason is Reason.PROTOCOL


async def test_a_datagram_on_a_tcp_flow_is_dropped() -> None:
    async with chain(1, Board().engine) as (network, client, _):
        circuit = client.pool.circuits[0]
        flow = circuit.open_flow(ECHO)
        await flow.opened
        flow.send_datagram(encode_datagram(*WHERE, b"x"))
        await until(lambda: sum(link.counters["datagram: not legal now"] for link in network.nodes[0].links))
        await check_alive(client)
