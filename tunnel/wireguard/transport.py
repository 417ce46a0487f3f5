"""One session of plain WireGuard with its age, its counters and its replay window, and the padding of packets.

Source: WireGuard, sections 5.4.6, 6.1 and 6.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import DecodeError
from tunnel.wireguard.constants import (
    KEEPALIVE_TIMEOUT_S,
    MAX_COUNTER,
    PADDING_BYTES,
    REJECT_AFTER_TIME_S,
    REKEY_AFTER_MESSAGES,
    REKEY_AFTER_TIME_S,
    REKEY_TIMEOUT_S,
)
from tunnel.wireguard.replay import ReplayWindow
from tunnel.wireguard.session import OVERHEAD_BYTES, Session, read_header

if TYPE_CHECKING:
    from tunnel.wireguard.handshake import Keys


def padded(packet: bytes) -> bytes:
    """Fill up with zeros to a multiple of 16 bytes."""
    return packet + bytes(-len(packet) % PADDING_BYTES)


def unpadded(plaintext: bytes) -> bytes:
    """Cut a received plaintext to the length that its IP header gives.

    Raises:
        DecodeError: it is no IPv4 or IPv6 packet, or shorter than it says.
    """
    version = plaintext[0] >> 4 if plaintext else 0
    if version == 4 and len(plaintext) >= 20:
        smallest, size = 20, int.from_bytes(plaintext[2:4])
    elif version == 6 and len(plaintext) >= 40:
        smallest, size = 40, 40 + int.from_bytes(plaintext[4:6])
    else:
        raise DecodeError("packet", "is not IP")
    if not smallest <= size <= len(plaintext):
        raise DecodeError("packet", "wrong length")
    return plaintext[:size]


class Transport:
    """A session, and what limits its use.

    Args:
        keys: of the finished handshake.
        initiator: whether this side sent message 1. Only that side renews a session because of its age.
        now: when the handshake ended, monotonic seconds.
    """

    __slots__ = ("_born_s", "_initiator", "_session", "_window", "sent")

    def __init__(self, keys: Keys, initiator: bool, now: float) -> None:
        self._session = Session(keys)
        self._window = ReplayWindow()
        self._initiator = initiator
        self._born_s = now
        self.sent = 0

    @property
    def local_index(self) -> int:
        return self._session.local_index

    def alive(self, now: float) -> bool:
        """Say whether the session may still be used at all."""
        return now - self._born_s < REJECT_AFTER_TIME_S

    def may_send(self, now: float) -> bool:
        return self.alive(now) and self.sent < MAX_COUNTER

    def stale_after_send(self, now: float) -> bool:
        """Say whether a message that was just sent calls for a new handshake."""
        old = self._initiator and now - self._born_s >= REKEY_AFTER_TIME_S
        return old or self.sent >= REKEY_AFTER_MESSAGES

    def stale_after_receive(self, now: float) -> bool:
        """Say whether a message that was just received calls for a new handshake: the session is nearly over."""
        limit = REJECT_AFTER_TIME_S - KEEPALIVE_TIMEOUT_S - REKEY_TIMEOUT_S
        return self._initiator and now - self._born_s >= limit

    def seal(self, packet: bytes) -> bytes:
        """Seal a packet, padded, under the next counter. `may_send` comes first."""
        plaintext = padded(packet)
        out = bytearray(len(plaintext) + OVERHEAD_BYTES)
        self._session.seal_into(self.sent, plaintext, memoryview(out))
        self.sent += 1
        return bytes(out)

    def open(self, message: bytes, now: float) -> bytes:
        """Open a message of type 4 and remember its counter.

        Returns:
            The plaintext with its padding; empty for a keepalive.

        Raises:
            DecodeError: the session is over, the counter was seen, or the tag does not verify.
        """
        _, counter = read_header(message)
        if not self.alive(now):
            raise DecodeError("message", "session too old")
        if not self._window.fresh(counter):
            raise DecodeError("message", "replayed")
        out = bytearray(len(message) - OVERHEAD_BYTES)
        self._session.open_into(counter, memoryview(message), out)
        self._window.commit(counter)
        return bytes(out)
