from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DecodeError
from peers import gossip
from peers.descriptor import MAX_DESCRIPTOR_BYTES, digest
from peers.directory import Directory
from peers.gossip import MAX_MESSAGE_BYTES, STRIKES, Gossip
from tests.peers.build import DAY_S, NOW, identity, signed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from peers.voices import Voice

HAVE, WANT, DESCRIPTORS = b"\x01", b"\x02", b"\x03"


class Node:
    """A directory with an end of gossip per link."""

    def __init__(self, number: int, *known: int) -> None:
        self.number = number
        self.raw: bytes | None = signed(number)
        self.directory = Directory(identity(number).peer)
        self.ends: dict[int, Gossip] = {}
        for other in known:
            assert self.directory.add(signed(other), NOW, None)

    def knows(self, *numbers: int) -> bool:
        return {found.peer for found in self.directory.peers()} == {identity(number).peer for number in numbers}

    def open(self) -> Gossip:
        return Gossip(self.directory, lambda: self.raw)


class Network:
    """Nodes and links in memory. Every message is checked for its size."""

    def __init__(self, *nodes: Node) -> None:
        self.nodes = {node.number: node for node in nodes}
        self.queue: deque[tuple[int, int, bytes]] = deque()
        self.messages = 0
        self.now: float = NOW
        self.sources: dict[tuple[int, int], Voice] = {}

    def link(self, one: int, other: int) -> None:
        for here, there in ((one, other), (other, one)):
            end = self.nodes[here].ends[there] = self.nodes[here].open()
            self.send(here, there, end.start(self.now))

    def send(self, here: int, there: int, messages: list[bytes]) -> None:
        for message in messages:
            assert 1 < len(message) <= MAX_MESSAGE_BYTES
            self.queue.append((here, there, message))

    def settle(self, limit: int = 20_000) -> None:
        """Deliver until nothing is left to deliver."""
        while self.queue:
            here, there, message = self.queue.popleft()
            self.messages += 1
            assert self.messages < limit, "the nodes never stop talking"
            source = self.sources.get((there, here), f"link {here}")
            self.send(there, here, self.nodes[there].ends[here].receive(message, self.now, source))

    def announce(self, rounds: int = 1) -> None:
        for _ in range(rounds):
            self.now += 60
            for here, node in self.nodes.items():
                for there, end in node.ends.items():
                    self.send(here, there, end.announce(self.now))
            self.settle()


def digests(raws: Iterable[bytes]) -> bytes:
    return b"".join(map(digest, raws))


def packed(*raws: bytes) -> bytes:
    return DESCRIPTORS + b"".join(len(raw).to_bytes(2) + raw for raw in raws)


# -- convergence


def test_two_nodes_learn_all_of_each_other() -> None:
    network = Network(Node(1, 10, 11, 12), Node(2, 12, 13))
    network.link(1, 2)
    network.settle()
    assert network.nodes[1].knows(2, 10, 11, 12, 13)
    assert network.nodes[2].knows(1, 10, 11, 12, 13)


def test_a_line_of_three_nodes_converges() -> None:
    network = Network(Node(1, 10), Node(2), Node(3, 30))
    network.link(1, 2)
    network.link(2, 3)
    network.settle()
    network.announce(2)
    for number, node in network.nodes.items():
        assert node.knows(*{1, 2, 3, 10, 30} - {number})


def test_large_directories_converge_in_bounded_pieces() -> None:
    network = Network(Node(1, *range(100, 1600)), Node(2, *range(1500, 1700)))
    network.link(1, 2)
    largest = 0
    while network.queue:
        here, there, message = network.queue.popleft()
        replies = network.nodes[there].ends[here].receive(message, NOW, f"link {here}")
        largest = max(largest, sum(map(len, replies)))
        network.send(there, here, replies)
    assert len(network.nodes[1].directory) == 1500 + 100 + 1
    # One link may bring 1,024 peers, no more.
    assert len(network.nodes[2].directory) == 200 + 1024
    assert largest <= 33_000


def test_a_settled_network_is_silent() -> None:
    network = Network(Node(1, 10), Node(2, 20), Node(3, 30))
    for one, other in ((1, 2), (2, 3), (1, 3)):
        network.link(one, other)
    network.settle()
    network.announce(3)
    before = network.messages
    network.announce(2)
    assert network.messages == before


def test_news_travel() -> None:
    network = Network(Node(1, 10), Node(2), Node(3))
    network.link(1, 2)
    network.link(2, 3)
    network.settle()
    network.nodes[1].raw = signed(1, sequence=2, region="DE")
    network.nodes[1].directory.add(signed(11), NOW, None)
    network.announce(2)
    for number in (2, 3):
        found = network.nodes[number].directory.get(identity(1).peer)
        assert found is not None
        assert found.region == "DE"
        assert network.nodes[number].directory.get(identity(11).peer) is not None


def test_a_node_without_a_descriptor_still_learns() -> None:
    client = Node(1)
    client.raw = None
    network = Network(client, Node(2, 20))
    network.link(1, 2)
    network.settle()
    assert client.knows(2, 20)
    assert network.nodes[2].knows(20)


def test_what_is_about_to_expire_is_not_passed_on() -> None:
    node = Node(1)
    node.raw = None
    node.directory.add(signed(10, expiry=NOW + 600), NOW, None)
    node.directory.add(signed(11, expiry=NOW + 700), NOW, None)
    assert node.open().start(NOW) == [HAVE + digest(signed(11, expiry=NOW + 700))]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32))
def test_random_networks_converge(seed: int) -> None:
    rng = random.Random(seed)
    size = rng.randint(2, 6)
    network = Network(*(Node(number, *rng.sample(range(100, 140), rng.randint(0, 8))) for number in range(size)))
    everyone = set(range(size)) | {n for n in range(100, 140) for node in network.nodes.values() if _has(node, n)}
    for number in range(1, size):
        network.link(number, rng.randrange(number))
    network.settle()
    network.announce(size + 1)
    for number, node in network.nodes.items():
        assert node.knows(*everyone - {number})


def _has(node: Node, number: int) -> bool:
    return node.directory.get(identity(number).peer) is not None


# -- one end


def test_the_exchange_message_by_message() -> None:
    node = Node(1)
    end = node.open()
    assert node.raw is not None
    assert end.start(NOW) == [HAVE + digest(node.raw)]
    assert end.receive(HAVE + digests([node.raw, signed(2)]), NOW, "a") == [WANT + digest(signed(2))]
    assert end.receive(HAVE + digest(signed(2)), NOW, "a") == [], "it is asked for already"
    assert end.receive(packed(signed(2)), NOW, "a") == []
    assert node.knows(2)
    assert end.receive(WANT + digests([signed(2), node.raw, signed(3)]), NOW, "a") == [packed(signed(2), node.raw)]
    assert end.announce(NOW) == [HAVE + digest(signed(2))]
    assert end.announce(NOW) == []


def test_a_request_without_an_answer_is_repeated_when_offered_again() -> None:
    end = Node(1).open()
    name = digest(signed(2))
    assert end.receive(HAVE + name, NOW, "a") == [WANT + name]
    assert end.receive(HAVE + name, NOW + 59, "a") == []
    assert end.announce(NOW + 60)[1:] == []
    assert end.receive(HAVE + name, NOW + 61, "a") == [WANT + name]


def test_no_more_than_32_are_asked_for_at_a_time() -> None:
    end = Node(1).open()
    raws = [signed(number) for number in range(10, 110)]
    (want,) = end.receive(HAVE + digests(raws), NOW, "a")
    assert want == WANT + digests(raws[:32])
    (more,) = end.receive(packed(*raws[:5]), NOW, "a")
    assert more == WANT + digests(raws[32:37])


def test_what_another_link_brought_meanwhile_is_not_asked_for() -> None:
    node = Node(1)
    end = node.open()
    raws = [signed(number) for number in range(10, 50)]
    end.receive(HAVE + digests(raws), NOW, "a")
    for raw in raws[32:38]:
        node.directory.add(raw, NOW, "b")
    assert end.receive(packed(*raws[:8]), NOW, "a") == [WANT + digests(raws[38:])]


def test_descriptors_are_asked_for_no_faster_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gossip, "TRANSFER_BURST", 40)
    monkeypatch.setattr(gossip, "TRANSFERS_PER_S", 2.0)
    end = Node(1).open()
    raws = [signed(number) for number in range(10, 70)]
    end.receive(HAVE + digests(raws), NOW, "a")
    assert end.receive(packed(*raws[:16]), NOW, "a") == [WANT + digests(raws[32:40])]
    assert end.receive(packed(*raws[16:32]), NOW, "a") == []
    assert end.receive(packed(*raws[32:40]), NOW + 3, "a") == [WANT + digests(raws[40:46])]


# -- decoding


def malformed() -> list[bytes]:
    name, raw = bytes(8), signed(1)
    return [
        b"",
        HAVE,
        b"\x00" + name,
        b"\x04" + name,
        HAVE + name[:-1],
        HAVE + name + b"\x00",
        HAVE + name + name,
        HAVE + b"".join(number.to_bytes(8) for number in range(1001)),
        WANT + b"".join(number.to_bytes(8) for number in range(33)),
        HAVE + bytes(MAX_MESSAGE_BYTES),
        DESCRIPTORS + b"\x00",
        DESCRIPTORS + b"\x00\x00",
        DESCRIPTORS + b"\x00\x63" + bytes(99),
        DESCRIPTORS + (MAX_DESCRIPTOR_BYTES + 1).to_bytes(2) + bytes(MAX_DESCRIPTOR_BYTES + 1),
        packed(raw)[:-1],
        packed(raw) + b"\x00",
    ]


@pytest.mark.parametrize("body", malformed(), ids=lambda body: f"{body[:6].hex()}-{len(body)}")
def test_a_malformed_message_is_refused(body: bytes) -> None:
    node = Node(1)
    with pytest.raises(DecodeError) as caught:
        node.open().receive(body, NOW, "a")
    assert caught.value.what == "gossip"
    assert node.knows()


def test_too_many_descriptors_in_a_message_are_refused() -> None:
    with pytest.raises(DecodeError, match="too many"):
        Node(1).open().receive(packed(*[bytes(100)] * 33), NOW, "a")


@pytest.mark.parametrize("body", [HAVE + bytes(range(80)), WANT + bytes(range(80)), packed(signed(1), signed(2))])
def test_every_cut_is_whole_or_refused(body: bytes) -> None:
    whole = {1 + 8 * count for count in range(1, 11)} if body[:1] != DESCRIPTORS else {1 + 2 + len(signed(1))}
    for size in range(len(body)):
        end = Node(1).open()
        if size in whole:
            end.receive(body[:size], NOW, "a")
        else:
            with pytest.raises(DecodeError):
                end.receive(body[:size], NOW, "a")


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=20), st.sampled_from([b"", HAVE, WANT, DESCRIPTORS]))
def test_arbitrary_messages_raise_only_what_is_documented(bodies: list[bytes], kind: bytes) -> None:
    end = Node(1, 2).open()
    end.start(NOW)
    for body in bodies:
        try:
            replies = end.receive(kind + body, NOW, "a")
        except DecodeError:
            continue
        assert all(1 < len(reply) <= MAX_MESSAGE_BYTES for reply in replies)


# -- neighbours that misbehave


def assert_dropped_after(end: Gossip, messages: Iterable[bytes], word: str) -> int:
    """Return how many messages were taken before the neighbour was given up."""
    taken: list[bytes] = []

    def feed() -> None:
        for message in messages:
            end.receive(message, NOW, "flood")
            taken.append(message)

    with pytest.raises(DecodeError, match="misbehaves"):
        feed()
    assert end.counts[word] == STRIKES + 1
    return len(taken)


def test_unasked_descriptors_are_not_kept_and_end_the_link() -> None:
    node = Node(1)
    messages = (packed(signed(number)) for number in range(100, 200))
    assert assert_dropped_after(node.open(), messages, "unasked") == STRIKES
    assert node.knows()


def test_bad_descriptors_end_the_link() -> None:
    node = Node(1)
    end = node.open()
    broken = [signed(number)[:-1] + b"\xff" for number in range(100, 120)]
    end.receive(HAVE + digests(broken), NOW, "flood")
    assert assert_dropped_after(end, map(packed, broken), "bad") == STRIKES
    assert node.knows()


def test_another_descriptor_than_the_one_asked_for_is_not_kept() -> None:
    node = Node(1)
    end = node.open()
    end.receive(HAVE + digest(signed(2)), NOW, "a")
    end.receive(packed(signed(3)), NOW, "a")
    assert node.knows()
    assert end.counts["unasked"] == 1


def test_an_expired_descriptor_is_nobodys_fault() -> None:
    node = Node(1)
    end = node.open()
    raws = [signed(number) for number in range(100, 120)]
    late = NOW + DAY_S
    end.receive(HAVE + digests(raws), late, "a")
    end.receive(packed(*raws), late, "a")
    assert node.knows()
    assert end.counts == {"expired": 20}


def test_a_flood_of_offers_stays_bounded_and_ends_the_link() -> None:
    end = Node(1).open()
    rng = random.Random(1)
    flood = (HAVE + rng.randbytes(8000) for _ in range(1000))
    taken = assert_dropped_after(end, flood, "noisy")
    assert taken < 30
    assert len(end._offered) <= gossip.MAX_OFFERED
    assert len(end._asked) <= gossip.MAX_WANT


def test_a_flood_of_requests_ends_the_link() -> None:
    node = Node(1, *range(100, 132))
    end = node.open()
    want = WANT + digests(signed(number) for number in range(100, 132))
    taken = assert_dropped_after(end, (want for _ in range(10_000)), "greedy")
    assert end.counts["sent"] <= 2 * gossip.TRANSFER_BURST
    assert taken * 32 >= gossip.TRANSFER_BURST, "whoever fills an empty directory is served"


def test_a_sybil_flood_fills_no_more_than_its_share() -> None:
    node = Node(1, 2, 3)
    end = node.open()
    flood = [signed(number) for number in range(1000, 3000)]
    by_name = {digest(raw): raw for raw in flood}
    replies: list[bytes] = []
    for start in range(0, 2000, 1000):
        replies += end.receive(HAVE + digests(flood[start : start + 1000]), NOW, "flood")
    while replies:
        want = replies.pop()
        for start in range(1, len(want), 8):
            replies += end.receive(packed(by_name[want[start : start + 8]]), NOW, "flood")
    assert len(node.directory) == 2 + 1024
    assert {identity(2).peer, identity(3).peer} <= {found.peer for found in node.directory.peers()}


def test_strikes_are_forgiven_in_time() -> None:
    end = Node(1).open()
    for step in range(40):
        end.receive(packed(signed(100 + step)), NOW + 601 * step, "a")
    assert end.counts["unasked"] == 40
    for step in range(STRIKES - 1):
        end.receive(packed(signed(100 + step)), NOW + 601 * 39, "a")
    with pytest.raises(DecodeError, match="misbehaves"):
        end.receive(packed(signed(100)), NOW + 601 * 39, "a")


def test_a_clock_that_goes_back_does_no_harm() -> None:
    network = Network(Node(1, 10), Node(2))
    network.link(1, 2)
    network.now -= 3600
    network.settle()
    assert network.nodes[2].knows(1, 10)


# -- who vouches


def vouching(network: Network, here: int, *neighbours: int) -> None:
    """From now on, node `here` knows these neighbours' ends as voices."""
    voices = network.nodes[here].directory.voices
    for there in neighbours:
        voice = voices.link_up(identity(there).link_key, bytes([20, there]))
        assert voice is not None
        network.sources[here, there] = voice


def test_every_neighbour_that_has_a_peer_vouches_for_it() -> None:
    network = Network(Node(1), *(Node(number, 10, 11) for number in (2, 3, 4)))
    vouching(network, 1, 2, 3, 4)
    for there in (2, 3, 4):
        network.link(1, there)
    network.settle()
    voices = network.nodes[1].directory.voices
    assert voices.neighbours == 3
    assert all(voices.vouched(identity(number).peer) for number in (10, 11))
    assert not voices.vouched(identity(2).peer), "it alone names itself, until the others have heard of it"


def test_an_older_descriptor_vouches_too() -> None:
    node = Node(1)
    node.directory.add(signed(10, sequence=2), NOW, None)
    voice = node.directory.voices.link_up(bytes(32), bytes(2))
    end = node.open()
    end.receive(HAVE + digest(signed(10)), NOW, voice)
    assert not node.directory.voices.named(identity(10).peer), "the digest alone does not say whose it is"
    end.receive(packed(signed(10)), NOW, voice)
    assert node.directory.voices.named(identity(10).peer)


def test_who_got_a_peer_from_here_does_not_vouch_for_it() -> None:
    network = Network(Node(1, 10), Node(2, 11))
    vouching(network, 1, 2)
    network.link(1, 2)
    network.settle()
    network.announce(2)
    assert network.nodes[2].knows(1, 10, 11)
    voices = network.nodes[1].directory.voices
    assert voices.named(identity(11).peer)
    assert not voices.named(identity(10).peer)


def test_what_another_link_brought_first_is_vouched_for_by_both() -> None:
    node = Node(1)
    one, other = (node.directory.voices.link_up(bytes([at]) * 32, bytes([20, at])) for at in range(2))
    first, second = node.open(), node.open()
    raws = [signed(number) for number in range(10, 50)]
    first.receive(HAVE + digests(raws), NOW, one)
    second.receive(HAVE + digests(raws), NOW, other)
    for raw in raws:
        node.directory.add(raw, NOW, one)
    for start in range(0, gossip.MAX_WANT, 8):
        second.receive(packed(*raws[start : start + 8]), NOW, other)
    node.directory.voices.guards_are([voice for voice in (one,) if voice])
    assert all(node.directory.voices.named(identity(number).peer) for number in range(10, 50))


def test_who_serves_nobody_tells_of_nobody() -> None:
    node = Node(1, 10)
    node.raw = None
    end = Gossip(node.directory, lambda: node.raw, tells=False)
    assert end.start(NOW) == []
    assert end.receive(WANT + digest(signed(10)), NOW, "a") == [], "nor when it is asked"
    node.directory.add(signed(11), NOW, "b")
    assert end.announce(NOW) == []
