"""What a peer says of itself, signed: where it is, its keys, what it does for others.

Layout, all numbers big-endian, 996 bytes at most (a mutable item of BitTorrent's DHT holds no more):

| bytes | what |
|---|---|
| 4 | `MVD` and the version, 1 |
| 32 | the peer's Ed25519 key |
| n | fields: tag (1), length of the value (2), value; tags rise strictly, 0 is not used |
| 64 | Ed25519 signature over the label `macro-vpn descriptor 1` with a zero byte, then all bytes before |

| tag | value |
|---|---|
| 1 | sequence (8): of two descriptors of one peer, the higher counts |
| 2 | expiry (8), Unix seconds |
| 3 | addresses, 1 to 8, the preferred first, none twice: each length (1) and multiaddr |
| 4 | X25519 link key (32) |
| 5 | X25519 onion keys (32 or 64), today's first |
| 6 | roles (1): bit 0 relay, bit 1 exit |
| 7 | region, 2 to 8 ASCII letters, digits or dashes |
| 8 | tariff step (1), 1 to 7 |
| 9 | capacity (4), KB per second |
| 10 | summary of the exit policy, 1 to 64 bytes |
| 11 | operator, 1 to 32 bytes: a name for whoever runs it; no two hops of a path have one in common |
| 12 | via, 1 to 3 times 104 bytes: relays that hold a link to it, each with its word (`peers.holds`) |
| 13 | restricted (1), 1: it makes circuits only for links from peers that it chose |

Fields 1, 2, 4, 5 and 6 must be there. The others are left out when they would be empty or zero, so each descriptor
has one encoding. A peer has addresses or `via`, not both, and its descriptor expires no later than any word in it.
Fields with other tags are kept as they are and mean nothing here.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from core.errors import ConfigError, DecodeError
from core.ids import PEER_KEY_BYTES, PeerKey, short
from peers.addresses import pack_address, unpack_address
from peers.holds import decode_holds, encode_holds

if TYPE_CHECKING:
    from peers.addresses import Address
    from peers.holds import Hold
    from peers.identity import Identity

# Wire format
HEADER: Final = b"MVD\x01"
LABEL: Final = b"macro-vpn descriptor 1\x00"
SIGNATURE_BYTES: Final = 64
KEY_BYTES: Final = 32
MAX_DESCRIPTOR_BYTES: Final = 996
MIN_DESCRIPTOR_BYTES: Final = len(HEADER) + PEER_KEY_BYTES + SIGNATURE_BYTES
DIGEST_BYTES: Final = 8

# Limits
MAX_ADDRESSES: Final = 8
MAX_TARIFF_STEP: Final = 7
MAX_POLICY_BYTES: Final = 64
MAX_OPERATOR_BYTES: Final = 32
MAX_LIFE_S: Final = 7 * 86_400

_FIELDS_START: Final = len(HEADER) + PEER_KEY_BYTES
_REGION: Final = re.compile(rb"[A-Za-z0-9-]{2,8}")

# The points of small order on Curve25519: a shared secret made with one is zero, whoever makes it.
# Source: RFC 7748, section 6.1; D. J. Bernstein, "Curve25519: new Diffie-Hellman speed records", section 3.
_FIELD_PRIME: Final = 2**255 - 19
_SMALL_ORDER: Final = frozenset(
    {
        0,
        1,
        _FIELD_PRIME - 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    }
)


class Role(IntFlag):
    """What a peer does for others."""

    NONE = 0
    RELAY = 1
    EXIT = 2


class _Tag(IntEnum):
    SEQUENCE = 1
    EXPIRY = 2
    ADDRESSES = 3
    LINK_KEY = 4
    ONION_KEYS = 5
    ROLES = 6
    REGION = 7
    TARIFF = 8
    CAPACITY = 9
    POLICY = 10
    OPERATOR = 11
    VIA = 12
    RESTRICTED = 13


class ExpiryError(DecodeError):
    """A descriptor is in order, but not at this time by this clock. The one who passed it on is not to blame."""


@dataclass(frozen=True, slots=True, repr=False)
class Descriptor:
    """A verified descriptor. Only `decode` makes one that can be trusted.

    Args:
        peer: the Ed25519 key that signed it, 32 bytes.
        sequence: unsigned, 64 bits.
        expiry: Unix seconds.
        link_key: X25519, 32 bytes.
        onion_keys: one or two X25519 keys of 32 bytes, today's first.
        roles: what it offers.
        addresses: at most 8, the preferred one first.
        region: where it says it is; empty when it does not say.
        tariff_step: 0 to 7.
        capacity_kb_s: KB per second, unsigned, 32 bits; 0 when unknown.
        exit_policy: a summary, at most 64 bytes.
        operator: whom it says it is run by, at most 32 bytes; empty when it does not say.
        via: who holds a link to it, at most 3, if it has no address.
        restricted: whether it serves only those that it chose.
        unknown: fields of later versions, as (tag, value), by rising tag.
        raw: the bytes it came in, to be passed on unchanged.
    """

    peer: PeerKey
    sequence: int
    expiry: int
    link_key: bytes
    onion_keys: tuple[bytes, ...]
    roles: Role
    addresses: tuple[Address, ...] = ()
    region: str = ""
    tariff_step: int = 0
    capacity_kb_s: int = 0
    exit_policy: bytes = b""
    operator: bytes = b""
    via: tuple[Hold, ...] = ()
    restricted: bool = False
    unknown: tuple[tuple[int, bytes], ...] = ()
    raw: bytes = b""

    def __repr__(self) -> str:
        return f"Descriptor({short(self.peer)})"

    @staticmethod
    def sign(
        identity: Identity,
        onion_keys: tuple[bytes, ...],
        *,
        sequence: int,
        expiry: int,
        roles: Role,
        addresses: tuple[Address, ...] = (),
        region: str = "",
        tariff_step: int = 0,
        capacity_kb_s: int = 0,
        exit_policy: bytes = b"",
        operator: bytes = b"",
        via: tuple[Hold, ...] = (),
        restricted: bool = False,
        unknown: tuple[tuple[int, bytes], ...] = (),
    ) -> bytes:
        """Make the descriptor of this node. The arguments are those of the class.

        Returns:
            At most 996 bytes, to be published.

        Raises:
            ConfigError: a value is out of its range, or does not go with another, or all together are too long.
        """
        draft = Descriptor(
            peer=identity.peer,
            sequence=sequence,
            expiry=expiry,
            link_key=identity.link_key,
            onion_keys=onion_keys,
            roles=roles,
            addresses=addresses,
            region=region,
            tariff_step=tariff_step,
            capacity_kb_s=capacity_kb_s,
            exit_policy=exit_policy,
            operator=operator,
            via=via,
            restricted=restricted,
            unknown=unknown,
        )
        try:
            body = draft.body()
            _check_size(len(body) + SIGNATURE_BYTES)
            _parse(body, b"")
        except DecodeError as error:
            raise ConfigError("descriptor", error.problem) from error
        except (OverflowError, ValueError) as error:
            raise ConfigError("descriptor", "a value is out of its range") from error
        return body + identity.sign(LABEL + body)

    @classmethod
    def decode(cls, data: bytes, now: float) -> Descriptor:
        """Read a descriptor and verify all of it.

        Args:
            data: bytes from anywhere.
            now: Unix seconds.

        Raises:
            ExpiryError: it has expired, or would live for more than 7 days.
            DecodeError: size, signature, order, or a value is wrong.
        """
        data = bytes(data)
        _check_size(len(data))
        if not data.startswith(HEADER):
            raise _wrong("unknown kind or version")
        body, signature = data[:-SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]
        try:
            Ed25519PublicKey.from_public_bytes(body[len(HEADER) : _FIELDS_START]).verify(signature, LABEL + body)
        except (InvalidSignature, ValueError) as error:
            raise _wrong("wrong signature") from error
        descriptor = _parse(body, data)
        if not now < descriptor.expiry <= now + MAX_LIFE_S:
            raise ExpiryError("descriptor", "expired, or valid for too long")
        return descriptor

    def body(self) -> bytes:
        """Encode everything but the signature.

        Raises:
            OverflowError: a number does not fit its field.
            DecodeError: an address is not canonical.
            ValueError: the region is not ASCII, or a tag does not fit a byte.
        """
        packed = b"".join(bytes([len(data)]) + data for data in (pack_address(*pair) for pair in self.addresses))
        fields: list[tuple[int, bytes]] = [
            (_Tag.SEQUENCE, self.sequence.to_bytes(8)),
            (_Tag.EXPIRY, self.expiry.to_bytes(8)),
            (_Tag.ADDRESSES, packed),
            (_Tag.LINK_KEY, self.link_key),
            (_Tag.ONION_KEYS, b"".join(self.onion_keys)),
            (_Tag.ROLES, self.roles.to_bytes(1)),
            (_Tag.REGION, self.region.encode("ascii")),
            (_Tag.TARIFF, self.tariff_step.to_bytes(1) if self.tariff_step else b""),
            (_Tag.CAPACITY, self.capacity_kb_s.to_bytes(4) if self.capacity_kb_s else b""),
            (_Tag.POLICY, self.exit_policy),
            (_Tag.OPERATOR, self.operator),
            (_Tag.VIA, encode_holds(self.via)),
            (_Tag.RESTRICTED, b"\x01" if self.restricted else b""),
        ]
        kept = [(tag, value) for tag, value in fields if value] + list(self.unknown)
        encoded = [bytes([tag]) + len(value).to_bytes(2) + value for tag, value in kept]
        return HEADER + self.peer + b"".join(encoded)


def digest(raw: bytes) -> bytes:
    """Name a descriptor's bytes in gossip: the first 8 bytes of their SHA-256."""
    return hashlib.sha256(raw).digest()[:DIGEST_BYTES]


def _wrong(problem: str) -> DecodeError:
    return DecodeError("descriptor", problem)


def _check_size(size: int) -> None:
    if not MIN_DESCRIPTOR_BYTES <= size <= MAX_DESCRIPTOR_BYTES:
        raise _wrong("wrong size")


def _parse(body: bytes, raw: bytes) -> Descriptor:
    """Read everything but the signature, strictly."""
    fields = _split(body)
    onion = _take(fields, _Tag.ONION_KEYS, KEY_BYTES, 2 * KEY_BYTES)
    peer = PeerKey(body[len(HEADER) : _FIELDS_START])
    found = Descriptor(
        peer=peer,
        sequence=int.from_bytes(_take(fields, _Tag.SEQUENCE, 8)),
        expiry=int.from_bytes(_take(fields, _Tag.EXPIRY, 8)),
        link_key=_exchange_key(_take(fields, _Tag.LINK_KEY, KEY_BYTES)),
        onion_keys=tuple(_exchange_key(onion[i : i + KEY_BYTES]) for i in range(0, len(onion), KEY_BYTES)),
        roles=_roles(_take(fields, _Tag.ROLES, 1)),
        addresses=_addresses(fields.pop(_Tag.ADDRESSES, None)),
        region=_region(fields.pop(_Tag.REGION, None)),
        tariff_step=_number(fields.pop(_Tag.TARIFF, None), 1, MAX_TARIFF_STEP),
        capacity_kb_s=_number(fields.pop(_Tag.CAPACITY, None), 4, 0xFFFF_FFFF),
        exit_policy=_text(fields.pop(_Tag.POLICY, None), "exit policy", MAX_POLICY_BYTES),
        operator=_text(fields.pop(_Tag.OPERATOR, None), "operator", MAX_OPERATOR_BYTES),
        via=_via(peer, fields.pop(_Tag.VIA, None)),
        restricted=_number(fields.pop(_Tag.RESTRICTED, None), 1, 1) == 1,
        unknown=tuple(fields.items()),
        raw=raw,
    )
    if found.via and (found.addresses or found.expiry > min(hold.expiry for hold in found.via)):
        raise _wrong("relays that hold links beside addresses, or for too short a time")
    return found


def _split(body: bytes) -> dict[int, bytes]:
    """Cut the fields apart, in their order."""
    fields: dict[int, bytes] = {}
    last, at = 0, _FIELDS_START
    while at < len(body):
        if len(body) - at < 3:
            raise _wrong("a field is cut off")
        tag, size = body[at], int.from_bytes(body[at + 1 : at + 3])
        if tag <= last:
            raise _wrong("fields out of order")
        at += 3
        if size > len(body) - at:
            raise _wrong("a field is cut off")
        fields[tag] = body[at : at + size]
        last, at = tag, at + size
    return fields


def _take(fields: dict[int, bytes], tag: _Tag, *sizes: int) -> bytes:
    value = fields.pop(tag, None)
    if value is None:
        raise _wrong("a field is missing")
    if len(value) not in sizes:
        raise _wrong("a field has a wrong length")
    return value


def _exchange_key(value: bytes) -> bytes:
    # X25519 ignores the highest bit and reduces, so there are several spellings of each point.
    if (int.from_bytes(value, "little") & (2**255 - 1)) % _FIELD_PRIME in _SMALL_ORDER:
        raise _wrong("a key of small order")
    return value


def _roles(value: bytes) -> Role:
    if value[0] & ~int(Role.RELAY | Role.EXIT):
        raise _wrong("unknown role")
    return Role(value[0])


def _addresses(value: bytes | None) -> tuple[Address, ...]:
    if value is None:
        return ()
    found: list[Address] = []
    at = 0
    while at < len(value):
        end = at + 1 + value[at]
        if end > len(value) or len(found) == MAX_ADDRESSES:
            raise _wrong("too many addresses, or one is cut off")
        found.append(unpack_address(value[at + 1 : end]))
        at = end
    if not found or len(set(found)) != len(found):
        raise _wrong("an address twice, or an empty list")
    return tuple(found)


def _via(peer: PeerKey, value: bytes | None) -> tuple[Hold, ...]:
    return () if value is None else decode_holds(peer, value)


def _region(value: bytes | None) -> str:
    if value is None:
        return ""
    if not _REGION.fullmatch(value):
        raise _wrong("region is not 2 to 8 letters, digits or dashes")
    return value.decode("ascii")


def _number(value: bytes | None, size: int, highest: int) -> int:
    if value is None:
        return 0
    number = int.from_bytes(value)
    if len(value) != size or not 0 < number <= highest:
        raise _wrong("a number is out of its range")
    return number


def _text(value: bytes | None, name: str, longest: int) -> bytes:
    if value is None:
        return b""
    if not 0 < len(value) <= longest:
        raise _wrong(f"{name} is not 1 to {longest} bytes")
    return value
