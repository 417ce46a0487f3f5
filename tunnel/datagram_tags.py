"""Datagrams of a link: which stream each belongs to, a number of its own, and the link tag.

    stream (4) ‖ number (8) ‖ message ‖ link tag (16)

Numbers count all datagrams of a link and direction. Stream and number are the tag's nonce. A number is good once, so
nobody between the neighbours can have a datagram forwarded twice.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from core.errors import DecodeError
from tunnel.wireguard.constants import TAG_BYTES
from tunnel.wireguard.replay import ReplayWindow

if TYPE_CHECKING:
    from core.flow import Buffer
    from tunnel.wireguard.handshake import Keys

_LABEL: Final = b"Macro VPN v1 datagram tags"
_HEAD: Final = struct.Struct(">IQ")
HEAD_BYTES: Final = _HEAD.size
DATAGRAM_BYTES: Final = HEAD_BYTES + TAG_BYTES
"""What a link adds to a message in a datagram."""


class DatagramTags:
    """One side of a link.

    Args:
        keys: of the link's handshake.
        dialled: whether this side opened the connection.
    """

    def __init__(self, keys: Keys, *, dialled: bool) -> None:
        first, second = (ChaCha20Poly1305(key) for key in keys.derive(_LABEL, 2))
        self._sealer, self._opener = (first, second) if dialled else (second, first)
        self._sent = 0
        self._seen = ReplayWindow()

    def seal(self, stream: int, message: Buffer) -> bytes:
        """Make a datagram of a message.

        Args:
            stream: below 2^32.
            message: one type-4 message.
        """
        head = _HEAD.pack(stream, self._sent)
        self._sent += 1
        return b"".join((head, message, self._sealer.encrypt(head, b"", message)))

    def open(self, datagram: memoryview) -> tuple[int, memoryview]:
        """Check a datagram.

        Returns:
            The stream that it belongs to, and the message.

        Raises:
            DecodeError: too short, repeated or late, or its tag is wrong.
        """
        if len(datagram) < DATAGRAM_BYTES:
            raise DecodeError("datagram", "too short")
        head, message = datagram[:HEAD_BYTES], datagram[HEAD_BYTES:-TAG_BYTES]
        stream, number = _HEAD.unpack(head)
        if not self._seen.fresh(number):
            raise DecodeError("datagram", "repeated or late")
        try:
            self._opener.decrypt(head, datagram[-TAG_BYTES:], message)
        except InvalidTag as error:
            raise DecodeError("datagram", "link tag does not verify") from error
        self._seen.commit(number)
        return stream, message
