from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigError, DecodeError
from peers.descriptor import (
    HEADER,
    LABEL,
    MAX_DESCRIPTOR_BYTES,
    MAX_LIFE_S,
    SIGNATURE_BYTES,
    Descriptor,
    ExpiryError,
    Role,
    digest,
)
from peers.holds import Hold, give
from peers.identity import Identity
from tests.peers.build import DAY_S, NOW, identity, onion_keys, signed
from tests.peers.test_addresses import reachable

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "descriptor.json").read_text())
KEYS = {name: bytes.fromhex(value) for name, value in VECTORS["keys"].items()}
CASES = VECTORS["descriptors"]
FULL = bytes.fromhex(CASES[0]["hex"])
ME = identity(1)
ONION_KEYS = onion_keys(1)
KEY = ME.link_key
BASE = {1: bytes(8), 2: (NOW + DAY_S).to_bytes(8), 4: KEY, 5: KEY, 6: b"\x01"}
"""The fields that must be there."""


VECTOR_IDENTITY = Identity(
    Ed25519PrivateKey.from_private_bytes(KEYS["signing_private"]),
    X25519PrivateKey.from_private_bytes(KEYS["link_private"]),
)
VECTOR_ONION_KEYS = (KEYS["onion_key"], KEYS["last_onion_key"])


def seal(body: bytes) -> bytes:
    """Sign anything, as a peer could."""
    return body + ME.sign(LABEL + body)


def forged(fields: dict[int, bytes]) -> bytes:
    """Sign these fields, in this order, right or wrong."""
    encoded = b"".join(bytes([tag]) + len(value).to_bytes(2) + value for tag, value in fields.items())
    return seal(HEADER + ME.peer + encoded)


def with_field(tag: int, value: bytes) -> bytes:
    return forged(dict(sorted({**BASE, tag: value}.items())))


def assert_refused(data: bytes, problem: str = ".", now: float = NOW) -> None:
    with pytest.raises(DecodeError, match=problem) as caught:
        Descriptor.decode(data, now)
    assert caught.value.what in ("descriptor", "address", "hold")


# -- vectors


def via(case: dict[str, Any]) -> tuple[Hold, ...]:
    """Who holds links, as the vector says; each word is made anew."""
    found = []
    for hold in case.get("via", []):
        relay = Identity(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(hold["relay_private"])), ME.link_private)
        assert relay.peer.hex() == hold["relay"]
        found.append(give(relay, VECTOR_IDENTITY.peer, hold["expiry"]))
        assert found[-1].signature.hex() == hold["signature"]
    return tuple(found)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_vector_is_read(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["hex"])
    assert Descriptor.decode(data, NOW) == Descriptor(
        peer=VECTOR_IDENTITY.peer,
        sequence=case["sequence"],
        expiry=case["expiry"],
        link_key=KEYS["link_key"],
        onion_keys=VECTOR_ONION_KEYS[: case["onion_keys"]],
        roles=Role(case["roles"]),
        addresses=tuple((host, port) for host, port in case["addresses"]),
        region=case["region"],
        tariff_step=case["tariff_step"],
        capacity_kb_s=case["capacity_kb_s"],
        exit_policy=bytes.fromhex(case["exit_policy"]),
        operator=bytes.fromhex(case.get("operator", "")),
        via=via(case),
        restricted=case.get("restricted", False),
        unknown=tuple((tag, bytes.fromhex(value)) for tag, value in case["unknown"]),
        raw=data,
    )
    assert digest(data).hex() == case["digest"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_vector_is_made(case: dict[str, Any]) -> None:
    data = Descriptor.sign(
        VECTOR_IDENTITY,
        VECTOR_ONION_KEYS[: case["onion_keys"]],
        sequence=case["sequence"],
        expiry=case["expiry"],
        roles=Role(case["roles"]),
        addresses=tuple((host, port) for host, port in case["addresses"]),
        region=case["region"],
        tariff_step=case["tariff_step"],
        capacity_kb_s=case["capacity_kb_s"],
        exit_policy=bytes.fromhex(case["exit_policy"]),
        operator=bytes.fromhex(case.get("operator", "")),
        via=via(case),
        restricted=case.get("restricted", False),
        unknown=tuple((tag, bytes.fromhex(value)) for tag, value in case["unknown"]),
    )
    assert data.hex() == case["hex"]


# -- what is broken is refused


@pytest.mark.parametrize("value", [b"", b"\x00", b"\x02", b"\x01\x01"])
def test_restricted_has_one_spelling(value: bytes) -> None:
    assert Descriptor.decode(forged({**BASE, 13: b"\x01"}), NOW).restricted
    assert not Descriptor.decode(forged(BASE), NOW).restricted
    assert_refused(forged({**BASE, 13: value}))


def test_every_flipped_bit_is_refused() -> None:
    for place in range(len(FULL) * 8):
        data = bytearray(FULL)
        data[place // 8] ^= 1 << place % 8
        assert_refused(bytes(data))


def test_every_cut_and_every_tail_is_refused() -> None:
    for size in range(len(FULL)):
        assert_refused(FULL[:size])
    assert_refused(FULL + b"\x00")
    assert_refused(FULL + FULL)


def test_a_signed_body_is_refused_wherever_it_is_cut() -> None:
    body = signed(1, region="DE")[:-SIGNATURE_BYTES]
    fields_end = len(body) - (3 + 2)  # the region may be missing
    for size in range(len(HEADER) + 32, len(body)):
        if size != fields_end:
            assert_refused(seal(body[:size]))


def test_a_signature_over_other_text_is_refused() -> None:
    body = signed(1)[:-SIGNATURE_BYTES]
    assert_refused(body + ME.sign(body), "signature")
    assert_refused(body + identity(2).sign(LABEL + body), "signature")


def test_another_version_is_refused() -> None:
    assert_refused(seal(b"MVD\x02" + signed(1)[4:-SIGNATURE_BYTES]), "version")


@pytest.mark.parametrize("tag", BASE)
def test_a_missing_field_is_refused(tag: int) -> None:
    assert Descriptor.decode(forged(BASE), NOW).roles is Role.RELAY
    assert_refused(forged({key: value for key, value in BASE.items() if key != tag}), "missing")


def test_fields_out_of_order_are_refused() -> None:
    assert_refused(forged(dict(reversed(BASE.items()))), "order")
    body = signed(1)[:-SIGNATURE_BYTES]
    assert_refused(seal(body + bytes([6, 0, 1, 1])), "order")
    assert_refused(forged({0: b"x", **BASE}), "order")


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (1, bytes(7)),
        (1, bytes(9)),
        (2, (NOW + DAY_S).to_bytes(4)),
        (3, b""),
        (3, b"\x00"),
        (3, b"\x0b"),
        (3, bytes.fromhex("0b 04cb00710791021151cd03 0b 04cb00710791021151cd03")),  # twice
        (3, bytes.fromhex("0b 04cb00710791020000cd03")),
        (3, bytes.fromhex("0b 04e000000191021151cd03")),
        (3, b"".join(bytes.fromhex(f"0b 04cb0071{i:02x}91021151cd03") for i in range(9))),
        (4, bytes(32)),
        (4, KEY[:-1]),
        (4, KEY + b"\x00"),
        (5, b""),
        (5, KEY[:-1]),
        (5, KEY + bytes(32)),
        (5, KEY * 3),
        (6, b"\x04"),
        (6, b"\xff"),
        (6, b"\x00\x01"),
        (7, b""),
        (7, b"D"),
        (7, b"DE-BERLIN"),
        (7, b"D\x1b"),
        (7, b"D\n"),
        (7, "DÉ".encode()),
        (8, b""),
        (8, b"\x00"),
        (8, b"\x08"),
        (8, b"\x00\x01"),
        (9, bytes(4)),
        (9, b"\x01"),
        (9, bytes(5)),
        (10, b""),
        (10, bytes(65)),
        (11, b""),
        (11, bytes(33)),
    ],
    ids=lambda part: part.hex()[:24] or "empty" if isinstance(part, bytes) else str(part),
)
def test_a_wrong_value_is_refused(tag: int, value: bytes) -> None:
    assert_refused(with_field(tag, value))


def test_the_bounds_themselves_are_allowed() -> None:
    addresses = b"".join(bytes.fromhex(f"0b 04cb0071{i:02x}91021151cd03") for i in range(8))
    assert len(Descriptor.decode(with_field(3, addresses), NOW).addresses) == 8
    assert Descriptor.decode(with_field(5, KEY * 2), NOW).onion_keys == (KEY, KEY)
    assert Descriptor.decode(with_field(6, b"\x00"), NOW).roles is Role.NONE
    assert Descriptor.decode(with_field(7, b"DE-BER-1"), NOW).region == "DE-BER-1"
    assert Descriptor.decode(with_field(8, b"\x07"), NOW).tariff_step == 7
    assert Descriptor.decode(with_field(9, b"\xff" * 4), NOW).capacity_kb_s == 2**32 - 1
    assert Descriptor.decode(with_field(10, bytes(64)), NOW).exit_policy == bytes(64)
    assert Descriptor.decode(with_field(11, bytes(32)), NOW).operator == bytes(32)


def small_order_keys() -> list[bytes]:
    prime = 2**255 - 19
    eighth = 325606250916557431795983626356110631294008115727848805560023387167927233504
    other_eighth = 39382357235489614581723060781553021112529911719440698176882885853963445705823
    points = [0, 1, eighth, other_eighth, prime - 1, prime, prime + 1]
    return [(point | high).to_bytes(32, "little") for point in points for high in (0, 1 << 255)]


@pytest.mark.parametrize("key", small_order_keys(), ids=lambda key: key.hex()[:8])
def test_a_key_of_small_order_is_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match="shared key"):  # the library sees them too, but only when it is too late
        X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(key))
    assert_refused(with_field(4, key), "small order")
    assert_refused(with_field(5, KEY + key), "small order")


# -- time


def test_it_ends_at_its_expiry() -> None:
    data = signed(1, expiry=NOW + 100)
    assert Descriptor.decode(data, NOW + 99.9).expiry == NOW + 100
    with pytest.raises(ExpiryError):
        Descriptor.decode(data, NOW + 100)


def test_it_may_not_live_for_more_than_a_week() -> None:
    assert Descriptor.decode(signed(1, expiry=NOW + MAX_LIFE_S), NOW)
    with pytest.raises(ExpiryError):
        Descriptor.decode(signed(1, expiry=NOW + MAX_LIFE_S + 1), NOW)
    with pytest.raises(ExpiryError):
        Descriptor.decode(signed(1, expiry=2**64 - 1), NOW)


# -- size


def test_the_largest_fits_and_one_more_byte_does_not() -> None:
    spare = MAX_DESCRIPTOR_BYTES - len(signed(1)) - 3
    everything = {"sequence": 1, "expiry": NOW + DAY_S, "roles": Role.RELAY, "addresses": (("20.1.0.1", 4433),)}
    data = Descriptor.sign(ME, ONION_KEYS, **everything, unknown=((255, bytes(spare)),))  # type: ignore[arg-type]
    assert len(data) == 996
    assert Descriptor.decode(data, NOW).raw == data
    with pytest.raises(ConfigError, match="size"):
        Descriptor.sign(ME, ONION_KEYS, **everything, unknown=((255, bytes(spare + 1)),))  # type: ignore[arg-type]
    body = replace(Descriptor.decode(data, NOW), unknown=((255, bytes(spare + 1)),)).body()
    assert_refused(seal(body), "size")


# -- signing


@pytest.mark.parametrize(
    "wrong",
    [
        {"sequence": -1},
        {"sequence": 2**64},
        {"expiry": 2**64},
        {"roles": Role(4)},
        {"addresses": (("example.org", 4433),)},
        {"addresses": (("20.1.0.1", 0),)},
        {"addresses": (("20.1.0.1", 4433),) * 2},
        {"addresses": tuple(("20.1.0.1", port) for port in range(1, 10))},
        {"region": "D"},
        {"region": "DÉ"},
        {"tariff_step": 8},
        {"tariff_step": -1},
        {"capacity_kb_s": 2**32},
        {"exit_policy": bytes(65)},
        {"operator": bytes(33)},
        {"unknown": ((10, b"x"), (9, b"x"))},
        {"unknown": ((11, b"x"),), "operator": b"x"},
        {"unknown": ((99, b"x"), (99, b"x"))},
        {"unknown": ((256, b"x"),)},
    ],
    ids=str,
)
def test_what_would_be_refused_is_not_signed(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Descriptor.sign(ME, ONION_KEYS, **{"sequence": 1, "expiry": NOW + DAY_S, "roles": Role.RELAY, **wrong})


def test_repr_shows_no_address_and_no_key() -> None:
    assert repr(Descriptor.decode(FULL, NOW)) == "Descriptor(d75a9801)"


# -- properties

contents = st.fixed_dictionaries(
    {
        "sequence": st.integers(0, 2**64 - 1),
        "expiry": st.integers(NOW + 1, NOW + MAX_LIFE_S),
        "roles": st.sampled_from([Role.NONE, Role.RELAY, Role.EXIT, Role.RELAY | Role.EXIT]),
        "addresses": st.lists(reachable(), max_size=8, unique=True).map(tuple),
        "region": st.just("") | st.from_regex(r"[A-Za-z0-9-]{2,8}", fullmatch=True),
        "tariff_step": st.integers(0, 7),
        "capacity_kb_s": st.integers(0, 2**32 - 1),
        "exit_policy": st.binary(max_size=64),
        "operator": st.binary(max_size=32),
        "unknown": st.dictionaries(st.integers(16, 255), st.binary(max_size=40), max_size=6).map(
            lambda fields: tuple(sorted(fields.items()))
        ),
    }
)


@settings(deadline=None)
@given(contents)
def test_round_trip(content: dict[str, Any]) -> None:
    data = Descriptor.sign(ME, ONION_KEYS, **content)
    found = Descriptor.decode(data, NOW)
    assert {name: getattr(found, name) for name in content} == content
    assert (found.peer, found.link_key, found.onion_keys) == (ME.peer, ME.link_key, ONION_KEYS)
    assert found.raw == data
    assert found.body() == data[:-SIGNATURE_BYTES]


@settings(deadline=None)
@given(st.binary(max_size=1100) | st.binary(max_size=300).map(lambda tail: HEADER + ME.peer + tail))
def test_arbitrary_bytes_raise_only_what_is_documented(data: bytes) -> None:
    assert_refused(data)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_arbitrary_signed_bodies_have_one_encoding_or_are_refused(data: st.DataObject) -> None:
    body = bytearray(FULL[:-SIGNATURE_BYTES])
    body[4:36] = ME.peer
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(36, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = Descriptor.decode(seal(bytes(body)), NOW)
    except DecodeError:
        return
    assert found.body() == body
