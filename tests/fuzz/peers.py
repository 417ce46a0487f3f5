"""Readers of what peers say of themselves and of each other, and of addresses."""

from __future__ import annotations

import base64
from functools import cache

from core.ports import ServedPorts, complement, ports_text
from peers.addresses import format_address, pack_address, parse_address, unpack_address
from peers.descriptor import HEADER, LABEL, MAX_DESCRIPTOR_BYTES, SIGNATURE_BYTES, Descriptor, Role, digest
from peers.directory import Directory
from peers.gossip import MAX_MESSAGE_BYTES, Gossip
from peers.holds import give
from peers.identity import parse_peer_id, peer_id
from peers.invite import CHECK_BYTES, PREFIX, Introduction, Invite, InviteError, _body
from peers.networks import NONCE_BYTES, Network
from peers.store import FIRST_LINE, _decode
from tests.fuzz.target import Target, parts
from tests.peers.build import NOW, identity, signed
from tunnel.address_messages import (
    decode_address,
    decode_meeting,
    decode_outcome,
    decode_peer,
    decode_port,
    encode_address,
    encode_meeting,
    encode_outcome,
    encode_port,
)
from tunnel.wireguard.primitives import hash_


def read_descriptor(data: bytes) -> None:
    Descriptor.decode(data, NOW)


def read_signed_fields(data: bytes) -> None:
    """Fields that their peer has signed: whatever is taken has that one spelling."""
    body = HEADER + identity(1).peer + data
    found = Descriptor.decode(body + identity(1).sign(LABEL + body), NOW)
    assert found.body() == body, "two spellings of one descriptor"
    assert found.raw[:-SIGNATURE_BYTES] == body


def read_gossip(data: bytes) -> None:
    """What to do (1), then messages, some with descriptors in them that are in order."""
    gossip = Gossip(_directory(), lambda: signed(1))
    sent = gossip.start(NOW) + gossip.announce(NOW)
    for number, message in enumerate(parts(data)):
        if message[:1] == b"\xf0":
            message = b"\1" + b"".join(digest(_raw(which)) for which in dict.fromkeys(message[1:]))
        elif message[:1] == b"\xf1":
            raws = [_raw(which) for which in message[1:17]]
            message = b"\3" + b"".join(len(raw).to_bytes(2) + raw for raw in raws)
        sent += gossip.receive(message, NOW + number, "link")
    assert all(len(message) <= MAX_MESSAGE_BYTES for message in sent)


def _directory() -> Directory:
    directory = Directory()
    directory.add(signed(2), NOW, None)
    return directory


@cache
def _raw(which: int) -> bytes:
    raw = signed(which)
    return raw if which < 250 else raw[:-1] + b"\0"


def read_address_messages(data: bytes) -> None:
    """A kind (1), then the body of a message about addresses: what is taken has that one spelling."""
    body = data[1:]
    match data[:1]:
        case b"\x08":
            assert encode_address(decode_address(body)) == body
        case b"\x09":
            assert encode_port(decode_port(body)) == body
        case b"\x0a":
            assert encode_outcome(decode_outcome(body)) == body
        case b"\x0b":
            assert decode_peer(body) == body
        case _:
            assert encode_meeting(*decode_meeting(body)) == body


def read_address_text(data: bytes) -> None:
    text = data.decode("latin-1")
    host, port, peer = parse_address(text)
    assert format_address(host, port, peer) == text
    assert unpack_address(pack_address(host, port)) == (host, port)


def read_address_bytes(data: bytes) -> None:
    assert pack_address(*unpack_address(data)) == data


def read_peer_id(data: bytes) -> None:
    text = data.decode("latin-1")
    assert peer_id(parse_peer_id(text)) == text


def read_invite(data: bytes) -> None:
    text = data.decode("latin-1")
    assert Invite.decode(text).encode() == text.strip().lower()


def read_checked_invite(data: bytes) -> None:
    """The body of an invite; its checksum is made."""
    text = base64.b32encode(data + hash_(PREFIX.encode(), data)[:CHECK_BYTES]).decode().rstrip("=").lower()
    assert Invite.decode(PREFIX + text).encode() == PREFIX + text, "two spellings of one invite"


def read_sealed(data: bytes) -> None:
    """What a DHT brings under a peer's key. Nobody can make it without the secret, so a nonce and a text come in."""
    nonce, text = data[:NONCE_BYTES].ljust(NONCE_BYTES, b"\0"), data[NONCE_BYTES:]
    assert _NETWORK.open(_NETWORK.seal(text, nonce)) == text
    _NETWORK.open(data)


def read_served_ports(data: bytes) -> None:
    ports = ServedPorts.read(data)
    listed = ports.ranges if data[:1] == b"+" else complement(ports.ranges)
    assert data[1:] == ports_text(listed).encode(), "two spellings of one list"


def read_store(data: bytes) -> None:
    _decode(FIRST_LINE + data, NOW)


_FULL = Descriptor.sign(
    identity(1),
    (bytes([9]) * 32, bytes([10]) * 32),
    sequence=7,
    expiry=NOW + 3600,
    roles=Role.RELAY | Role.EXIT,
    addresses=(("20.0.0.1", 4433), ("2a00::1", 4433)),
    region="EU-west",
    tariff_step=3,
    capacity_kb_s=1000,
    exit_policy=b"accept",
    unknown=((200, b"later"),),
)
_NETWORK = Network("home", bytes(range(32)))
_INVITE = Invite(
    _NETWORK,
    (
        Introduction(identity(1).peer, identity(1).link_key, ("203.0.113.7", 4433)),
        Introduction(identity(2).peer, identity(2).link_key, ("2a00::1", 1)),
    ),
).encode()
_OVER_LINKS = Descriptor.sign(
    identity(1),
    (bytes([9]) * 32,),
    sequence=7,
    expiry=NOW + 3600,
    roles=Role.EXIT,
    via=tuple(give(identity(number), identity(1).peer, NOW + 3600) for number in (2, 3)),
)
_FIELDS = tuple(raw[len(HEADER) + 32 : -SIGNATURE_BYTES] for raw in (_FULL, signed(1), _OVER_LINKS))
_PEER = peer_id(identity(1).peer)

TARGETS = (
    Target("descriptor", read_descriptor, (_FULL, signed(1)), longest=MAX_DESCRIPTOR_BYTES + 8),
    Target("descriptor-fields", read_signed_fields, _FIELDS, longest=MAX_DESCRIPTOR_BYTES),
    Target(
        "gossip",
        read_gossip,
        (b"\3\xf0\5\6" + b"\3\xf1\5\6", b"\x09\2" + digest(signed(2)), b"\2\xf0\xfb" + b"\2\xf1\xfb"),
    ),
    Target(
        "address-text",
        read_address_text,
        (b"/ip4/203.0.113.7/udp/4433/quic-v1", f"/ip6/2a00::1/udp/1/quic-v1/p2p/{_PEER}".encode()),
        longest=200,
    ),
    Target(
        "address-bytes", read_address_bytes, (pack_address("203.0.113.7", 4433), pack_address("2a00::1", 1)), longest=40
    ),
    Target(
        "address-messages",
        read_address_messages,
        (
            b"\x08" + encode_address(("203.0.113.7", 4433)),
            b"\x09" + encode_port(4433),
            b"\x0a\1",
            b"\x0b" + bytes(32),
            b"\x0d" + encode_meeting(identity(1).peer, ("2a00::1", 1)),
        ),
        longest=60,
    ),
    Target("served-ports", read_served_ports, (b"+80,443", b"-25,135-139,65535"), longest=80),
    Target("peer-id", read_peer_id, (_PEER.encode(),), longest=80),
    Target("invite", read_invite, (_INVITE.encode(), _INVITE.upper().encode()), (InviteError,)),
    Target("invite-body", read_checked_invite, (_body(_INVITE),), (InviteError,)),
    Target("sealed-descriptor", read_sealed, (_NETWORK.seal(signed(1), bytes(12)),)),
    Target(
        "remembered-peers", read_store, (b"".join(b"\1" + len(raw).to_bytes(2) + raw for raw in (_FULL, signed(2))),)
    ),
)
