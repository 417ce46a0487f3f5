"""XChaCha20-Poly1305 against its published vectors, and cookies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError
from tests.harness.entropy import flipped, seeded
from tunnel.wireguard.cookies import CookieGiver, CookieTaker, has_mac1, hchacha20, xopen, xseal
from tunnel.wireguard.handshake import Initiator, tai64n
from tunnel.wireguard.primitives import private_key, public_bytes

OURS, THEIRS = private_key(bytes([1] * 32)), private_key(bytes([2] * 32))
GIVER = public_bytes(THEIRS)
SOURCE = b"192.0.2.1 1"


def initiation() -> bytes:
    initiator = Initiator(b"WireGuard v1 zx2c4 Jason@zx2c4.com", OURS, GIVER, 7, seeded("cookies"))
    return initiator.create_initiation(tai64n(1_700_000_000))


def test_hchacha20() -> None:
    """Source: draft-irtf-cfrg-xchacha-03, section 2.2.1."""
    nonce = bytes.fromhex("000000090000004a0000000031415927")
    expected = "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"
    assert hchacha20(bytes(range(32)), nonce).hex() == expected


def test_xchacha20_poly1305() -> None:
    """Source: draft-irtf-cfrg-xchacha-03, appendix A.3.1."""
    text = (
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
        b"sunscreen would be it."
    )
    key, nonce = bytes(range(0x80, 0xA0)), bytes(range(0x40, 0x58))
    associated = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
    sealed = xseal(key, nonce, text, associated)
    assert sealed[:16].hex() == "bd6d179d3e83d43b9576579493c0e939"
    assert sealed[-16:].hex() == "c0875924c1c7987947deafd8780acf49"
    assert xopen(key, nonce, sealed, associated) == text


def test_a_cookie_makes_mac2() -> None:
    giver, taker = CookieGiver(GIVER, seeded()), CookieTaker(GIVER)
    first = taker.close(initiation(), 0)
    assert not any(first[-16:])
    assert not giver.has_mac2(first, SOURCE, 0)
    reply = giver.create_reply(first, SOURCE, 0)
    assert len(reply) == 64
    assert reply[:8].hex() == "0300000007000000"
    taker.consume_reply(reply, 0)
    second = taker.close(initiation(), 1)
    assert giver.has_mac2(second, SOURCE, 1)
    assert not giver.has_mac2(second, b"192.0.2.1 2", 1)
    assert not giver.has_mac2(flipped(second, 80), SOURCE, 1)


def test_cookies_last_120_seconds() -> None:
    giver, taker = CookieGiver(GIVER, seeded()), CookieTaker(GIVER)
    taker.consume_reply(giver.create_reply(taker.close(initiation(), 0), SOURCE, 0), 0)
    assert giver.has_mac2(taker.close(initiation(), 119.9), SOURCE, 119.9)
    late = taker.close(initiation(), 119.9)
    assert not giver.has_mac2(late, SOURCE, 120)
    assert not any(taker.close(initiation(), 120)[-16:])


def test_a_reply_is_taken_once_and_only_for_the_last_message() -> None:
    giver, taker = CookieGiver(GIVER, seeded()), CookieTaker(GIVER)
    message = initiation()
    with pytest.raises(DecodeError, match="answers nothing"):
        taker.consume_reply(giver.create_reply(message, SOURCE, 0), 0)
    taker.close(message, 0)
    with pytest.raises(DecodeError, match="verify"):
        taker.consume_reply(giver.create_reply(flipped(message, 8 * 120), SOURCE, 0), 0)
    reply = giver.create_reply(message, SOURCE, 0)
    for bit in (*range(32), *range(64, 512)):
        with pytest.raises(DecodeError):
            taker.consume_reply(flipped(reply, bit), 0)
    taker.consume_reply(reply, 0)
    with pytest.raises(DecodeError, match="answers nothing"):
        taker.consume_reply(reply, 0)


@given(st.binary(max_size=160))
def test_arbitrary_bytes(data: bytes) -> None:
    taker = CookieTaker(GIVER)
    taker.close(initiation(), 0)
    assert not has_mac1(data, GIVER)
    for message in (data, b"\3\0\0\0" + data, (b"\3\0\0\0" + data).ljust(64, b"\0")[:64]):
        with pytest.raises(DecodeError):
            taker.consume_reply(message, 0)


def test_mac1_is_checked() -> None:
    message = initiation()
    assert has_mac1(message, GIVER)
    assert not any(has_mac1(flipped(message, bit), GIVER) for bit in range(8 * 132))
