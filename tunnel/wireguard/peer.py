"""One peer of a WireGuard device: its three sessions, its handshake, its timers, the packets that wait.

Methods put datagrams into `outbox` and packets into `inbox`; `deadline_s` says when `advance` wants to be called.

Source: WireGuard, sections 5.1 and 6.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import TYPE_CHECKING

from core.errors import DecodeError
from tunnel.wireguard.constants import (
    FORGET_AFTER_TIME_S,
    INITIATION_INTERVAL_S,
    KEEPALIVE_TIMEOUT_S,
    MAX_WAITING_PACKETS,
    REKEY_ATTEMPT_TIME_S,
    REKEY_JITTER_S,
    REKEY_TIMEOUT_S,
    WIREGUARD_IDENTIFIER,
)
from tunnel.wireguard.cookies import CookieTaker, without_mac2
from tunnel.wireguard.handshake import Initiator, tai64n
from tunnel.wireguard.transport import Transport, unpadded

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from tunnel.wireguard.handshake import Keys, Received

    type Entropy = Callable[[int], bytes]

type Endpoint = tuple[str, int]


class Timer(Enum):
    """What a peer waits for. RETRY runs exactly while a handshake of its own is under way."""

    RETRY = auto()
    KEEPALIVE = auto()
    SILENCE = auto()
    PERSISTENT = auto()
    FORGET = auto()


class Indices:
    """The 32-bit indices that a device has given out, each to one peer."""

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self._owners: dict[int, Peer] = {}

    def take(self, owner: Peer) -> int:
        while True:
            index = int.from_bytes(self._entropy(4))
            if index not in self._owners:
                self._owners[index] = owner
                return index

    def free(self, index: int) -> None:
        self._owners.pop(index, None)

    def owner(self, index: int) -> Peer | None:
        return self._owners.get(index)


class Peer:
    """What a device knows about one peer.

    Args:
        static: the device's own static key.
        peer_static: the peer's public key, 32 bytes.
        indices: the device's indices.
        entropy: returns as many random bytes as asked for.
        clock_offset_s: unix time minus monotonic time, in seconds.
        psk: preshared key, 32 bytes.
        endpoint: where the peer is, as far as known.
        persistent_s: interval of persistent keepalives in seconds; None for none.
    """

    def __init__(
        self,
        static: X25519PrivateKey,
        peer_static: bytes,
        indices: Indices,
        entropy: Entropy,
        clock_offset_s: float,
        psk: bytes,
        endpoint: Endpoint | None,
        persistent_s: float | None,
    ) -> None:
        self.static = peer_static
        self.psk = psk
        self.endpoint = endpoint
        self.outbox: list[tuple[Endpoint, bytes]] = []
        self.inbox: list[bytes] = []
        self.cookies = CookieTaker(peer_static)
        self._own_static = static
        self._indices = indices
        self._entropy = entropy
        self._clock_offset_s = clock_offset_s
        self._persistent_s = persistent_s
        self._previous: Transport | None = None
        self._current: Transport | None = None
        self._next: Transport | None = None
        self._pending: Initiator | None = None
        self._pending_index = 0
        self._give_up_s = 0.0
        self._initiated_s = float("-inf")
        self._consumed_s = float("-inf")
        self._timestamp = b""
        self._waiting: deque[bytes] = deque(maxlen=MAX_WAITING_PACKETS)
        self._due: dict[Timer, float] = {}

    @property
    def deadline_s(self) -> float | None:
        """When `advance` must be called next; None if nothing is waited for."""
        return min(self._due.values(), default=None)

    @property
    def current(self) -> Transport | None:
        """The session that is used for sending."""
        return self._current

    # -- what the application sends

    def send(self, packet: bytes, now: float) -> None:
        """Send a packet, or let it wait for a handshake."""
        self._give_up_s = now + REKEY_ATTEMPT_TIME_S
        self._waiting.append(packet)
        self._flush(now)

    def rekey(self, now: float) -> None:
        """Begin a handshake unless one is under way. At most one initiation leaves in 5 s."""
        if Timer.RETRY not in self._due:
            self._give_up_s = now + REKEY_ATTEMPT_TIME_S
            self._initiate(now)

    def _flush(self, now: float) -> None:
        while self._waiting:
            if self._current is None or not self._current.may_send(now):
                self.rekey(now)
                return
            self._seal(self._waiting.popleft(), now)

    def _seal(self, packet: bytes, now: float) -> None:
        if self._current is None or not self._current.may_send(now):
            self.rekey(now)
            return
        self._post(self._current.seal(packet), now)
        if packet:
            self._due.setdefault(Timer.SILENCE, now + KEEPALIVE_TIMEOUT_S + REKEY_TIMEOUT_S)
        if self._current.stale_after_send(now):
            self.rekey(now)

    def _post(self, message: bytes, now: float) -> None:
        if self.endpoint is None:
            return
        self.outbox.append((self.endpoint, message))
        self._due.pop(Timer.KEEPALIVE, None)
        self._traversed(now)

    def _traversed(self, now: float) -> None:
        if self._persistent_s is not None:
            self._due[Timer.PERSISTENT] = now + self._persistent_s

    # -- handshakes

    def _initiate(self, now: float) -> None:
        if self.endpoint is None:
            return
        earliest_s = self._initiated_s + REKEY_TIMEOUT_S
        if now < earliest_s:
            self._due[Timer.RETRY] = earliest_s
            return
        self._drop_pending()
        index = self._indices.take(self)
        pending = Initiator(WIREGUARD_IDENTIFIER, self._own_static, self.static, index, self._entropy, self.psk)
        message = pending.create_initiation(tai64n(now + self._clock_offset_s))
        self._pending, self._pending_index, self._initiated_s = pending, index, now
        jitter = int.from_bytes(self._entropy(2)) / 65536 * REKEY_JITTER_S
        self._due[Timer.RETRY] = now + REKEY_TIMEOUT_S + jitter
        self._post(self.cookies.close(message, now), now)

    def _drop_pending(self) -> None:
        if self._pending is not None:
            self._indices.free(self._pending_index)
            self._pending = None
        self._due.pop(Timer.RETRY, None)

    def respond(self, received: Received, source: Endpoint, now: float) -> None:
        """Answer a verified message 1. The new session is used after the first message that arrives on it.

        Raises:
            DecodeError: its timestamp is not later than the last one, or it comes too soon after it.
        """
        if received.first.payload <= self._timestamp:
            raise DecodeError("initiation", "replayed")
        if now - self._consumed_s < INITIATION_INTERVAL_S:
            raise DecodeError("initiation", "too soon")
        index = self._indices.take(self)
        try:
            message, keys = received._replace(psk=self.psk).create_response(index)
        except DecodeError:
            self._indices.free(index)
            raise
        self._timestamp, self._consumed_s = received.first.payload, now
        self._received(source, now)
        self._forget(self._next, self._previous)
        self._next, self._previous = Transport(keys, False, now), None
        self._due[Timer.FORGET] = now + FORGET_AFTER_TIME_S
        self._post(self.cookies.close(message, now), now)

    def consume_response(self, message: bytes, source: Endpoint, now: float) -> None:
        """Read message 2, and confirm the new session with what waits or with a keepalive.

        Raises:
            DecodeError: it does not answer the handshake that is under way.
        """
        if self._pending is None:
            raise DecodeError("response", "answers nothing")
        # The handshake takes a zero mac2 alone; the device has looked at mac1 and mac2 before.
        keys = self._pending.consume_response(without_mac2(message))
        self._pending = None
        self._due.pop(Timer.RETRY, None)
        self._received(source, now)
        self._begin(keys, now)
        if self._waiting:
            self._flush(now)
        else:
            self._seal(b"", now)

    def _begin(self, keys: Keys, now: float) -> None:
        """Make a session current that this side began; an unconfirmed one of the peer's becomes the previous one."""
        self._forget(self._previous)
        if self._next is not None:
            self._forget(self._current)
            self._previous, self._next = self._next, None
        else:
            self._previous = self._current
        self._current = Transport(keys, True, now)
        self._due[Timer.FORGET] = now + FORGET_AFTER_TIME_S

    def _forget(self, *transports: Transport | None) -> None:
        for transport in transports:
            if transport is not None:
                self._indices.free(transport.local_index)

    # -- what arrives

    def consume_message(self, index: int, message: bytes, source: Endpoint, now: float) -> None:
        """Open a message of type 4.

        Raises:
            DecodeError: no session has this index, it was seen before, or it does not verify.
        """
        sessions = (self._current, self._previous, self._next)
        transport = next((one for one in sessions if one is not None and one.local_index == index), None)
        if transport is None:
            raise DecodeError("message", "unknown index")
        plaintext = transport.open(message, now)
        self._received(source, now)
        if transport is self._next:
            self._confirm(now)
        if plaintext:
            self._due.setdefault(Timer.KEEPALIVE, now + KEEPALIVE_TIMEOUT_S)
        if transport.stale_after_receive(now):
            self.rekey(now)
        if plaintext:
            self.inbox.append(unpadded(plaintext))

    def _confirm(self, now: float) -> None:
        self._forget(self._previous)
        self._previous, self._current, self._next = self._current, self._next, None
        self._drop_pending()
        self._flush(now)

    def _received(self, source: Endpoint, now: float) -> None:
        """Note an authenticated message: the peer is where it came from."""
        self.endpoint = source
        self._due.pop(Timer.SILENCE, None)
        self._traversed(now)

    # -- time

    def advance(self, now: float) -> None:
        """Do what is due."""
        for timer, due_s in list(self._due.items()):
            if due_s <= now and self._due.get(timer) == due_s:
                del self._due[timer]
                self._fire(timer, now)

    def _fire(self, timer: Timer, now: float) -> None:
        match timer:
            case Timer.RETRY if now >= self._give_up_s:
                self._drop_pending()
                self._waiting.clear()
            case Timer.RETRY:
                self._initiate(now)
            case Timer.SILENCE:
                self.rekey(now)
            case Timer.KEEPALIVE:
                self._seal(b"", now)
            case Timer.PERSISTENT:
                self._traversed(now)
                self._seal(b"", now)
            case Timer.FORGET:
                self._drop_pending()
                self._forget(self._previous, self._current, self._next)
                self._previous = self._current = self._next = None
