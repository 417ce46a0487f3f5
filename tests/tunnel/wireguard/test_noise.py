"""Noise_IKpsk2 against the published vector, in both roles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import DecodeError
from tests.harness.entropy import flipped, seeded
from tests.tunnel.wireguard.reference import SMALL_ORDER
from tunnel.wireguard.handshake import Keys
from tunnel.wireguard.noise import NO_PSK, Symmetric, consume_first, consume_second, create_first, create_second
from tunnel.wireguard.primitives import private_key, public_bytes
from tunnel.wireguard.session import OVERHEAD_BYTES, Session

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "noise_ikpsk2.json").read_text(encoding="utf-8")
)["vectors"]


def test_there_are_vectors() -> None:
    assert [vector["protocol_name"] for vector in VECTORS] == ["Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"]


class Vector:
    def __init__(self, fields: dict[str, Any]) -> None:
        self.prologue = bytes.fromhex(fields["init_prologue"])
        self.psk = bytes.fromhex(fields["init_psks"][0])
        self.hash = bytes.fromhex(fields["handshake_hash"])
        self.responder_static = bytes.fromhex(fields["init_remote_static"])
        names = ("init_static", "init_ephemeral", "resp_static", "resp_ephemeral")
        self.static, self.ephemeral, self.other_static, self.other_ephemeral = (
            private_key(bytes.fromhex(fields[name])) for name in names
        )
        self.messages = [
            (bytes.fromhex(one["payload"]), bytes.fromhex(one["ciphertext"])) for one in fields["messages"]
        ]
        assert fields["resp_prologue"] == fields["init_prologue"]
        assert fields["resp_psks"] == fields["init_psks"]
        assert public_bytes(self.other_static) == self.responder_static

    def initiator(self) -> Symmetric:
        """Go through the handshake as initiator, check what is sent, and give the final state."""
        payload, expected = self.messages[0]
        state, first = create_first(self.prologue, self.static, self.ephemeral, self.responder_static, payload)
        assert first == expected
        payload, second = self.messages[1]
        state, received = consume_second(state, self.static, self.ephemeral, self.psk, second)
        assert received == payload
        return state

    def responder(self) -> Symmetric:
        payload, message = self.messages[0]
        state, first = consume_first(self.prologue, self.other_static, self.responder_static, message)
        assert first.payload == payload
        assert first.static == public_bytes(self.static)
        assert first.ephemeral == public_bytes(self.ephemeral)
        payload, expected = self.messages[1]
        state, second = create_second(state, first, self.other_ephemeral, self.psk, payload)
        assert second == expected
        return state


@pytest.mark.parametrize("fields", VECTORS)
@pytest.mark.parametrize("role", ["initiator", "responder"])
def test_handshake(fields: dict[str, Any], role: str) -> None:
    state: Symmetric = getattr(Vector(fields), role)()
    assert state.hash == bytes.fromhex(fields["handshake_hash"])


@pytest.mark.parametrize("fields", VECTORS)
def test_transport(fields: dict[str, Any]) -> None:
    vector = Vector(fields)
    first, second = vector.initiator().split()
    assert (first, second) == vector.responder().split()
    sides = [Session(Keys(first, second, 1, 2, b"", b"")), Session(Keys(second, first, 2, 1, b"", b""))]
    for number, (payload, expected) in enumerate(vector.messages[2:]):
        sender, receiver, counter = sides[number % 2], sides[1 - number % 2], number // 2
        message = bytearray(len(payload) + OVERHEAD_BYTES)
        sender.seal_into(counter, payload, memoryview(message))
        assert message[16:] == expected
        opened = bytearray(len(payload))
        receiver.open_into(counter, memoryview(message), opened)
        assert opened == payload


def handshake(psk: bytes = NO_PSK, other_psk: bytes = NO_PSK) -> tuple[Symmetric, Symmetric]:
    entropy = seeded("noise")
    static, ephemeral, other, other_ephemeral = (private_key(entropy(32)) for _ in range(4))
    mine, first = create_first(b"name", static, ephemeral, public_bytes(other), b"")
    theirs, read = consume_first(b"name", other, public_bytes(other), first)
    theirs, second = create_second(theirs, read, other_ephemeral, other_psk, b"")
    mine, _ = consume_second(mine, static, ephemeral, psk, second)
    return mine, theirs


def test_both_sides_agree() -> None:
    mine, theirs = handshake()
    assert mine == theirs


def test_another_psk_is_refused() -> None:
    with pytest.raises(DecodeError):
        handshake(psk=bytes([1] * 32))


def test_another_prologue_is_refused() -> None:
    vector = Vector(VECTORS[0])
    with pytest.raises(DecodeError):
        consume_first(b"else", vector.other_static, vector.responder_static, vector.messages[0][1])


def test_every_flipped_bit_is_refused() -> None:
    vector = Vector(VECTORS[0])
    message = vector.messages[0][1]
    for bit in range(8 * len(message)):
        with pytest.raises(DecodeError):
            consume_first(vector.prologue, vector.other_static, vector.responder_static, flipped(message, bit))
    state, _ = create_first(
        vector.prologue, vector.static, vector.ephemeral, vector.responder_static, vector.messages[0][0]
    )
    message = vector.messages[1][1]
    for bit in range(8 * len(message)):
        with pytest.raises(DecodeError):
            consume_second(state, vector.static, vector.ephemeral, vector.psk, flipped(message, bit))


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_small_order_keys_are_refused(point: str) -> None:
    vector, bad = Vector(VECTORS[0]), bytes.fromhex(point)
    with pytest.raises(ValueError, match="shared key"):
        create_first(vector.prologue, vector.static, vector.ephemeral, bad, b"")
    with pytest.raises(DecodeError):
        consume_first(vector.prologue, vector.other_static, vector.responder_static, bad + vector.messages[0][1][32:])
    state, first = consume_first(vector.prologue, vector.other_static, vector.responder_static, vector.messages[0][1])
    for wrong in (first._replace(static=bad), first._replace(ephemeral=bad)):
        with pytest.raises(DecodeError):
            create_second(state, wrong, vector.other_ephemeral, vector.psk, b"")
    with pytest.raises(DecodeError):
        consume_second(state, vector.static, vector.ephemeral, vector.psk, bad + vector.messages[1][1][32:])
