"""The primitives against the vectors of their RFCs, and against a second implementation."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tunnel.wireguard import reference
from tests.tunnel.wireguard.reference import SMALL_ORDER
from tunnel.wireguard.primitives import aead_open, aead_seal, dh, hash_, kdf, mac, private_key, public_bytes


def test_blake2s() -> None:
    """RFC 7693, appendix B."""
    expected = bytes.fromhex("508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982")
    assert hash_(b"abc") == hash_(b"a", b"", b"bc") == reference.blake2s(b"abc") == expected


def test_reference_keyed_blake2s() -> None:
    """The first keyed vector that BLAKE2's authors publish."""
    expected = "48a8997da407876b3d79c0d92325ad3b89cbb754d86ab71aee047ad345fd2c49"
    assert reference.blake2s(b"", key=bytes(range(32))).hex() == expected


def test_reference_chacha20_poly1305() -> None:
    """RFC 8439, section 2.8.2."""
    text = (
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
        b"sunscreen would be it."
    )
    key, nonce = bytes(range(0x80, 0xA0)), bytes.fromhex("070000004041424344454647")
    sealed = reference.seal(key, nonce, text, bytes.fromhex("50515253c0c1c2c3c4c5c6c7"))
    assert sealed.hex() == (
        "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b"
        "1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
        "3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691"
    )


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=200), st.binary(min_size=1, max_size=32))
def test_hash_and_mac_agree_with_the_reference(data: bytes, key: bytes) -> None:
    assert hash_(data) == reference.blake2s(data)
    assert mac(key, data) == reference.blake2s(data, size=16, key=key)


@settings(max_examples=25, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=100))
def test_kdf_is_hkdf_over_hmac_blake2s(key: bytes, data: bytes) -> None:
    """WireGuard, section 5.4: KDF_n."""
    secret = reference.hmac(key, data)
    first = reference.hmac(secret, b"\1")
    second = reference.hmac(secret, first + b"\2")
    third = reference.hmac(secret, second + b"\3")
    assert kdf(key, data, 1) == (first,)
    assert kdf(key, data, 3) == (first, second, third)


@settings(max_examples=25, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=150), st.binary(max_size=40))
def test_aead_agrees_with_the_reference(key: bytes, text: bytes, associated: bytes) -> None:
    sealed = aead_seal(key, text, associated)
    assert sealed == reference.seal(key, bytes(12), text, associated)
    assert aead_open(key, sealed, associated) == text


def test_aead_open_refuses() -> None:
    key = bytes(32)
    sealed = aead_seal(key, b"text", b"associated")
    for wrong in (sealed[:-1], b"", sealed[:15], b"\0" + sealed[1:]):
        with pytest.raises(InvalidTag):
            aead_open(key, wrong, b"associated")
    with pytest.raises(InvalidTag):
        aead_open(key, sealed, b"else")


@pytest.mark.parametrize(
    ("scalar", "point", "shared"),
    [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
        (
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
            "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
            "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
        ),
    ],
)
def test_x25519(scalar: str, point: str, shared: str) -> None:
    """RFC 7748, sections 5.2 and 6.1."""
    assert dh(private_key(bytes.fromhex(scalar)), bytes.fromhex(point)).hex() == shared


def test_x25519_public_key() -> None:
    """RFC 7748, section 6.1."""
    key = private_key(bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"))
    assert public_bytes(key).hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_small_order_points_are_refused(point: str) -> None:
    with pytest.raises(ValueError, match="shared key"):
        dh(private_key(bytes([7] * 32)), bytes.fromhex(point))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_keys_of_another_size_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        dh(private_key(bytes([7] * 32)), bytes([9] * size))
