"""The hybrid handshake: vectors, its transcript implemented a second time, and that nothing changed gets through."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DecodeError
from tests.harness.entropy import flipped, seeded
from tests.tunnel.wireguard.reference import SMALL_ORDER, blake2s, hmac, seal
from tunnel.wireguard import noise
from tunnel.wireguard.constants import HOP_IDENTIFIER, LABEL_MAC1, LINK_IDENTIFIER, WIREGUARD_IDENTIFIER
from tunnel.wireguard.handshake import Initiator, Responder, tai64n
from tunnel.wireguard.hybrid import Decapsulation, read_key, read_offer
from tunnel.wireguard.primitives import dh, hash_, mac, private_key, public_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tunnel.wireguard.handshake import Keys
    from tunnel.wireguard.hybrid import EncapsulationKey

VECTORS: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "hybrid_handshake.json").read_text(encoding="utf-8")
)["vectors"]
NOW = tai64n(1_700_000_000)
Q = 3329


def raw_of(fields: dict[str, Any]) -> dict[str, bytes]:
    """The fields of a vector that are bytes."""
    return {
        name: bytes.fromhex(value)
        for name, value in fields.items()
        if isinstance(value, str) and name != "identifier_ascii"
    }


class Recorded(NamedTuple):
    """An encapsulation that was made before."""

    secret: bytes
    ciphertext: bytes

    def encapsulate(self) -> tuple[bytes, bytes]:
        return self.secret, self.ciphertext


class Pair:
    """An initiator and a responder who know each other's keys."""

    def __init__(
        self,
        identifier: bytes = LINK_IDENTIFIER,
        read: Callable[[bytes], EncapsulationKey] = read_key,
        psks: tuple[bytes, bytes] = (bytes(32), bytes(32)),
    ) -> None:
        self.entropy = seeded("hybrid")
        self.static, self.responder_static = private_key(self.entropy(32)), private_key(self.entropy(32))
        public = public_bytes(self.responder_static)
        self.initiator = Initiator(identifier, self.static, public, 0x01020304, self.entropy, psks[0])
        self.responder = Responder(identifier, self.responder_static, self.entropy, psks[1], read)

    def create(self) -> bytes:
        return self.initiator.create_initiation(NOW)

    def respond(self, message: bytes) -> tuple[bytes, Keys]:
        return self.responder.consume_initiation(message).create_response(0x0A0B0C0D)

    def check_finishes(self, message: bytes) -> None:
        response, theirs = self.respond(message)
        mine = self.initiator.consume_response(response)
        assert (mine.send, mine.receive, mine.exporter) == (theirs.receive, theirs.send, theirs.exporter)


def with_mac1(message: bytes, receiver_static: bytes) -> bytes:
    """The message with its mac1 made anew, as anybody can who knows the receiver's public key."""
    body = message[:-32]
    return body + mac(hash_(LABEL_MAC1, receiver_static, noise.NO_PSK), body) + message[-16:]


def bits(size: int, kem: range) -> Iterator[int]:
    """Every bit of a message, of its bytes in `kem` every seventh."""
    return (bit for bit in range(8 * size) if bit // 8 not in kem or bit % 7 == 0)


MESSAGE_1, MESSAGE_2 = (1332, range(8, 1192)), (1180, range(12, 1100))


# -- the transcript, written a second time


def kdf(key: bytes, data: bytes, count: int) -> list[bytes]:
    secret, out = hmac(key, data), [b""]
    for number in range(count):
        out.append(hmac(secret, out[-1] + bytes([number + 1])))
    return out[1:]


class Transcript:
    """What docs/protocol.md says under "Handshake", line by line, over the functions of `reference`."""

    def __init__(self, identifier: bytes, responder_static: bytes) -> None:
        self.chain = blake2s(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
        self.hash = blake2s(blake2s(self.chain + identifier) + responder_static)

    def absorb(self, data: bytes) -> None:
        self.hash = blake2s(self.hash + data)

    def sealed(self, key: bytes, text: bytes) -> bytes:
        out = seal(key, bytes(12), text, self.hash)
        self.absorb(out)
        return out

    def ephemeral(self, public: bytes) -> None:
        self.absorb(public)
        (self.chain,) = kdf(self.chain, public, 1)

    @staticmethod
    def close(body: bytes, receiver: bytes, psk: bytes) -> bytes:
        return body + blake2s(body, 16, blake2s(b"mac1----" + receiver + psk)) + bytes(16)


def test_a_second_implementation_gets_the_same_bytes() -> None:
    for fields in VECTORS.values():
        raw = raw_of(fields)
        names = ("initiator_static", "initiator_ephemeral", "responder_static", "responder_ephemeral")
        si, ei, sr, er = (private_key(raw[name]) for name in names)
        kem_public = MLKEM768PrivateKey.from_seed_bytes(raw["kem_seed"]).public_key().public_bytes_raw()
        run = Transcript(fields["identifier_ascii"].encode(), public_bytes(sr))

        clear = struct.pack("<II", 1, fields["initiator_index"]) + kem_public
        run.absorb(clear)
        run.ephemeral(public_bytes(ei))
        run.chain, key = kdf(run.chain, dh(ei, public_bytes(sr)), 2)
        body = clear + public_bytes(ei) + run.sealed(key, public_bytes(si))
        run.chain, key = kdf(run.chain, dh(si, public_bytes(sr)), 2)
        body += run.sealed(key, raw["timestamp"])
        assert run.close(body, public_bytes(sr), raw["psk"]) == raw["message_1"]
        assert (run.chain, run.hash) == (raw["chaining_key_1"], raw["hash_1"])

        clear = struct.pack("<III", 2, fields["responder_index"], fields["initiator_index"]) + raw["kem_ciphertext"]
        run.absorb(clear)
        run.ephemeral(public_bytes(er))
        (run.chain,) = kdf(run.chain, dh(er, public_bytes(ei)), 1)
        (run.chain,) = kdf(run.chain, dh(er, public_bytes(si)), 1)
        bound = raw["kem_secret"] + blake2s(kem_public) + blake2s(raw["kem_ciphertext"])
        (psk,) = kdf(raw["psk"], b"Macro VPN v1 hybrid psk" + bound, 1)
        assert psk == raw["bound_psk"]
        run.chain, mixed, key = kdf(run.chain, psk, 3)
        run.absorb(mixed)
        body = clear + public_bytes(er) + run.sealed(key, b"")
        assert run.close(body, public_bytes(si), raw["psk"]) == raw["message_2"]
        assert (run.chain, run.hash) == (raw["chaining_key_2"], raw["hash_2"])
        assert kdf(run.chain, b"", 2) == [raw["initiator_sends"], raw["responder_sends"]]
        assert kdf(run.chain, b"Macro VPN v1 exporter", 1) == [raw["exporter"]]


# -- vectors


@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name: str) -> None:
    fields = VECTORS[name]
    raw = raw_of(fields)
    identifier = fields["identifier_ascii"].encode()
    drawn = iter([raw["initiator_ephemeral"], raw["kem_seed"], raw["responder_ephemeral"]])

    def entropy(size: int) -> bytes:
        taken = next(drawn)
        assert len(taken) == size
        return taken

    static, responder_static = private_key(raw["initiator_static"]), private_key(raw["responder_static"])
    initiator = Initiator(
        identifier, static, public_bytes(responder_static), fields["initiator_index"], entropy, raw["psk"]
    )
    assert initiator.create_initiation(raw["timestamp"]) == raw["message_1"]
    assert initiator.state == (raw["chaining_key_1"], raw["hash_1"])
    recorded = Recorded(raw["kem_secret"], raw["kem_ciphertext"])
    responder = Responder(identifier, responder_static, entropy, raw["psk"], lambda public: recorded)
    received = responder.consume_initiation(raw["message_1"])
    assert received.state == initiator.state
    message, theirs = received.create_response(fields["responder_index"])
    assert message == raw["message_2"]
    mine = initiator.consume_response(message)
    assert (
        (mine.send, mine.receive) == (theirs.receive, theirs.send) == (raw["initiator_sends"], raw["responder_sends"])
    )
    assert mine.exporter == theirs.exporter == raw["exporter"]
    assert mine.hash == theirs.hash == raw["hash_2"]


def test_the_vectors_cover_both_identifiers_and_a_psk() -> None:
    assert {one["identifier_ascii"].encode() for one in VECTORS.values()} == {LINK_IDENTIFIER, HOP_IDENTIFIER}
    assert len({one["psk"] for one in VECTORS.values()}) == 2


# -- layout


def test_initiation_layout() -> None:
    pair = Pair()
    message = pair.create()
    assert len(message) == 1332
    assert message[:8].hex() == "0100000004030201"
    assert message[8:1192] == read_offer(message[8:1192]).public
    assert message == with_mac1(message, public_bytes(pair.responder_static))
    assert message[1316:] == bytes(16)


def test_response_layout() -> None:
    pair = Pair()
    message, _ = pair.respond(pair.create())
    assert len(message) == 1180
    assert message[:12].hex() == "020000000d0c0b0a04030201"
    assert message == with_mac1(message, public_bytes(pair.static))
    assert message[1164:] == bytes(16)


@pytest.mark.parametrize("identifier", [LINK_IDENTIFIER, HOP_IDENTIFIER])
def test_both_sides_have_the_same_keys(identifier: bytes) -> None:
    pair = Pair(identifier)
    response, theirs = pair.respond(pair.create())
    mine = pair.initiator.consume_response(response)
    assert (mine.send, mine.receive) == (theirs.receive, theirs.send)
    assert (mine.exporter, mine.hash) == (theirs.exporter, theirs.hash)
    assert len({mine.send, mine.receive, mine.exporter, mine.hash}) == 4


# -- what was changed


@pytest.mark.parametrize("anew", [False, True], ids=["old mac1", "new mac1"])
def test_every_flipped_bit_of_the_initiation_is_refused(anew: bool) -> None:
    """Unlike WireGuard's, the index is absorbed too; only mac1 itself is what a new mac1 mends."""
    pair = Pair()
    message = pair.create()
    for bit in bits(*MESSAGE_1):
        changed = flipped(message, bit)
        if anew and 1300 <= bit // 8 < 1316:
            continue
        with pytest.raises(DecodeError):
            pair.responder.consume_initiation(
                with_mac1(changed, public_bytes(pair.responder_static)) if anew else changed
            )
    pair.check_finishes(message)


@pytest.mark.parametrize("anew", [False, True], ids=["old mac1", "new mac1"])
def test_every_flipped_bit_of_the_response_is_refused(anew: bool) -> None:
    pair = Pair()
    response, theirs = pair.respond(pair.create())
    before = pair.initiator.state
    for bit in bits(*MESSAGE_2):
        changed = flipped(response, bit)
        if anew and 1148 <= bit // 8 < 1164:
            continue
        with pytest.raises(DecodeError):
            pair.initiator.consume_response(with_mac1(changed, public_bytes(pair.static)) if anew else changed)
        assert pair.initiator.state == before
    assert pair.initiator.consume_response(response).send == theirs.receive


@pytest.mark.parametrize("size", [0, 92, 148, 1180, 1331, 1333])
def test_an_initiation_of_another_size_is_refused(size: int) -> None:
    pair = Pair()
    with pytest.raises(DecodeError, match="length"):
        pair.responder.consume_initiation(pair.create().ljust(size, b"\0")[:size])


@pytest.mark.parametrize("size", [0, 92, 148, 1179, 1181, 1332])
def test_a_response_of_another_size_is_refused(size: int) -> None:
    pair = Pair()
    response, _ = pair.respond(pair.create())
    with pytest.raises(DecodeError, match="length"):
        pair.initiator.consume_response(response.ljust(size, b"\0")[:size])


@settings(deadline=None)
@given(st.binary(max_size=1400))
def test_arbitrary_bytes_raise_only_decode_error(data: bytes) -> None:
    pair = Pair()
    pair.create()
    first = (b"\1\0\0\0" + data).ljust(1332, b"\0")[:1332]
    second = (b"\2\0\0\0\0\0\0\0\4\3\2\1" + data).ljust(1180, b"\0")[:1180]
    for message in (data, first[:1316] + bytes(16), second[:1164] + bytes(16)):
        with pytest.raises(DecodeError):
            pair.responder.consume_initiation(with_mac1(message, public_bytes(pair.responder_static)))
        with pytest.raises(DecodeError):
            pair.initiator.consume_response(with_mac1(message, public_bytes(pair.static)))


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_small_order_keys_are_refused(point: str) -> None:
    pair, bad = Pair(), bytes.fromhex(point)
    message = pair.create()
    changed = message[:1192] + bad + message[1224:]
    with pytest.raises(DecodeError):
        pair.responder.consume_initiation(with_mac1(changed, public_bytes(pair.responder_static)))
    response, _ = pair.respond(message)
    changed = response[:1100] + bad + response[1132:]
    with pytest.raises(DecodeError):
        pair.initiator.consume_response(with_mac1(changed, public_bytes(pair.static)))


# -- the ML-KEM part


def with_coefficient(public: bytes, value: int) -> bytes:
    """The key with its first coefficient, 12 bits little-endian, replaced."""
    return bytes([value & 0xFF, public[1] & 0xF0 | value >> 8]) + public[2:]


@pytest.mark.parametrize("value", [Q, Q + 1, 4095])
def test_an_encapsulation_key_out_of_range_is_refused_though_its_sender_vouches_for_it(value: int) -> None:
    pair = Pair()
    assert pair.initiator._kem is not None
    pair.initiator._kem.public = with_coefficient(pair.initiator._kem.public, value)
    with pytest.raises(DecodeError, match="unusable key"):
        pair.responder.consume_initiation(pair.create())


def test_the_largest_coefficient_is_legal() -> None:
    public = with_coefficient(Decapsulation(bytes(64)).public, Q - 1)
    assert read_offer(public).public == public


@pytest.mark.parametrize("size", [0, 1088, 1183, 1185])
def test_an_encapsulation_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(DecodeError, match="length"):
        read_offer(Decapsulation(bytes(64)).public.ljust(size, b"\0")[:size], lambda public: Recorded(b"", b""))


@pytest.mark.parametrize("size", [0, 1087, 1089, 1184])
def test_a_ciphertext_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(DecodeError, match="length"):
        Decapsulation(bytes(64)).psk(bytes(32), bytes(size))


def test_a_ciphertext_for_another_key_is_refused_although_the_transcript_agrees() -> None:
    """Implicit rejection: the secret is another one, and the AEAD says so."""
    other = MLKEM768PrivateKey.from_seed_bytes(bytes(64)).public_key()
    pair = Pair(read=lambda public: other)
    message = pair.create()
    response, _ = pair.respond(message)
    before = pair.initiator.state
    with pytest.raises(DecodeError, match="verify"):
        pair.initiator.consume_response(response)
    assert pair.initiator.state == before
    pair.responder = Responder(LINK_IDENTIFIER, pair.responder_static, pair.entropy)
    pair.check_finishes(message)


def test_who_knows_all_x25519_keys_but_not_the_secret_has_other_keys() -> None:
    pair = Pair()
    message = pair.create()
    seen: list[tuple[bytes, bytes]] = []

    class Listening:
        def __init__(self, public: bytes) -> None:
            self._key = read_key(public)

        def encapsulate(self) -> tuple[bytes, bytes]:
            seen.append(self._key.encapsulate())
            return seen[-1]

    def respond(read: Callable[[bytes], EncapsulationKey]) -> tuple[bytes, Keys]:
        responder = Responder(LINK_IDENTIFIER, pair.responder_static, seeded("ephemeral"), read_key=read)
        return responder.consume_initiation(message).create_response(1)

    response, theirs = respond(Listening)
    ((secret, ciphertext),) = seen
    right, wrong = Recorded(secret, ciphertext), Recorded(flipped(secret, 0), ciphertext)
    assert respond(lambda public: right) == (response, theirs)
    other, keys = respond(lambda public: wrong)
    assert other[:1132] == response[:1132]
    assert not {keys.send, keys.receive, keys.exporter} & {theirs.send, theirs.receive, theirs.exporter}


def test_the_bound_psk_depends_on_each_part() -> None:
    one, two = Decapsulation(bytes(64)), Decapsulation(bytes([1] * 64))
    _, ciphertext = read_key(one.public).encapsulate()
    found = {
        one.psk(bytes(32), ciphertext),
        one.psk(bytes([1] * 32), ciphertext),
        one.psk(bytes(32), flipped(ciphertext, 0)),
        two.psk(bytes(32), ciphertext),
        read_offer(two.public, lambda _: Recorded(bytes(32), ciphertext)).accept(bytes(32))[1],
        read_offer(one.public, lambda _: Recorded(bytes(32), ciphertext)).accept(bytes(32))[1],
        read_offer(one.public, lambda _: Recorded(bytes(32), flipped(ciphertext, 0))).accept(bytes(32))[1],
    }
    assert len(found) == 7


def test_another_configured_psk_is_refused() -> None:
    pair = Pair(psks=(bytes(32), bytes([1] * 32)))
    with pytest.raises(DecodeError, match="mac1 does not verify"):
        pair.responder.consume_initiation(pair.create())
    same = Pair(psks=(bytes([1] * 32), bytes([1] * 32)))
    same.check_finishes(same.create())


def test_every_handshake_has_a_fresh_encapsulation_key() -> None:
    pair = Pair()
    again = Initiator(LINK_IDENTIFIER, pair.static, public_bytes(pair.responder_static), 1, pair.entropy)
    assert pair.create()[8:1192] != again.create_initiation(NOW)[8:1192]


# -- no other handshake


@pytest.mark.parametrize("mine", [LINK_IDENTIFIER, HOP_IDENTIFIER])
@pytest.mark.parametrize("other", [LINK_IDENTIFIER, HOP_IDENTIFIER, WIREGUARD_IDENTIFIER])
def test_another_identifier_is_refused(mine: bytes, other: bytes) -> None:
    pair, same = Pair(mine), mine == other
    message = Initiator(other, pair.static, public_bytes(pair.responder_static), 1, pair.entropy).create_initiation(NOW)
    if same:
        pair.responder.consume_initiation(message)
        return
    with pytest.raises(DecodeError):
        pair.responder.consume_initiation(message)


@pytest.mark.parametrize("prologue", [LINK_IDENTIFIER, WIREGUARD_IDENTIFIER])
@pytest.mark.parametrize("kem", [False, True])
@pytest.mark.parametrize("absorbed", [False, True])
def test_only_the_whole_hybrid_is_accepted(prologue: bytes, kem: bool, absorbed: bool) -> None:
    """Neither WireGuard's identifier in a hybrid's length, nor ours without the key or without absorbing it."""
    pair = Pair()
    clear = bytes.fromhex("0100000004030201") + (Decapsulation(bytes(64)).public if kem else b"")
    public = public_bytes(pair.responder_static)
    _, body = noise.create_first(
        prologue, pair.static, private_key(bytes([7] * 32)), public, NOW, clear if absorbed else b""
    )
    message = with_mac1(clear + body + bytes(32), public)
    if prologue == LINK_IDENTIFIER and kem and absorbed:
        assert pair.responder.consume_initiation(message).static == public_bytes(pair.static)
        return
    with pytest.raises(DecodeError):
        pair.responder.consume_initiation(message)
