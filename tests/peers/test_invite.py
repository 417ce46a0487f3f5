"""Invites: what they say, and that a text which is none is refused with a sentence."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.ids import PeerKey
from peers.invite import MAX_PEERS, PREFIX, Introduction, Invite, InviteError
from peers.networks import NAME_FORM, Network

SECRET = bytes(range(32))
PEERS = tuple(
    Introduction(PeerKey(bytes([number] * 32)), bytes([100 + number] * 32), address)
    for number, address in enumerate((("203.0.113.7", 4433), ("2001:db8::7", 1), ("10.0.0.1", 65535)))
)
WHOLE = Invite(Network("home", SECRET), PEERS[:2]).encode()
DAMAGED = "This invite is damaged. Copy it once more, whole and in one piece."

names = st.from_regex(NAME_FORM, fullmatch=True, alphabet=st.characters(max_codepoint=127))


def written_again(name: bytes, secret: bytes, rest: bytes) -> str:
    """An invite by other means than the source's, with whatever follows the secret."""
    body = bytes([len(name)]) + name + secret + rest
    body += hashlib.blake2s(b"macrovpn1:" + body).digest()[:4]
    return "macrovpn1:" + base64.b32encode(body).decode().rstrip("=").lower()


def packed(number: int) -> bytes:
    """A peer in an invite."""
    return bytes.fromhex("0b 04cb007107 91021151 cd03") + bytes([number] * 32) + bytes(32)


def refused(text: str) -> str:
    with pytest.raises(InviteError) as caught:
        Invite.decode(text)
    return str(caught.value)


def test_literal() -> None:
    assert Invite(Network("home", SECRET)).encode() == (
        "macrovpn1:arug63lfaaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypqa575bnva"
    )


def test_layout() -> None:
    rest = b"\1" + packed(0)[:-32] + bytes([100] * 32)
    assert Invite(Network("home", SECRET), PEERS[:1]).encode() == written_again(b"home", SECRET, rest)


@given(name=names, secret=st.binary(min_size=32, max_size=32), count=st.integers(0, MAX_PEERS))
def test_round_trip(name: str, secret: bytes, count: int) -> None:
    text = Invite(Network(name, secret), PEERS[:count]).encode()
    found = Invite.decode(text)
    assert (found.network.name, found.network.secret, found.network.is_private) == (name, secret, True)
    assert found.peers == PEERS[:count]


def test_space_around_it_and_upper_case_do_no_harm() -> None:
    assert Invite.decode(f"  {WHOLE.upper()}\r\n").encode() == WHOLE


def test_it_fits_a_qr_code_of_a_terminal() -> None:
    """A code of version 12 holds 535 capital letters, digits and colons, and has 65 rows of squares."""
    assert len(Invite(Network("a" * 31, SECRET), PEERS).encode()) <= 535


@pytest.mark.parametrize("place", range(len(PREFIX), len(WHOLE)))
def test_every_slip_of_one_character_is_found(place: int) -> None:
    for other in "a", "b", "7", "0", "é", " ":
        if WHOLE[place] != other:
            assert refused(WHOLE[:place] + other + WHOLE[place + 1 :]) == DAMAGED


def test_every_cut_is_found() -> None:
    for size in range(len(PREFIX), len(WHOLE)):
        assert refused(WHOLE[:size]) == DAMAGED


def test_swapped_characters_are_found() -> None:
    for place in range(len(PREFIX), len(WHOLE) - 1):
        one, other = WHOLE[place], WHOLE[place + 1]
        if one != other:
            assert refused(WHOLE[:place] + other + one + WHOLE[place + 2 :]) == DAMAGED


@pytest.mark.parametrize(
    ("name", "secret", "rest"),
    [
        (b"", SECRET, b"\0"),
        (b"Home", SECRET, b"\0"),
        (b"../x", SECRET, b"\0"),
        (b"\xff", SECRET, b"\0"),
        (b"a" * 32, SECRET, b"\0"),
        (b"home", SECRET[:31], b""),
        (b"home", SECRET, b""),
        (b"home", SECRET, b"\0\0"),
        (b"home", SECRET, b"\1"),
        (b"home", SECRET, b"\1\x0b" + bytes(75)),
        (b"home", SECRET, bytes([4]) + b"".join(map(packed, range(4)))),
        (b"home", SECRET, bytes([2]) + packed(1) * 2),
    ],
    ids=[
        "no name",
        "upper case",
        "a path",
        "no ASCII",
        "long name",
        "short secret",
        "no number",
        "something after",
        "peer missing",
        "no address",
        "four peers",
        "a peer twice",
    ],
)
def test_a_right_checksum_does_not_make_it_right(name: bytes, secret: bytes, rest: bytes) -> None:
    assert refused(written_again(name, secret, rest)) == DAMAGED


def test_another_spelling_is_refused() -> None:
    """Bits that base32 leaves over must be zero, and nothing is padded."""
    text = Invite(Network("home", SECRET)).encode()
    spelled = [text[:-1] + letter for letter in "abcdefghijklmnopqrstuvwxyz234567"]
    assert [found for found in spelled if found != text and not _is_refused(found)] == []
    assert refused(text + "=") == DAMAGED


def _is_refused(text: str) -> bool:
    try:
        Invite.decode(text)
    except InviteError:
        return True
    return False


@pytest.mark.parametrize("text", ["", "hello", "macrovpn", "macrovpn:abc", "https://example.org/", "macrovpn12345:a"])
def test_other_texts_are_no_invites(text: str) -> None:
    assert refused(text) == "This is not an invite: one begins with macrovpn1:"


def test_another_version_is_named() -> None:
    assert refused(WHOLE.replace("macrovpn1", "macrovpn2")).startswith("This invite is of another version")


@given(st.text())
@example("macrovpn1:")
@example("macrovpn1:" + "a" * 5000)
@example("macrovpn1:ſ")
def test_arbitrary_text_raises_only_invite_error(text: str) -> None:
    for tried in (text, PREFIX + text):
        with pytest.raises(InviteError):
            Invite.decode(tried)


@given(st.binary(max_size=400))
def test_arbitrary_bytes_under_a_right_checksum_raise_only_invite_error(body: bytes) -> None:
    check = hashlib.blake2s(b"macrovpn1:" + body).digest()[:4]
    text = "macrovpn1:" + base64.b32encode(body + check).decode().rstrip("=").lower()
    assert _is_refused(text) or Invite.decode(text).encode() == text


def test_the_secret_is_not_shown() -> None:
    assert SECRET.hex() not in repr(Invite.decode(WHOLE))
    assert repr(Invite.decode(WHOLE)) == "Invite(Network(home, private), 2 peers)"
