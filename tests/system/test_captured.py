"""One who has everything of a private network but its secret: all datagrams, the DHT, every address and public key.

He may also stand inside QUIC's TLS, which is trusted with nothing: then he has the records of the links. He reads,
asks, repeats what others said, and tries an honest handshake; each time a member does the same, and succeeds.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import shutil
import time
from typing import TYPE_CHECKING, Final

import pytest

from core.errors import DecodeError, LinkError
from peers.descriptor import Descriptor, Role
from peers.networks import PROOF_BYTES, PROOF_LIFE_S, PUBLIC_NAME, Network
from peers.rendezvous import SHARDS, days, own_keys
from tests.harness.capture import Capture, queries
from tests.harness.members import LOOPBACK, dialler, members
from tests.harness.middle import Attack, Way, framed
from tests.harness.waiting import until
from tunnel.control import DESCRIPTOR, WANT_DESCRIPTOR
from tunnel.wireguard.constants import HYBRID_INITIATION_BYTES, HYBRID_RESPONSE_BYTES, LINK_IDENTIFIER
from tunnel.wireguard.handshake import Initiator, tai64n
from tunnel.wireguard.primitives import kdf, private_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from peers.addresses import Address
    from peers.dht import Dht
    from tests.harness.capture import Datagram
    from tests.harness.members import Engine, Member, Members
    from tests.harness.middle import Seen, Tap
    from tunnel.links import Links

pytest.importorskip("libtorrent", reason="libtorrent is not built for this Python")
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("tcpdump") is None, reason="Debian's package tcpdump is not installed"),
]

NAME: Final = "canary-7f3a9c51"
ROLES: Final = (Role.EXIT, Role.RELAY)
LIMIT_S: Final = 20.0
CONTROL: Final = 0
"""The stream of a link's control records."""


@pytest.fixture
def network() -> Network:
    return Network(NAME, secrets.token_bytes(32))


@pytest.fixture
def capture(tmp_path: Path) -> Iterator[Capture]:
    with Capture(tmp_path / "capture.pcap", LOOPBACK) as running:
        yield running


def guesses(known: Iterable[Descriptor]) -> list[Network]:
    """The networks that he can make out of what is public."""
    publics = [key for one in known for key in (one.peer, one.link_key, *one.onion_keys)]
    named = [hashlib.sha256(NAME.encode()).digest(), hashlib.blake2s(NAME.encode()).digest()]
    tried = [bytes(32), Network(PUBLIC_NAME).secret, Network(NAME).secret, *named, *publics]
    return [Network(PUBLIC_NAME), Network(NAME), *(Network(NAME, secret) for secret in tried)]


def meeting_points(network: Network, of_days: Iterable[int]) -> set[bytes]:
    return {network.rendezvous(role, shard, day) for role in ROLES for shard in range(SHARDS) for day in of_days}


def opened(values: Iterable[bytes], networks: Iterable[Network]) -> set[bytes]:
    """The descriptors that somebody with these networks' secrets reads out of values."""
    found = set()
    for network in networks:
        for value in values:
            try:
                found.add(Descriptor.decode(network.open(value), time.time()).raw)
            except DecodeError:
                continue
    return found


def holds(datagrams: Iterable[Datagram], needle: bytes) -> bool:
    return any(needle in datagram.payload for datagram in datagrams)


async def left_in_the_dht(capture: Capture, scene: Members) -> list[Datagram]:
    """Wait until both members have left word in the DHT, and have looked for others."""
    peers = {one.peer for one in scene.both}
    today = meeting_points(scene.network, days(time.time()))

    def done() -> bool:
        seen = capture.datagrams()
        stored = {item[b"k"] for item in queries(seen, "put")}
        return (
            stored == peers and named(seen, "announce_peer") >= own_places(scene) and named(seen, "get_peers") >= today
        )

    await until(done, LIMIT_S)
    return capture.datagrams()


def named(datagrams: list[Datagram], kind: str) -> set[bytes]:
    """The keys that the DHT's queries of one kind name."""
    return {query[b"info_hash"] for query in queries(datagrams, kind)}


def own_places(scene: Members) -> set[bytes]:
    return {key for one in scene.both for key in own_keys(scene.network, one.peer, one.roles, time.time())}


async def test_what_is_seen_in_the_dht_leads_to_no_other_place_there(
    network: Network, capture: Capture, tmp_path: Path
) -> None:
    """Who records the DHT's traffic has that day's names out of it, and makes no other's."""
    async with members(tmp_path, network) as scene:
        seen = await left_in_the_dht(capture, scene)
        now = days(time.time())
        assert named(seen, "announce_peer") == own_places(scene)
        assert {item[b"salt"] for item in queries(seen, "put")} == {network.salt(one.peer) for one in scene.both}
        assert not any(holds(seen, key) for key in meeting_points(network, range(now[0] + 2, now[0] + 100)))
        for guess in guesses(scene.both):
            near = meeting_points(guess, range(now[0] - 2, now[0] + 3))
            assert not any(holds(seen, key) for key in (*near, *(guess.salt(one.peer) for one in scene.both)))


async def test_a_node_of_the_dht_finds_nobody_without_the_secret(
    network: Network, capture: Capture, tmp_path: Path
) -> None:
    async with members(tmp_path, network) as scene:
        await left_in_the_dht(capture, scene)
        stranger = scene.strangers[1]
        heard: set[Address] = set()
        keys = {key for guess in guesses([])[:3] for key in meeting_points(guess, days(time.time()))}
        async with asyncio.TaskGroup() as searches:
            for key in keys:
                searches.create_task(stranger.search(key, heard.update, 1.0))
            found = await search(stranger, own_places(scene))
        assert found == {one.addresses[0] for one in scene.both}
        assert not heard


async def search(node: Dht, keys: set[bytes]) -> set[Address]:
    """Search under keys until each has led to somebody."""
    found: dict[bytes, set[Address]] = {key: set() for key in keys}
    async with asyncio.timeout(LIMIT_S):
        while not all(found.values()):
            await asyncio.gather(*(node.search(key, into.update, 0.3) for key, into in found.items()))
    return set().union(*found.values())


async def test_what_the_dht_keeps_opens_for_members_alone(network: Network, capture: Capture, tmp_path: Path) -> None:
    async with members(tmp_path, network) as scene:
        items = queries(await left_in_the_dht(capture, scene), "put")
        raws = {one.raw for one in scene.both}
        # The salt was in the clear, so he can ask for the items too.
        answers = await asyncio.gather(
            *(scene.strangers[2].get(item[b"k"], item[b"salt"]) for item in items[:1] + items[-1:])
        )
        for values in ([item[b"v"] for item in items], [value for answer in answers for value in answer]):
            assert opened(values, [network]) == raws
            assert opened(values, guesses(scene.both)) == set()


def secrets_of(network: Network) -> list[bytes]:
    """The network's secret and all keys that follow from it."""
    return [network.secret, *kdf(network.secret, b"Macro VPN v1 network", 4)]


def needles(scene: Members) -> list[bytes]:
    """What nobody but members may read anywhere, peers' names apart."""
    of_peers = [text for one in scene.both for text in (one.raw[:36], one.raw[-64:], one.link_key, *one.onion_keys)]
    return [NAME.encode(), *secrets_of(scene.network), *of_peers]


async def test_keys_and_descriptors_are_nowhere_in_the_capture(
    network: Network, capture: Capture, tmp_path: Path
) -> None:
    async with members(tmp_path, network) as scene:
        seen = await left_in_the_dht(capture, scene)
        assert not [needle for needle in needles(scene) if holds(seen, needle)]

        # An item of the DHT names who signed it; nothing else does.
        items = queries(seen, "put")
        on_links = [one for one in seen if scene.exit.address in (one.source, one.target)]
        for one in scene.both:
            stored = [item for item in items if item[b"k"] == one.peer]
            assert stored
            assert all(holds(seen, item[b"v"]) for item in stored)
            assert not any(one.peer in item[b"v"] for item in stored)
            assert not holds(on_links, one.peer)
        assert sum(len(one.payload) for one in on_links) > 2 * HYBRID_INITIATION_BYTES


# -- inside QUIC's TLS


def told(tap: Tap, way: Way = Way.TO_CLIENT) -> list[bytes]:
    """The control records that went one way."""
    return [record for passed, stream, record in tap.seen if passed is way and stream == CONTROL]


async def says(scene: Members, *records: bytes) -> Tap:
    """Dial the exit as a stranger, say control records, and wait until it answers or hangs up."""
    tap = await scene.middle.dial()
    tap.send(Way.TO_GUARD, CONTROL, b"".join(map(framed, records)))
    await until(lambda: tap.closed or told(tap))
    return tap


def asking(proof: bytes) -> bytes:
    return bytes([WANT_DESCRIPTOR]) + proof


def initiation(network: Network, link_key: bytes) -> bytes:
    initiator = Initiator(
        LINK_IDENTIFIER,
        private_key(secrets.token_bytes(32)),
        link_key,
        secrets.randbits(32),
        secrets.token_bytes,
        network.preshared,
    )
    return initiator.create_initiation(tai64n(time.time()))


def answering(scene: Members, records: list[bytes]) -> None:
    """Have the man in the middle answer the next thing that is said with these records, and carry nothing on."""

    def answer(seen: Seen) -> list[bytes]:
        seen.tap.send(Way.TO_CLIENT, CONTROL, b"".join(map(framed, records)))
        return []

    scene.middle.attacks = [Attack(Way.TO_GUARD, lambda stream, record: stream == CONTROL, answer)]


async def refusals(member: Member, reason: str, count: int) -> None:
    """Wait until a member has counted all its refusals, which are for one reason."""
    await until(lambda: member.links.counters["handshake not finished"] == count)
    assert member.links.counters == {reason: count, "handshake not finished": count}


async def test_one_inside_tls_reads_no_more(network: Network, tmp_path: Path) -> None:
    """Not even if he stood on the way to the exit itself, and repeats what a member showed there a moment ago."""
    async with members(tmp_path, network, dht=False, tapped=True) as scene:
        (answer,) = told(await says(scene, asking(network.ask(scene.exit.address, time.time()))))
        assert answer[0] == DESCRIPTOR
        assert opened([answer[1:]], [network]) == {scene.exit.descriptor.raw}
        assert opened([answer[1:]], guesses(scene.both)) == set()

        records = [answer, *(record for _, _, record in scene.middle.taps[0].seen)]
        assert [len(record) for record in records[1:3]] == [HYBRID_INITIATION_BYTES, HYBRID_RESPONSE_BYTES]
        hidden = [*needles(scene), *(one.peer for one in scene.both)]
        assert not [needle for needle in hidden if any(needle in record for record in records)]


async def test_the_right_to_ask_is_worth_nothing_to_whom_it_was_shown(network: Network, tmp_path: Path) -> None:
    """A member dials where strangers said that there is somebody, and shows that it may ask; here, to him."""
    async with members(tmp_path, network, dht=False) as scene:
        exit_, friend = scene.exit, scene.friend
        assert not await friend.peering.meet(scene.middle.address)
        (tap,) = scene.middle.taps
        (shown,) = told(tap, Way.TO_GUARD)
        assert (shown[0], len(shown)) == (WANT_DESCRIPTOR, 1 + PROOF_BYTES)
        late = network.ask(exit_.address, time.time() - PROOF_LIFE_S - 1)
        of_others = [guess.ask(exit_.address, time.time()) for guess in guesses(scene.both)]
        refused = [tap, *[await says(scene, record) for record in (shown, *map(asking, (b"", late, *of_others)))]]
        assert all(one.closed and not told(one) for one in refused)
        await refusals(exit_, "control: there is no descriptor for strangers", len(refused))

        # A member is told, and who repeats to a member what the exit told is not taken for the exit.
        (answer,) = told(await says(scene, asking(network.ask(exit_.address, time.time()))))
        assert opened([answer[1:]], [network]) == {exit_.descriptor.raw}
        answering(scene, [answer])
        assert not await friend.peering.meet(scene.middle.address)
        assert await friend.peering.meet(exit_.address)


async def test_repeated_records_make_no_link(network: Network, tmp_path: Path) -> None:
    """Either end hears what was said to it before: all of it, and all but its beginning.

    A member's message 1 is answered once. Message 2 is of use only to who made the keys in message 1.
    """
    async with members(tmp_path, network, dht=False, tapped=True) as scene:
        recorded = scene.middle.taps[0]
        said, answered = told(recorded, Way.TO_GUARD), told(recorded)
        assert len(said[0]) == HYBRID_INITIATION_BYTES
        links = scene.exit.begun
        assert links
        for first in (0, 1, 2):
            later = await says(scene, *said[first:])
            assert later.closed
            assert not told(later)
        assert scene.exit.begun == links

        async with dialler(network) as member:
            answering(scene, answered)
            with pytest.raises(LinkError):
                await member.to(scene.exit.hop(scene.middle.address))
            scene.middle.attacks = []
            assert (await member.to(scene.exit.hop(scene.middle.address))).is_up


async def test_another_secret_is_worth_no_more_than_none(network: Network, tmp_path: Path) -> None:
    async with members(tmp_path, network, dht=False) as scene:
        links, key = scene.exit.begun, scene.exit.descriptor.link_key
        junk = initiation(network, key)[:4] + secrets.token_bytes(HYBRID_INITIATION_BYTES - 4)
        tries = [junk, *(initiation(guess, key) for guess in guesses(scene.both))]
        outcomes = [await says(scene, message) for message in tries]
        assert all(one.closed and not told(one) for one in outcomes)
        await refusals(scene.exit, "initiation: mac1 does not verify", len(tries))

        at = scene.exit.hop(scene.exit.address)
        for guess in guesses(scene.both)[:3]:
            async with dialler(guess) as stranger:
                with pytest.raises(LinkError):
                    await stranger.to(at)
                assert not set(stranger)
        assert scene.exit.begun == links
        async with dialler(network) as member:
            assert (await member.to(at)).is_up
            await until(lambda: scene.exit.begun - links)


# -- the datagrams again


class Again(asyncio.DatagramProtocol):
    """A port of his, and what is answered there."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self.answers.append(data)


async def repeat(payloads: list[bytes], target: Address, member: Member, honest: Links) -> list[bytes]:
    """Say recorded datagrams from a new port, until a dial that came after them has been answered.

    Returns:
        What was answered to the datagrams.
    """
    links = member.begun
    port, again = await asyncio.get_running_loop().create_datagram_endpoint(Again, local_addr=("127.0.0.1", 0))
    try:
        for payload in payloads:
            port.sendto(payload, target)
        link = await honest.to(member.hop(target))
        assert len(member.begun - links) == 1
        link.close()
        await until(lambda: member.begun == links)
    finally:
        port.close()
    return again.answers


@pytest.mark.parametrize("engine", ["aiopquic", "aioquic"])
async def test_repeated_datagrams_make_no_link_and_harm_none(
    network: Network, engine: Engine, capture: Capture, tmp_path: Path
) -> None:
    """All that went to the members' ports for links, in its order, the lines each from a port of its own."""
    async with members(tmp_path, network, engine, dht=False) as scene:
        ports = {one.address[1]: one for one in (scene.exit, scene.friend)}
        lines: dict[tuple[Address, Address], list[bytes]] = {}
        for source, target, payload in capture.datagrams():
            if source[1] in ports and target[1] in ports:
                lines.setdefault((source, target), []).append(payload)
        assert {target[1] for _, target in lines} == set(ports)
        answers: list[bytes] = []
        async with dialler(network, engine) as honest:
            for (_, target), payloads in lines.items():
                answers += await repeat(payloads, target, ports[target[1]], honest)
        assert not [needle for needle in needles(scene) if any(needle in answer for answer in answers)]

        before = scene.friend.circuits
        await scene.friend.node.hop()
        await until(lambda: scene.friend.circuits - before)
