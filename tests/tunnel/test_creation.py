"""One-pass creation: what each hop finds, what it cannot know, and where a failure is blamed."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import CircuitError, DecodeError, Reason
from core.ids import PeerKey
from tests.harness.entropy import flipped, seeded
from tests.tunnel.wireguard.reference import SMALL_ORDER
from tunnel.creation import (
    ANSWER_BYTES,
    ANSWER_HEAD_BYTES,
    CREATION_BYTES,
    HEAD_BYTES,
    Asked,
    Creation,
    Slot,
    consume_creation,
)
from tunnel.path import Hop
from tunnel.wireguard.constants import HOP_IDENTIFIER, KEM_CIPHERTEXT_BYTES, LINK_IDENTIFIER, WIREGUARD_IDENTIFIER
from tunnel.wireguard.handshake import Initiator, Keys, Responder, tai64n
from tunnel.wireguard.primitives import hash_, private_key, public_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

NOW_S = 1_700_000_015.5


class Chain:
    """A path of `hops` and all its private keys."""

    def __init__(self, hops: int, seed: str = "") -> None:
        self.entropy = seeded(f"chain {seed}")
        keys = [private_key(self.entropy(32)) for _ in range(hops)]
        self.path = tuple(
            Hop(PeerKey(self.entropy(32)), self.entropy(32), public_bytes(key), (("192.0.2.1", 1),)) for key in keys
        )
        self.responders = [Responder(HOP_IDENTIFIER, key, self.entropy) for key in keys]

    def create(self, index: int = 1000) -> Creation:
        return Creation(self.path, range(index, index + len(self.path)), NOW_S, self.entropy)

    def pass_on(self, message: bytes) -> list[tuple[bytes, Asked]]:
        """What each hop receives, and what it reads."""
        seen = []
        for responder in self.responders:
            asked = consume_creation(message, responder)
            seen.append((message, asked))
            message = asked.onward
        return seen

    def answer(self, seen: list[tuple[bytes, Asked]], refusing: int | None = None) -> tuple[list[bytes], list[Keys]]:
        """What each hop answers, the guard's first; the hop at place `refusing` refuses and asks nobody."""
        answers: list[bytes] = []
        keys: list[Keys] = []
        last: bytes | None = None
        for place in reversed(range(len(seen) if refusing is None else refusing + 1)):
            reason = Reason.REFUSED if place == refusing else Reason.DONE
            last, own = seen[place][1].answer(2000 + place, reason, last)
            answers.insert(0, last)
            keys.insert(0, own)
        return answers, keys


@pytest.mark.parametrize("hops", range(1, 6))
def test_each_hop_finds_its_slot_and_shares_keys_with_the_client(hops: int) -> None:
    chain = Chain(hops)
    creation = chain.create()
    seen = chain.pass_on(creation.message)
    assert [asked.slot.next_peer for _, asked in seen] == [*(hop.peer for hop in chain.path[1:]), None]
    answers, theirs = chain.answer(seen)
    mine = creation.consume_answer(answers[0])
    for place, (client, hop) in enumerate(zip(mine, theirs, strict=True)):
        assert (client.send, client.receive) == (hop.receive, hop.send)
        assert (client.local_index, client.remote_index) == (1000 + place, 2000 + place)
        assert (hop.local_index, hop.remote_index) == (2000 + place, 1000 + place)
    assert len({key for own in mine for key in (own.send, own.receive)}) == 2 * hops


@pytest.mark.parametrize("hops", range(1, 6))
def test_one_size_everywhere(hops: int) -> None:
    chain = Chain(hops)
    seen = chain.pass_on(chain.create().message)
    assert {len(message) for message, _ in seen} | {len(asked.onward) for _, asked in seen} == {CREATION_BYTES}
    assert {len(answer) for answer in chain.answer(seen)[0]} == {ANSWER_BYTES}


def test_the_clock_is_cut_to_the_minute() -> None:
    chain = Chain(3)
    seen = chain.pass_on(chain.create().message)
    assert {asked.received.timestamp_s for _, asked in seen} == {1_699_999_980.0}


def test_each_hop_sees_another_client() -> None:
    chain = Chain(5)
    seen = chain.pass_on(chain.create().message)
    assert len({asked.received.static for _, asked in seen}) == 5
    assert len({asked.received.first.ephemeral for _, asked in seen}) == 5


class Seen(NamedTuple):
    """All that one hop gets to see of one creation."""

    circuit: int
    place: int
    strings: set[bytes]


def strings(message: bytes, answer: bytes, static: bytes) -> set[bytes]:
    """Every string of 8 bytes, without the constants: types and mac2."""
    parts = (message[4:1316], message[1332:], answer[4:1164], answer[1180:], static)
    return {part[at : at + 8] for part in parts for at in range(len(part) - 7)}


def test_no_two_hops_and_no_two_circuits_share_a_string() -> None:
    """A hop shares with its neighbour what it passes on, and nothing with anyone else."""
    found = []
    chain = Chain(5)
    for circuit in range(3):
        seen = chain.pass_on(chain.create(index=0x51A2B3C4 + 0x10203 * circuit).message)
        answers, _ = chain.answer(seen)
        for place, (message, asked) in enumerate(seen):
            found.append(Seen(circuit, place, strings(message, answers[place], asked.received.static)))
    for one, two in combinations(found, 2):
        assert not one.strings & two.strings, (one[:2], two[:2])


def test_a_hop_cannot_open_the_next_ones_part() -> None:
    chain = Chain(3)
    (_, first), *_ = chain.pass_on(chain.create().message)
    for responder in (chain.responders[0], chain.responders[2]):
        with pytest.raises(DecodeError):
            consume_creation(first.onward, responder)


@pytest.mark.parametrize("place", range(3))
def test_every_flipped_bit_in_the_head_is_refused(place: int) -> None:
    chain = Chain(3)
    message = chain.pass_on(chain.create().message)[place][0]
    for bit in range(8 * HEAD_BYTES):
        with pytest.raises(DecodeError):
            consume_creation(flipped(message, bit), chain.responders[place])
    consume_creation(message, chain.responders[place])


@pytest.mark.parametrize("hops", [1, 3])
def test_a_flipped_bit_in_the_filling_is_harmless(hops: int) -> None:
    chain = Chain(hops)
    creation = chain.create()
    for bit in range(8 * hops * HEAD_BYTES, 8 * CREATION_BYTES, 301):
        seen = chain.pass_on(flipped(creation.message, bit))
        assert creation.consume_answer(chain.answer(seen)[0][0])


def test_a_bit_that_the_guard_flips_is_found_by_the_hop_it_hits() -> None:
    chain = Chain(3)
    creation = chain.create()
    first = consume_creation(flipped(creation.message, 8 * (HEAD_BYTES + 50)), chain.responders[0])
    with pytest.raises(DecodeError):
        consume_creation(first.onward, chain.responders[1])


def test_a_slot_of_another_creation_does_not_fit() -> None:
    chain = Chain(1)
    one, two = chain.create().message, chain.create().message
    with pytest.raises(DecodeError, match="slot"):
        consume_creation(one[:1332] + two[1332:], chain.responders[0])


@pytest.mark.parametrize("identifier", [WIREGUARD_IDENTIFIER, LINK_IDENTIFIER])
def test_another_handshake_is_no_creation(identifier: bytes) -> None:
    """Plain WireGuard's has another length and identifier, a link's another identifier."""
    chain = Chain(1)
    initiator = Initiator(identifier, private_key(bytes(32)), chain.path[0].onion_key, 1, chain.entropy)
    message = initiator.create_initiation(tai64n(NOW_S))
    with pytest.raises(DecodeError):
        consume_creation(message, chain.responders[0])
    with pytest.raises(DecodeError):
        consume_creation(message.ljust(CREATION_BYTES, b"\0"), chain.responders[0])


def test_a_creation_of_another_network_cannot_be_read() -> None:
    chain = Chain(1)
    strange = Creation(chain.path, range(1), NOW_S, chain.entropy, bytes([1] * 32))
    with pytest.raises(DecodeError, match="mac1"):
        consume_creation(strange.message, chain.responders[0])
    member = Responder(HOP_IDENTIFIER, chain.responders[0]._static, chain.entropy, bytes([1] * 32))
    answer, keys = consume_creation(strange.message, member).answer(1, Reason.DONE, None)
    assert strange.consume_answer(answer)[0].exporter == keys.exporter


@pytest.mark.parametrize(("hops", "place"), [(hops, place) for hops in range(1, 6) for place in range(hops)])
def test_a_refusal_is_blamed_on_its_place(hops: int, place: int) -> None:
    chain = Chain(hops)
    creation = chain.create()
    answers, _ = chain.answer(chain.pass_on(creation.message), refusing=place)
    assert {len(answer) for answer in answers} == {ANSWER_BYTES}
    with pytest.raises(CircuitError) as caught:
        creation.consume_answer(answers[0])
    assert (caught.value.reason, caught.value.hop) == (Reason.REFUSED, place)


@pytest.mark.parametrize("place", range(3))
def test_garbage_is_blamed_on_its_place(place: int) -> None:
    chain = Chain(3)
    creation = chain.create()
    seen = chain.pass_on(creation.message)
    answer = chain.entropy(ANSWER_BYTES)
    for _, asked in reversed(seen[:place]):
        answer, _ = asked.answer(1, Reason.DONE, answer)
    with pytest.raises(CircuitError) as caught:
        creation.consume_answer(answer)
    assert (caught.value.reason, caught.value.hop) == (Reason.PROTOCOL, place)


def test_every_flipped_bit_of_an_answer_is_refused_at_the_hop_it_hits() -> None:
    """Of the ciphertexts every seventh bit."""
    chain = Chain(3)
    creation = chain.create()
    answer = chain.answer(chain.pass_on(creation.message))[0][0]
    for bit in range(8 * 3 * ANSWER_HEAD_BYTES):
        if bit % 7 and 12 <= bit // 8 % ANSWER_HEAD_BYTES < 12 + KEM_CIPHERTEXT_BYTES:
            continue
        with pytest.raises(CircuitError) as caught:
            creation.consume_answer(flipped(answer, bit))
        assert caught.value.hop == bit // (8 * ANSWER_HEAD_BYTES)
    for bit in range(8 * 3 * ANSWER_HEAD_BYTES, 8 * ANSWER_BYTES, 97):
        assert len(creation.consume_answer(flipped(answer, bit))) == 3


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=ANSWER_BYTES + 20))
def test_arbitrary_answers_raise_only_circuit_error(data: bytes) -> None:
    creation = Chain(2).create()
    for answer in (data, data.ljust(ANSWER_BYTES, b"\0")[:ANSWER_BYTES]):
        with pytest.raises(CircuitError):
            creation.consume_answer(answer)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=CREATION_BYTES + 20))
def test_arbitrary_creations_raise_only_decode_error(data: bytes) -> None:
    chain = Chain(1)
    for message in (data, data.ljust(CREATION_BYTES, b"\0")[:CREATION_BYTES]):
        with pytest.raises(DecodeError):
            consume_creation(message, chain.responders[0])


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("point", SMALL_ORDER)
def test_an_unusable_onion_key_is_blamed_on_its_hop(point: str, place: int) -> None:
    chain = Chain(3)
    bad = chain.path[place]
    path = list(chain.path)
    path[place] = Hop(bad.peer, bad.link_key, bytes.fromhex(point), bad.addresses)
    with pytest.raises(CircuitError) as caught:
        Creation(tuple(path), range(3), NOW_S, chain.entropy)
    assert (caught.value.reason, caught.value.hop) == (Reason.PROTOCOL, place)


@pytest.mark.parametrize(
    "slot", [Slot(None), Slot(None, 7), Slot(PeerKey(bytes(range(32)))), Slot(PeerKey(bytes(32)), 1, (1 << 32) - 1)]
)
def test_slot_round_trip(slot: Slot) -> None:
    assert Slot.decode(slot.encode()) == slot


def test_slot_literal() -> None:
    encoded = Slot(PeerKey(bytes(range(32))), 0x01020304, 0x05060708).encode()
    assert encoded.hex() == "01" + bytes(range(32)).hex() + "0102030405060708" + 7 * "00"


@pytest.mark.parametrize(
    "encoded",
    [
        b"\2" + bytes(47),
        b"\xff" + bytes(47),
        bytes(1) + b"\1" + bytes(46),
        bytes(47) + b"\1",
        b"\1" + bytes(40) + b"\1" * 7,
        bytes(40) + b"\1" + bytes(7),
    ],
)
def test_a_wrong_slot_is_refused(encoded: bytes) -> None:
    with pytest.raises(DecodeError):
        Slot.decode(encoded)


def test_a_verdict_with_more_than_a_reason_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = Chain(2)
    creation = chain.create()
    seen = chain.pass_on(creation.message)
    last, _ = seen[1][1].answer(1, Reason.DONE, None)
    monkeypatch.setattr("tunnel.creation._VERDICT", Marked())
    answer, _ = seen[0][1].answer(1, Reason.DONE, last)
    with pytest.raises(CircuitError) as caught:
        creation.consume_answer(answer)
    assert (caught.value.reason, caught.value.hop) == (Reason.PROTOCOL, 0)


class Marked:
    """Packs a verdict with one byte at its end that should be zero."""

    def pack(self, reason: Reason) -> bytes:
        return bytes([reason]) + bytes(14) + b"\1"


# -- vector

VECTOR: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "creation.json").read_text(encoding="utf-8")
)


def drawing(*drawn: bytes) -> Callable[[int], bytes]:
    """Randomness that was drawn before; the last piece is a byte to fill up with."""
    left = iter(drawn[:-1])
    return lambda size: next(left, drawn[-1] * size)


class RecordedHop:
    """One hop of the vector."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields
        self.raw = {name: bytes.fromhex(value) for name, value in fields.items() if isinstance(value, str)}
        self.onion_key = private_key(self.raw["onion_key"])
        self.hop = Hop(PeerKey(self.raw["peer"]), bytes(32), public_bytes(self.onion_key), ())

    def encapsulate(self) -> tuple[bytes, bytes]:
        return self.raw["kem_secret"], self.raw["kem_ciphertext"]

    def entropy(self, size: int) -> bytes:
        if size == 32:
            return self.raw["hop_ephemeral"]
        return bytes([self.fields["filling_byte"] if size == HEAD_BYTES else VECTOR["answer_filling_byte"]]) * size

    def consume(self, message: bytes) -> Asked:
        assert hash_(message) == self.raw["creation_hash"]
        responder = Responder(HOP_IDENTIFIER, self.onion_key, self.entropy, read_key=lambda public: self)
        asked = consume_creation(message, responder)
        assert asked.slot.encode() == self.raw["slot"]
        return asked


def test_vector() -> None:
    hops = [RecordedHop(fields) for fields in VECTOR["hops"]]
    own = [hop.raw[name] for hop in hops for name in ("client_static", "client_ephemeral", "kem_seed")]
    entropy = drawing(*own, bytes([VECTOR["creation_filling_byte"]]))
    indices = [hop.fields["client_index"] for hop in hops]
    creation = Creation(tuple(hop.hop for hop in hops), indices, VECTOR["unix_s"], entropy)
    assert creation.message.hex() == VECTOR["creation"]
    message, asked = creation.message, []
    for hop in hops:
        asked.append(hop.consume(message))
        message = asked[-1].onward
    answer: bytes | None = None
    for hop, one in reversed([*zip(hops, asked, strict=True)]):
        answer, keys = one.answer(hop.fields["hop_index"], Reason.DONE, answer)
        assert hash_(answer) == hop.raw["answer_hash"]
        assert (keys.receive, keys.send) == (hop.raw["client_sends"], hop.raw["hop_sends"])
    assert answer is not None
    assert answer.hex() == VECTOR["answer"]
    for hop, keys in zip(hops, creation.consume_answer(answer), strict=True):
        assert (keys.send, keys.receive) == (hop.raw["client_sends"], hop.raw["hop_sends"])
