"""Messages of type 4: seal and open with the keys of a finished handshake.

A session does not choose counters. Whoever owns one gives each counter out once: `Sequence` does so for a control
stream, `tunnel.layers` for the flows of a circuit.

Source: WireGuard, section 5.4.6.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from core.errors import DecodeError
from tunnel.wireguard.constants import HEADER_BYTES, MAX_COUNTER, TAG_BYTES, TYPE_TRANSPORT

if TYPE_CHECKING:
    from core.flow import Buffer
    from tunnel.wireguard.handshake import Keys

_HEADER = struct.Struct("<IIQ")
_NONCE = struct.Struct("<IQ")

OVERHEAD_BYTES = HEADER_BYTES + TAG_BYTES
"""What one layer adds to a message."""


class Session:
    """A pair of transport keys and the indices that go with them."""

    __slots__ = ("_open_into", "_seal_into", "local_index", "remote_index")

    def __init__(self, keys: Keys) -> None:
        self.local_index = keys.local_index
        self.remote_index = keys.remote_index
        self._seal_into = ChaCha20Poly1305(keys.send).encrypt_into
        self._open_into = ChaCha20Poly1305(keys.receive).decrypt_into

    def seal_into(self, counter: int, plaintext: Buffer, out: memoryview) -> None:
        """Write a type-4 message.

        Args:
            counter: never used before with this session, below `MAX_COUNTER`.
            plaintext: what to seal.
            out: exactly 32 bytes longer than `plaintext`, and apart from it in memory.
        """
        _HEADER.pack_into(out, 0, TYPE_TRANSPORT, self.remote_index, counter)
        self._seal_into(_NONCE.pack(0, counter), plaintext, None, out[HEADER_BYTES:])

    def open_into(self, counter: int, message: memoryview, out: Buffer) -> None:
        """Check and open a type-4 message.

        Args:
            counter: the only one that is right here.
            message: header, ciphertext, tag; at least 32 bytes.
            out: exactly 32 bytes shorter than `message`.

        Raises:
            DecodeError: another type, index or counter, or the tag does not verify. `out` holds nothing of use.
        """
        if _HEADER.unpack_from(message) != (TYPE_TRANSPORT, self.local_index, counter):
            raise DecodeError("message", "wrong header")
        try:
            self._open_into(_NONCE.pack(0, counter), message[HEADER_BYTES:], None, out)
        except InvalidTag as error:
            raise DecodeError("message", "does not verify") from error


def read_header(message: Buffer) -> tuple[int, int]:
    """Read receiver index and counter of a type-4 message.

    Raises:
        DecodeError: too short, or another type.
    """
    if len(message) < OVERHEAD_BYTES:
        raise DecodeError("message", "too short")
    kind, index, counter = _HEADER.unpack_from(message)
    if kind != TYPE_TRANSPORT:
        raise DecodeError("message", "wrong type")
    return index, counter


class Sequence:
    """A session whose messages arrive complete and in order, as on one stream: counters 0, 1, 2, …"""

    __slots__ = ("_received", "_sent", "_session")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._sent = 0
        self._received = 0

    def seal(self, plaintext: bytes) -> bytes:
        """Seal the next message.

        Raises:
            OverflowError: the counter is used up; the session must end.
        """
        if self._sent >= MAX_COUNTER:
            raise OverflowError("counter used up")
        out = bytearray(len(plaintext) + OVERHEAD_BYTES)
        self._session.seal_into(self._sent, plaintext, memoryview(out))
        self._sent += 1
        return bytes(out)

    def open(self, message: bytes) -> bytes:
        """Open the next message.

        Raises:
            DecodeError: not the next message of this session.
        """
        if len(message) < OVERHEAD_BYTES:
            raise DecodeError("message", "too short")
        out = bytearray(len(message) - OVERHEAD_BYTES)
        self._session.open_into(self._received, memoryview(message), out)
        self._received += 1
        return bytes(out)
