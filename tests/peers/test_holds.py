from __future__ import annotations

from typing import Any

import pytest

from core.errors import ConfigError, DecodeError
from peers.descriptor import HEADER, LABEL, Descriptor, Role
from peers.holds import HOLD_BYTES, MAX_HOLDS, Hold, decode_holds, decode_word, encode_holds, encode_word, give
from tests.peers.build import DAY_S, NOW, identity, onion_keys, signed

PEER, RELAYS = identity(1), [identity(number) for number in range(2, 7)]
EXPIRY = NOW + DAY_S
HOLDS = tuple(give(relay, PEER.peer, EXPIRY) for relay in RELAYS[:MAX_HOLDS])


def test_a_word_reaches_the_peer_and_its_descriptor() -> None:
    assert decode_word(RELAYS[0].peer, encode_word(HOLDS[0])) == HOLDS[0]
    assert len(encode_word(HOLDS[0])) == 72
    assert len(encode_holds(HOLDS)) == 3 * HOLD_BYTES == 312
    assert decode_holds(PEER.peer, encode_holds(HOLDS)) == HOLDS


def test_what_is_signed_is_as_written_down() -> None:
    text = b"macro-vpn hold 1\0" + PEER.peer + EXPIRY.to_bytes(8)
    assert HOLDS[0] == Hold(RELAYS[0].peer, EXPIRY, RELAYS[0].sign(text))


def test_a_word_counts_for_one_peer_one_relay_and_one_time() -> None:
    hold = HOLDS[0]
    assert hold.is_for(PEER.peer)
    assert not hold.is_for(RELAYS[1].peer)
    assert not hold._replace(relay=RELAYS[1].peer).is_for(PEER.peer)
    assert not hold._replace(expiry=EXPIRY + 1).is_for(PEER.peer)
    assert not hold._replace(signature=bytes(64)).is_for(PEER.peer)


@pytest.mark.parametrize("size", [0, 71, 73, 144])
def test_a_word_has_one_length(size: int) -> None:
    with pytest.raises(DecodeError, match="length"):
        decode_word(RELAYS[0].peer, bytes(size))


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (b"", "length"),
        (encode_holds(HOLDS)[:-1], "length"),
        (encode_holds(HOLDS) + b"\0", "length"),
        (encode_holds(tuple(give(relay, PEER.peer, EXPIRY) for relay in RELAYS[:4])), "length"),
        (encode_holds((HOLDS[0], HOLDS[0])), "twice"),
        (encode_holds((give(PEER, PEER.peer, EXPIRY),)), "itself"),
        (encode_holds((HOLDS[0], give(RELAYS[1], RELAYS[2].peer, EXPIRY))), "signature"),
        (encode_holds((HOLDS[0], HOLDS[1]._replace(expiry=EXPIRY + 1))), "signature"),
    ],
    ids=["none", "cut off", "tail", "four", "twice", "itself", "for another", "for longer"],
)
def test_what_is_not_the_relays_word_is_refused(value: bytes, problem: str) -> None:
    with pytest.raises(DecodeError, match=problem):
        decode_holds(PEER.peer, value)
    fields = {1: bytes(8), 2: EXPIRY.to_bytes(8), 4: PEER.link_key, 5: PEER.link_key, 6: b"\1", 12: value}
    body = HEADER + PEER.peer
    body += b"".join(bytes([tag]) + len(field).to_bytes(2) + field for tag, field in fields.items())
    with pytest.raises(DecodeError, match=problem):
        Descriptor.decode(body + PEER.sign(LABEL + body), NOW)


def sign(**content: Any) -> bytes:
    content = {"sequence": 1, "expiry": EXPIRY, "roles": Role.RELAY, **content}
    return Descriptor.sign(PEER, onion_keys(1), **content)


def test_a_descriptor_names_who_holds_a_link() -> None:
    raw = sign(via=HOLDS)
    found = Descriptor.decode(raw, NOW)
    assert found.via == HOLDS
    assert Descriptor.decode(signed(1), NOW).via == ()
    assert found.body() == raw[:-64]


@pytest.mark.parametrize(
    "wrong",
    [
        {"addresses": (("20.1.0.1", 4433),)},
        {"expiry": EXPIRY + 1},
        {"via": tuple(give(relay, PEER.peer, EXPIRY) for relay in RELAYS[:4])},
    ],
    ids=["address", "longer", "four"],
)
def test_it_has_no_address_beside_them_and_ends_no_later(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        sign(**{"via": HOLDS, **wrong})


def test_the_shortest_word_bounds_the_descriptor() -> None:
    via = (HOLDS[0], give(RELAYS[1], PEER.peer, EXPIRY - 5))
    with pytest.raises(ConfigError):
        sign(via=via, expiry=EXPIRY - 4)
    assert Descriptor.decode(sign(via=via, expiry=EXPIRY - 5), NOW).via == via
