"""A hostile client: it has a link like everybody, and asks for what costs others more than itself."""

from __future__ import annotations

import secrets
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest

from core.errors import CircuitError, LinkError, Reason
from core.ids import PeerKey
from tests.harness.bare import Bare, check_alive, creation_for, linked_to, path_of
from tests.harness.linked import Owner, Receiver, record
from tests.harness.network import Network, chain
from tests.harness.waiting import turns, until
from tests.harness.wire import Board, WireEngine
from tunnel.control import Kind, encode_circuit
from tunnel.creation import CREATION_BYTES
from tunnel.hosts import Rates
from tunnel.limits import MAX_HOPS, MAX_PLAINTEXT, UNANSWERED_BURST, UNREAD_LINK_BYTES
from tunnel.link import CONTROL_STREAM
from tunnel.path import Hop
from tunnel.wireguard.primitives import private_key, public_bytes
from tunnel.wireguard.session import Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tunnel.creation import Asked
    from tunnel.link import Link
    from tunnel.path import Path
    from tunnel.service import Tunnel

VICTIM: Final = "203.0.113.7"
LIMIT_S: Final = 60.0
"""For a machine on which much else runs; alone it takes milliseconds."""

A_FEW: Final = 1 << 20
"""Instead of the real bound, so that an attack is over soon."""


class HostileClient:
    """One with a link to the guard, and keys of its own.

    Args:
        network: whom it attacks.
        tunnel: its links.
        link: to the guard.
    """

    def __init__(self, network: Network, tunnel: Tunnel, link: Link) -> None:
        self.network = network
        self.tunnel = tunnel
        self.link = link

    @classmethod
    async def of(cls, network: Network) -> HostileClient:
        tunnel = network.client()
        await tunnel.start(0, client=False)
        return cls(network, tunnel, await linked_to(tunnel, path_of(network)[0]))

    async def circuit(self, path: Path) -> Bare:
        """A circuit over any path, sensible or not."""
        creation, owner = creation_for(path), Owner()
        number, answer = await self.link.create(creation.message, owner, LIMIT_S)
        return Bare(self.link, number, [Session(keys) for keys in creation.consume_answer(answer)], owner)

    def begin(self, streams: int, data: bytes) -> None:
        """Begin records that never end."""
        for _ in range(streams):
            self.link.connection.write(self.link.connection.open_stream(), data)

    async def point_at(self, addresses: tuple[tuple[str, int], ...]) -> int:
        """Make up a peer at somebody else's addresses and have the guard dial it; returns the bytes that this costs."""
        peer, key = PeerKey(secrets.token_bytes(32)), public_bytes(private_key(secrets.token_bytes(32)))
        made_up = Hop(peer, key, key, addresses)
        self.network.hops[peer] = made_up
        creation = creation_for((path_of(self.network)[0], made_up))
        _, answer = await self.link.create(creation.message, Owner(), LIMIT_S)
        with pytest.raises(CircuitError) as refused:
            creation.consume_answer(answer)
        assert refused.value.reason is Reason.NEXT_HOP
        return CREATION_BYTES


@pytest.fixture
async def two_hops() -> AsyncIterator[tuple[Network, Tunnel, HostileClient]]:
    """Guard, exit, a good client with circuits ready, and a hostile one."""
    async with chain(2, Board().engine) as (network, client, _):
        yield network, client, await HostileClient.of(network)


def engine_of(node: Tunnel) -> WireEngine:
    assert isinstance(node.engine, WireEngine)
    return node.engine


# -- memory


HALF: Final = b"\x80\x00" + bytes(20_000)
"""The head of a record of 32 KiB and a part of it."""


@pytest.mark.parametrize("data", [HALF, b"\x80"], ids=["half a record", "half a head"])
async def test_what_is_begun_on_thousands_of_streams_is_bounded(
    two_hops: tuple[Network, Tunnel, HostileClient], monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    network, client, hostile = two_hops
    monkeypatch.setattr("tunnel.begun.BEGUN_BYTES", A_FEW)
    begun = network.nodes[0].links._begun
    most = 0

    def look() -> bool:
        nonlocal most
        most = max(most, begun.total_bytes)
        return hostile.link.closed

    for _ in range(400):
        hostile.begin(1, data)
        await turns(1)
        if look():
            break
    await until(look)
    assert most <= A_FEW
    assert begun.total_bytes == 0
    assert network.nodes[0].links.counters["too much begun"] == 1
    await check_alive(client)


async def test_what_ends_after_all_counts_no_more(two_hops: tuple[Network, Tunnel, HostileClient]) -> None:
    network, client, hostile = two_hops
    begun = network.nodes[0].links._begun
    hostile.begin(10, HALF)
    await until(lambda: begun.total_bytes > 10 * len(HALF))
    for stream in range(4, 44, 4):
        hostile.link.connection.reset(stream)
    await until(lambda: begun.total_bytes == 0)
    await check_alive(client)


async def test_what_is_refused_when_it_is_whole_counts_no_more(
    two_hops: tuple[Network, Tunnel, HostileClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, _, hostile = two_hops
    wire, guard, most = engine_of(hostile.tunnel).connections[0], network.nodes[0], 0
    write = wire.write

    def in_halves(stream: int, data: bytes, end: bool = False) -> bool:
        write(stream, data[:500])
        hostile.tunnel.links._tasks.spawn(later(partial(write, stream, data[500:], end)), "the other half")
        return True

    async def later(call: Callable[[], object]) -> None:
        nonlocal most
        await turns()
        most = max(most, guard.links._begun.total_bytes)
        call()

    monkeypatch.setattr(wire, "write", in_halves)
    for _ in range(10):
        hostile.link.open_stream(Receiver()).send(record(b"\4\0\0\0" + bytes(1000)))
    await until(lambda: guard.relay.counters["no such circuit"] == 10)
    assert most > 10 * 500
    assert guard.links._begun.total_bytes == 0


async def test_answers_that_nobody_reads_are_bounded_over_all_links(
    two_hops: tuple[Network, Tunnel, HostileClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of many links stays far below what one may have waiting. The greediest go, and no more than must."""
    network, client, _ = two_hops
    guard = network.nodes[0]
    monkeypatch.setattr("tunnel.unread.UNREAD_BYTES", A_FEW // 4)
    monkeypatch.setattr("tunnel.unread.QUEUE_STEP", A_FEW // 64)
    before, most = len(engine_of(guard).connections), 0
    hostile = [await HostileClient.of(network) for _ in range(12)]
    ends = engine_of(guard).connections[before:]
    for end in ends:
        end.stalled = True
    for round_ in range(10):
        for place, one in enumerate(hostile):
            if place < 4 or not round_ % 3:
                one.link._send_control(Kind.CREATE, encode_circuit(1000 + 2 * round_, bytes(CREATION_BYTES)))
        await turns()
        most = max(most, sum(link.unread_bytes for link in guard.links))
    greedy = sum(one.link.closed for one in hostile[:4])
    assert A_FEW // 8 < most <= A_FEW // 4 + A_FEW // 64 + 2 * CREATION_BYTES
    assert guard.links.counters["control queues"] == greedy
    assert 0 < greedy <= 4
    assert not any(one.link.closed for one in hostile[4:])
    assert all(end.unsent(CONTROL_STREAM) < UNREAD_LINK_BYTES // 4 for end in ends)
    await check_alive(client)
    for one in hostile:
        await one.tunnel.close()


async def test_one_host_does_not_take_all_places(
    two_hops: tuple[Network, Tunnel, HostileClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Links are free: each has a key of its own. Those of other hosts still come up."""
    network, client, _ = two_hops
    guard, most = network.nodes[0], 12
    monkeypatch.setattr("tunnel.links.MAX_LINKS_PER_HOST", most)
    async with AsyncExitStack() as stack:

        async def link() -> bool:
            tunnel = network.client()
            await tunnel.start(0, client=False)
            stack.push_async_callback(tunnel.close)
            try:
                return (await tunnel.links.to(path_of(network)[0])).is_up
            except LinkError:
                return False

        made = [await link() for _ in range(2 * most)]
        assert sum(made) == most - sum(not up for up in made[:most])
        assert len([one for one in guard.links if not one.dialled]) == most
        assert guard.links.counters["too many links of one host"] == 2 * most - sum(made)
        monkeypatch.setattr("tests.harness.wire.HOME", "198.51.100.9")
        assert await link()
    await until(lambda: len(guard.links._per_host) == 1)
    await check_alive(client)


async def test_links_to_peers_that_it_names_do_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names one peer after the other, for a moment each. The hop has a link to each, and soon to a few."""
    stay, others = 2, 6
    async with chain(2, Board().engine) as (network, client, echo):
        guard, hostile = network.nodes[0], await HostileClient.of(network)
        for _ in range(others):
            await network.add(echo)
        named = [network.hops[key] for key in network.keys[-others:]]
        first, last = path_of(network)

        def linked() -> set[PeerKey | None]:
            return {link.peer for link in guard.links if link.dialled}

        for hop in named:
            circuit = await hostile.circuit((first, hop))
            circuit.link.destroy(circuit.number, Reason.CLOSED)
        held = await hostile.circuit((first, named[0]))
        assert len(linked()) == others + 1
        monkeypatch.setattr("tunnel.links.NEEDLESS_S", 0.0)
        monkeypatch.setattr("tunnel.links.NEEDLESS_LINKS", stay)
        await until(lambda: sum(link.carries_circuits for link in guard.links if link.dialled) == 2)
        guard.links.close_needless()
        await turns()
        kept = {last.peer, named[0].peer, *(hop.peer for hop in named[-stay:])}
        assert linked() == kept, "those over which circuits go, and the last of the others"
        assert guard.links.counters["link that nobody needs"] == others - 1 - stay
        assert not held.owner.reasons
        await check_alive(client)


# -- others' machines


async def test_a_descriptor_with_others_addresses_makes_no_hop_a_cannon(
    two_hops: tuple[Network, Tunnel, HostileClient],
) -> None:
    """However many made-up peers it names, each with the most addresses, a hop dials one network so often."""
    network, client, hostile = two_hops
    guard = engine_of(network.nodes[0])
    guard.dialled.clear()
    for number in range(20):
        await hostile.point_at(tuple((VICTIM, 1000 + 8 * number + port) for port in range(8)))
    aimed = [host for host, _ in guard.dialled if host == VICTIM]
    assert len(aimed) == UNANSWERED_BURST
    assert network.nodes[0].links.counters["not dialled for others"] == 160 - UNANSWERED_BURST
    # Another address of the same network is no other victim, and one elsewhere is still dialled.
    await hostile.point_at((("203.0.113.8", 1), ("198.51.100.1", 1)))
    assert guard.dialled[-1] == ("198.51.100.1", 1)
    assert len(guard.dialled) == UNANSWERED_BURST + 1
    await check_alive(client)


async def test_who_answers_is_dialled_as_often_as_one_likes(
    two_hops: tuple[Network, Tunnel, HostileClient],
) -> None:
    network, _, hostile = two_hops
    guard = network.nodes[0]
    for _ in range(2 * UNANSWERED_BURST):
        await hostile.circuit(path_of(network))
        for link in [link for link in guard.links if link.dialled]:
            link.close()
        await until(lambda: not [link for link in guard.links if link.dialled])
    assert guard.links.counters["not dialled for others"] == 0


async def test_a_circuit_in_a_ring_costs_no_more_than_its_hops() -> None:
    """A path may lead over the same hops again. What each byte costs the network is bounded by the longest path."""
    async with chain(3, Board().engine) as (network, client, _):
        hostile = await HostileClient.of(network)
        guard, relay, last = path_of(network)
        circuit = await hostile.circuit((guard, relay, guard, relay, last))
        assert len(circuit.sessions) == MAX_HOPS
        ends = [end for node in network.nodes for end in engine_of(node).connections if end.dialled]
        ends = list({id(end): end for end in ends}.values())
        for end in ends:
            end.written.clear()
        stream, layers, _ = circuit.open(1, "sink.example")
        for _ in range(8):
            stream.send(layers.seal(bytes([3, 0, 0x10, 0]) + bytes(4096)))
            await turns(20)
        sent = sum(len(data) for stream, data in engine_of(hostile.tunnel).connections[0].written if stream)
        carried = sum(len(data) for end in ends for stream, data in end.written if stream)
        assert 8 * 4096 < sent < carried <= MAX_HOPS * sent
        await check_alive(client)


async def test_a_longer_ring_cannot_be_made(two_hops: tuple[Network, Tunnel, HostileClient]) -> None:
    """A creation has room for so many hops, and a hop beyond reads nothing."""
    network, _, hostile = two_hops
    with pytest.raises(CircuitError) as refused:
        await hostile.circuit(path_of(network) * 3)
    assert (refused.value.reason, refused.value.hop) == (Reason.PROTOCOL, MAX_HOPS)


# -- what was asked for and is not wanted any more


async def test_creations_that_are_taken_back_at_once_leave_nothing(
    two_hops: tuple[Network, Tunnel, HostileClient],
) -> None:
    network, client, hostile = two_hops
    before = [node.relay.circuit_count for node in network.nodes]
    for _ in range(40):
        task = hostile.tunnel.links._tasks.spawn(hostile.circuit(path_of(network)), "creation")
        await turns(3)
        task.cancel()
    await until(lambda: not any(node.relay.creating_count for node in network.nodes))
    await until(lambda: [node.relay.circuit_count for node in network.nodes] == before)
    await check_alive(client)


async def test_a_flood_of_creations_takes_no_more_of_a_hops_time_than_its_part(
    two_hops: tuple[Network, Tunnel, HostileClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each costs a hop a thousand times what it costs to send one again. Those of others are worked for as before."""
    network, client, hostile = two_hops
    relay, worked = network.nodes[0].relay, 0
    monkeypatch.setattr(relay, "_pace", Rates(50, 0.0, 4, lambda: 0.0))
    consume = relay._consume

    def counted(message: bytes) -> tuple[Asked | None, bool]:
        nonlocal worked
        worked += 1
        return consume(message)

    monkeypatch.setattr(relay, "_consume", counted)
    for circuit in range(1000, 1400, 2):
        hostile.link._send_control(Kind.CREATE, encode_circuit(circuit, bytes(CREATION_BYTES)))
        await turns(1)
    await until(lambda: relay.counters["creation too often"] == 150)
    assert worked == 50
    assert not hostile.link.closed
    monkeypatch.setattr("tests.harness.wire.HOME", "198.51.100.9")
    other = await HostileClient.of(network)
    await other.circuit(path_of(network))
    await check_alive(client)


async def test_records_for_circuits_of_others_open_nothing(two_hops: tuple[Network, Tunnel, HostileClient]) -> None:
    """It guesses, or has seen, what names a good client's circuit; on its own link that names nothing."""
    network, client, hostile = two_hops
    (index,) = [index for index in next(iter(network.nodes[0].relay._circuits.values()))][:1]
    streams = [hostile.link.open_stream(Receiver()) for _ in range(4)]
    for counter, stream in enumerate(streams):
        stream.send(
            record(b"\4\0\0\0" + index.to_bytes(4, "little") + (counter << 40).to_bytes(8, "little") + bytes(80))
        )
    await until(lambda: network.nodes[0].relay.counters["no such circuit"] == len(streams))
    assert hostile.link.is_up
    await check_alive(client)


async def test_what_an_exit_is_sent_is_no_more_than_was_sent(two_hops: tuple[Network, Tunnel, HostileClient]) -> None:
    """No message of a client makes a hop send on more bytes than it got, apart from answers of one size to it."""
    network, _, hostile = two_hops
    circuit = await hostile.circuit(path_of(network))
    guard = network.nodes[0]
    before = guard.relay.forwarded_bytes[0]
    stream, layers, _ = circuit.open(1, "sink.example")
    await turns()
    wire = engine_of(hostile.tunnel).connections[0]
    for _ in range(5):
        stream.send(layers.seal(bytes([3, 0, 0x40, 0]) + bytes(0x4000)))
    await turns()
    assert MAX_PLAINTEXT < guard.relay.forwarded_bytes[0] - before < len(wire.sent_on(stream.id))
