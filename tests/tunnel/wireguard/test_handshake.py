"""Messages of type 1 and 2 as WireGuard has them: layouts, MACs, timestamps, and that nothing changed gets through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError
from tests.harness.entropy import flipped, seeded
from tests.tunnel.wireguard.reference import SMALL_ORDER, mac1
from tunnel.wireguard.constants import HOP_IDENTIFIER, LINK_IDENTIFIER, WIREGUARD_IDENTIFIER
from tunnel.wireguard.handshake import Initiator, Responder, from_tai64n, tai64n
from tunnel.wireguard.primitives import private_key, public_bytes

if TYPE_CHECKING:
    from tunnel.wireguard.handshake import Keys

NOW = tai64n(1_700_000_000)


class Pair:
    """An initiator and a responder who know each other's keys."""

    def __init__(self, identifier: bytes = WIREGUARD_IDENTIFIER, other: bytes = WIREGUARD_IDENTIFIER) -> None:
        entropy = seeded("handshake")
        self.static, self.responder_static = private_key(entropy(32)), private_key(entropy(32))
        self.initiator = Initiator(identifier, self.static, public_bytes(self.responder_static), 0x01020304, entropy)
        self.responder = Responder(other, self.responder_static, entropy)

    def finish(self) -> tuple[Keys, Keys]:
        received = self.responder.consume_initiation(self.initiator.create_initiation(NOW))
        response, theirs = received.create_response(0x0A0B0C0D)
        return self.initiator.consume_response(response), theirs


def test_initiation_layout() -> None:
    pair = Pair()
    message = pair.initiator.create_initiation(NOW)
    assert len(message) == 148
    assert message[:8].hex() == "0100000004030201"
    assert message == mac1(message, public_bytes(pair.responder_static))
    assert message[132:] == bytes(16)


def test_response_layout() -> None:
    pair = Pair()
    message, _ = pair.responder.consume_initiation(pair.initiator.create_initiation(NOW)).create_response(0x0A0B0C0D)
    assert len(message) == 92
    assert message[:12].hex() == "020000000d0c0b0a04030201"
    assert message == mac1(message, public_bytes(pair.static))
    assert message[76:] == bytes(16)


def test_both_sides_have_the_same_keys() -> None:
    mine, theirs = Pair().finish()
    assert (mine.send, mine.receive) == (theirs.receive, theirs.send)
    assert (mine.exporter, mine.hash) == (theirs.exporter, theirs.hash)
    assert (mine.local_index, mine.remote_index) == (0x01020304, 0x0A0B0C0D)
    assert (theirs.local_index, theirs.remote_index) == (0x0A0B0C0D, 0x01020304)
    assert len({mine.send, mine.receive, mine.exporter, mine.hash}) == 4


def test_keys_of_different_labels_differ() -> None:
    mine, theirs = Pair().finish()
    assert mine.derive(b"one", 3) == theirs.derive(b"one", 3)
    assert len({*mine.derive(b"one", 3), *mine.derive(b"two", 3)}) == 6


def test_the_responder_learns_who_and_when() -> None:
    pair = Pair()
    received = pair.responder.consume_initiation(pair.initiator.create_initiation(NOW))
    assert received.static == public_bytes(pair.static)
    assert received.timestamp_s == 1_700_000_000


def test_every_flipped_bit_of_the_initiation_is_refused() -> None:
    pair = Pair()
    message = pair.initiator.create_initiation(NOW)
    for bit in range(8 * len(message)):
        with pytest.raises(DecodeError):
            pair.responder.consume_initiation(flipped(message, bit))
    response, theirs = pair.responder.consume_initiation(message).create_response(1)
    assert pair.initiator.consume_response(response).send == theirs.receive


def test_every_flipped_bit_of_the_response_is_refused() -> None:
    pair = Pair()
    response, theirs = pair.responder.consume_initiation(pair.initiator.create_initiation(NOW)).create_response(1)
    for bit in range(8 * len(response)):
        with pytest.raises(DecodeError):
            pair.initiator.consume_response(flipped(response, bit))
    assert pair.initiator.consume_response(response).send == theirs.receive


def test_a_new_mac1_saves_no_changed_initiation() -> None:
    pair = Pair()
    message = pair.initiator.create_initiation(NOW)
    for bit in (*range(32), *range(8 * 8, 8 * 116)):
        with pytest.raises(DecodeError):
            pair.responder.consume_initiation(mac1(flipped(message, bit), public_bytes(pair.responder_static)))


def test_an_initiation_with_another_index_is_answered_in_vain() -> None:
    """The index of message 1 is not part of the transcript, as in WireGuard; the initiator refuses the answer."""
    pair = Pair()
    message = pair.initiator.create_initiation(NOW)
    for bit in range(8 * 4, 8 * 8):
        changed = mac1(flipped(message, bit), public_bytes(pair.responder_static))
        response, _ = pair.responder.consume_initiation(changed).create_response(1)
        with pytest.raises(DecodeError, match="wrong index"):
            pair.initiator.consume_response(response)


def test_a_new_mac1_saves_no_changed_response() -> None:
    pair = Pair()
    response, _ = pair.responder.consume_initiation(pair.initiator.create_initiation(NOW)).create_response(1)
    for bit in (*range(32), *range(8 * 8, 8 * 60)):
        with pytest.raises(DecodeError):
            pair.initiator.consume_response(mac1(flipped(response, bit), public_bytes(pair.static)))


@pytest.mark.parametrize(
    ("mine", "other"),
    [
        (LINK_IDENTIFIER, HOP_IDENTIFIER),
        (HOP_IDENTIFIER, LINK_IDENTIFIER),
        (WIREGUARD_IDENTIFIER, LINK_IDENTIFIER),
        (WIREGUARD_IDENTIFIER, HOP_IDENTIFIER),
        (LINK_IDENTIFIER, WIREGUARD_IDENTIFIER),
    ],
)
def test_another_identifier_is_refused(mine: bytes, other: bytes) -> None:
    pair = Pair(mine, other)
    with pytest.raises(DecodeError):
        pair.responder.consume_initiation(pair.initiator.create_initiation(NOW))


def test_another_responder_cannot_read_it() -> None:
    pair = Pair()
    message = pair.initiator.create_initiation(NOW)
    stranger = Responder(WIREGUARD_IDENTIFIER, private_key(bytes([5] * 32)), seeded())
    with pytest.raises(DecodeError):
        stranger.consume_initiation(message)
    with pytest.raises(DecodeError):
        stranger.consume_initiation(mac1(message, public_bytes(private_key(bytes([5] * 32)))))


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_small_order_keys_are_refused(point: str) -> None:
    pair, bad = Pair(), bytes.fromhex(point)
    with pytest.raises(ValueError, match="shared key"):
        Initiator(WIREGUARD_IDENTIFIER, pair.static, bad, 1, seeded()).create_initiation(NOW)
    message = pair.initiator.create_initiation(NOW)
    with pytest.raises(DecodeError):
        pair.responder.consume_initiation(mac1(message[:8] + bad + message[40:], public_bytes(pair.responder_static)))
    response, _ = pair.responder.consume_initiation(message).create_response(1)
    with pytest.raises(DecodeError):
        pair.initiator.consume_response(mac1(response[:12] + bad + response[44:], public_bytes(pair.static)))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_only_decode_error(data: bytes) -> None:
    pair = Pair()
    pair.initiator.create_initiation(NOW)
    for message in (data, b"\1\0\0\0" + data, (b"\1\0\0\0" + data).ljust(148, b"\0"), data.ljust(92, b"\0")):
        with pytest.raises(DecodeError):
            pair.responder.consume_initiation(message)
        with pytest.raises(DecodeError):
            pair.initiator.consume_response(message)


@pytest.mark.parametrize("size", [0, 147, 149])
def test_initiation_of_another_size_is_refused(size: int) -> None:
    pair = Pair()
    message = pair.initiator.create_initiation(NOW).ljust(size, b"\0")[:size]
    with pytest.raises(DecodeError, match="length"):
        pair.responder.consume_initiation(message)


def test_the_state_comes_after_the_initiation() -> None:
    with pytest.raises(RuntimeError):
        _ = Pair().initiator.state


@pytest.mark.parametrize(
    ("unix_s", "encoded"),
    [
        (0, "400000000000000a00000000"),
        (1_700_000_000, "400000006553f10a00000000"),
        (1.5, "400000000000000b1dcd6500"),
    ],
)
def test_tai64n(unix_s: float, encoded: str) -> None:
    assert tai64n(unix_s).hex() == encoded
    assert from_tai64n(bytes.fromhex(encoded)) == unix_s


@pytest.mark.parametrize("encoded", ["", "400000000000000a", "400000000000000a3b9aca00", "400000000000000a0000000000"])
def test_what_is_no_tai64n_is_refused(encoded: str) -> None:
    with pytest.raises(DecodeError):
        from_tai64n(bytes.fromhex(encoded))


@given(st.floats(min_value=0, max_value=1e11))
def test_later_is_never_smaller(unix_s: float) -> None:
    assert tai64n(unix_s) <= tai64n(unix_s + 1)
    assert abs(from_tai64n(tai64n(unix_s)) - unix_s) < 1e-4
