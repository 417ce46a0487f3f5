"""Readers of plain WireGuard, and of the messages' headers."""

from __future__ import annotations

import struct

from tests.fuzz.target import Target
from tests.tunnel.wireguard.pair import Pair, ipv4
from tests.tunnel.wireguard.reference import mac1
from tunnel.layers import flow_number
from tunnel.wireguard.cookies import CookieGiver, CookieTaker
from tunnel.wireguard.session import read_header
from tunnel.wireguard.transport import padded, unpadded


def _pair() -> Pair:
    pair = Pair()
    pair.send(0, ipv4(b"to"))
    pair.run()
    pair.send(1, ipv4(b"back"))
    pair.run()
    return pair


_PAIR = _pair()


def read_datagrams(data: bytes) -> None:
    """Which side hears it (1), whether mac1 is made (1), then a datagram: no device raises."""
    if len(data) < 2:
        return
    pair, side, message = _PAIR, data[0] & 1, data[2:]
    if data[1] & 1 and len(message) in (92, 148):
        message = mac1(message, pair.keys[side])
    current = pair.peers[side].current
    assert current is not None
    if data[1] & 2:
        message = message[:4] + current.local_index.to_bytes(4, "little") + message[8:]
    pair.now += 0.001
    out = pair.devices[side].receive(message, ("192.0.2.66", 66), pair.now)
    assert len(out.datagrams) <= 2


def read_packet(data: bytes) -> None:
    packet = unpadded(data)
    assert data.startswith(packet)
    assert unpadded(padded(packet)) == packet


def read_cookie(data: bytes) -> None:
    taker = CookieTaker(bytes(32))
    taker.close(bytes(148), 0)
    taker.consume_reply(data, 0)


def read_transport_header(data: bytes) -> None:
    index, counter = read_header(data)
    assert data[:16] == struct.pack("<IIQ", 4, index, counter)
    assert flow_number(counter) == counter >> 40


def _datagram_seeds() -> tuple[bytes, ...]:
    return tuple(bytes([1 - side, 0]) + message for _, side, message in _PAIR.sent)


TARGETS = (
    Target("wireguard-device", read_datagrams, _datagram_seeds()),
    Target("wireguard-packet", read_packet, (padded(ipv4(b"data")), b"\x60" + bytes(39))),
    Target("wireguard-cookie", read_cookie, (CookieGiver(bytes(32), bytes).create_reply(bytes(148), b"", 0),)),
    Target("message-header", read_transport_header, (b"\4" + bytes(31),)),
)
