"""Networks: what follows from the secret, written a second time, and that nothing of it follows without."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError
from core.ids import PeerKey
from peers.descriptor import MAX_DESCRIPTOR_BYTES, Role
from peers.networks import PROOF_BYTES, PROOF_LIFE_S, PUBLIC_NAME, SEAL_BYTES, Network, is_name

VECTORS: Final[list[dict[str, Any]]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "networks.json").read_text(encoding="utf-8")
)["vectors"]

NONCE = bytes(range(12))
HERE, NOW = ("203.0.113.7", 4433), 1_790_000_000
OURS, THEIRS = Network("ours", bytes([1] * 32)), Network("ours", bytes([2] * 32))
PEER = PeerKey(bytes(range(32, 64)))


def written_again(fields: dict[str, Any]) -> dict[str, str]:
    """The values of a vector by other means than the source's."""
    secret = bytes.fromhex(fields["secret"])
    if not fields["private"]:
        secret = hashlib.blake2s(b"Macro VPN v1 public network" + fields["name"].encode()).digest()
    label = b"Macro VPN v1 network"
    keys = HKDF(hashes.BLAKE2s(32), 128, salt=secret, info=b"").derive(label)
    place = bytes([2]) + (258).to_bytes(2) + (20782).to_bytes(4)
    when, asked = (1_790_000_000).to_bytes(4), b"/ip4/203.0.113.7/udp/4433/quic-v1"
    proof = when + hashlib.blake2s(when + asked, digest_size=16, key=keys[96:]).digest()
    return {
        "secret": secret.hex(),
        "preshared": keys[:32].hex(),
        "rendezvous": hashlib.blake2s(place, digest_size=20, key=keys[32:64]).hexdigest(),
        "salt": hashlib.blake2s(b"salt" + PEER, digest_size=16, key=keys[32:64]).hexdigest(),
        "sealed": (NONCE + ChaCha20Poly1305(keys[64:96]).encrypt(NONCE, b"descriptor", None)).hex(),
        "proof": proof.hex() if fields["private"] else "",
    }


@pytest.mark.parametrize("fields", VECTORS, ids=lambda fields: f"{fields['name']}-{fields['private']}")
def test_vectors(fields: dict[str, Any]) -> None:
    secret = bytes.fromhex(fields["secret"])
    network = Network(fields["name"], secret if fields["private"] else None)
    found = {
        "secret": network.secret.hex(),
        "preshared": network.preshared.hex(),
        "rendezvous": network.rendezvous(Role.EXIT, 258, 20782).hex(),
        "salt": network.salt(PEER).hex(),
        "sealed": network.seal(b"descriptor", NONCE).hex(),
        "proof": network.ask(HERE, NOW).hex(),
    }
    assert found == written_again(fields) == {name: fields[name] for name in found}


def test_there_are_vectors_of_both_kinds() -> None:
    assert {fields["private"] for fields in VECTORS} == {True, False}
    assert {fields["name"] for fields in VECTORS} >= {PUBLIC_NAME}


def test_networks_share_nothing() -> None:
    networks = [Network(PUBLIC_NAME), Network("test"), OURS, THEIRS]
    for one, other in itertools.combinations(networks, 2):
        assert one.preshared != other.preshared
        assert one.salt(PEER) != other.salt(PEER)
        assert one.rendezvous(Role.EXIT, 0, 1) != other.rendezvous(Role.EXIT, 0, 1)
        with pytest.raises(DecodeError, match="does not open"):
            other.open(one.seal(b"descriptor", NONCE))


def test_a_member_may_ask_one_address_for_five_minutes() -> None:
    shown = OURS.ask(HERE, NOW)
    assert OURS.may_ask(shown, [("203.0.113.8", 4433), HERE], NOW)
    assert OURS.may_ask(shown, [HERE], NOW + PROOF_LIFE_S)
    assert OURS.may_ask(shown, [HERE], NOW - PROOF_LIFE_S)
    assert not OURS.may_ask(shown, [HERE], NOW + PROOF_LIFE_S + 1)
    assert not OURS.may_ask(shown, [HERE], NOW - PROOF_LIFE_S - 1)
    assert not OURS.may_ask(shown, [("203.0.113.7", 4434), ("203.0.113.8", 4433)], NOW)
    assert not OURS.may_ask(shown, [], NOW)
    assert not THEIRS.may_ask(shown, [HERE], NOW)
    assert not Network("ours").may_ask(shown, [HERE], NOW)


@given(st.integers(0, 8 * PROOF_BYTES - 1))
def test_a_proof_with_another_bit_shows_nothing(bit: int) -> None:
    shown = bytearray(OURS.ask(HERE, NOW))
    shown[bit // 8] ^= 1 << bit % 8
    assert not OURS.may_ask(bytes(shown), [HERE], NOW)


@pytest.mark.parametrize("size", [0, PROOF_BYTES - 1, PROOF_BYTES + 1, 32])
def test_a_proof_has_one_length(size: int) -> None:
    assert not OURS.may_ask((OURS.ask(HERE, NOW) + bytes(20))[:size], [HERE], NOW)


def test_everybody_may_ask_in_a_public_network() -> None:
    public = Network(PUBLIC_NAME)
    assert public.ask(HERE, NOW) == b""
    assert public.may_ask(b"", [], NOW)


def test_the_name_of_a_private_network_enters_into_nothing() -> None:
    named, renamed = OURS, Network("renamed", OURS.secret)
    assert renamed.preshared == named.preshared
    assert renamed.open(named.seal(b"descriptor", NONCE)) == b"descriptor"


def test_rendezvous_keys_differ_by_role_shard_and_day() -> None:
    keys = {OURS.rendezvous(role, *place) for role in (Role.RELAY, Role.EXIT) for place in ((0, 1), (1, 0), (1, 1))}
    assert len(keys) == 6
    assert {len(key) for key in keys} == {20}


@given(descriptor=st.binary(max_size=MAX_DESCRIPTOR_BYTES - SEAL_BYTES), nonce=st.binary(min_size=12, max_size=12))
def test_sealed_descriptors_fit_and_come_back(descriptor: bytes, nonce: bytes) -> None:
    sealed = OURS.seal(descriptor, nonce)
    assert len(sealed) == len(descriptor) + 28 <= 996
    assert OURS.open(sealed) == descriptor


def test_a_descriptor_too_long_for_its_seal_is_refused() -> None:
    assert len(OURS.seal(bytes(968), NONCE)) == 996
    with pytest.raises(DecodeError, match="too long"):
        OURS.seal(bytes(969), NONCE)


@given(data=st.binary(max_size=1100))
def test_arbitrary_bytes_do_not_open(data: bytes) -> None:
    with pytest.raises(DecodeError):
        OURS.open(data)


def test_a_changed_bit_is_found() -> None:
    sealed = OURS.seal(b"descriptor", NONCE)
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DecodeError, match="does not open"):
            OURS.open(bytes(changed))


@pytest.mark.parametrize(
    "text", ["", "-a", "A", "a b", "a/b", "..", "a.", "é", "a\n", "a" * 32], ids=lambda text: ascii(text)
)
def test_names_are_folder_names(text: str) -> None:
    assert not is_name(text)
    with pytest.raises(ValueError, match="a name"):
        Network(text)


def test_a_secret_has_32_bytes() -> None:
    for size in (0, 31, 33):
        with pytest.raises(ValueError, match="32 bytes"):
            Network("ours", bytes(size))


def test_the_secret_is_not_shown() -> None:
    assert repr(OURS) == "Network(ours, private)"
    assert OURS.secret.hex() not in repr(OURS)
