"""A peer's keys, its name, and the files that hold them.

Two keys: an Ed25519 key that signs and is the peer's name, and an X25519 link key that its links prove. A relay or an
exit keeps them in a folder, and its onion keys beside them (`peers.onion`). A client needs none of it:
`Identity.ephemeral` lives in memory only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import base58
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from core.errors import DecodeError
from core.ids import PEER_KEY_BYTES, PeerKey, short
from peers import onion
from peers.key_files import locked, new_secret, read_secret

if TYPE_CHECKING:
    from pathlib import Path

SIGNING_FILE: Final = "peer.key"
LINK_FILE: Final = "link.key"
_REMEDY: Final = "restore it from a copy"

PEER_ID_CHARS: Final = 52
PEER_ID_PREFIX: Final = bytes.fromhex("0024 0801 1220")
"""Identity multihash of 36 bytes; in them the key type (Ed25519) and the key's length, as protobuf fields.

Source: libp2p specifications, "Peer Ids and Keys".
"""


class Identity:
    """The private keys of one peer, with their public halves.

    Args:
        signing: the Ed25519 key.
        link: the X25519 key of its links.
    """

    __slots__ = ("_signing", "link_key", "link_private", "peer")

    def __init__(self, signing: Ed25519PrivateKey, link: X25519PrivateKey) -> None:
        self._signing = signing
        self.link_private = link
        self.peer = PeerKey(signing.public_key().public_bytes_raw())
        self.link_key = link.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return f"Identity({short(self.peer)})"

    @property
    def peer_id(self) -> str:
        """The peer's name as people and addresses write it."""
        return peer_id(self.peer)

    @property
    def seed(self) -> bytes:
        """The private signing key, 32 bytes, for what signs by itself: items in the DHT."""
        return self._signing.private_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        """Sign with the peer's name.

        Returns:
            64 bytes.
        """
        return self._signing.sign(data)

    @classmethod
    def ephemeral(cls) -> Identity:
        """Make keys that are never written anywhere."""
        return cls(Ed25519PrivateKey.generate(), X25519PrivateKey.generate())

    @classmethod
    def load(cls, folder: Path) -> Identity:
        """Read the keys of a folder. What is missing is made and written first.

        Without the signing key all keys are made anew: a new name with an old link key would tell who it was.

        Args:
            folder: made with mode 0700 if it does not exist.

        Raises:
            ConfigError: the folder or a file is open to others, has a wrong length, or cannot be used.
        """
        with locked(folder):
            signing = read_secret(folder / SIGNING_FILE, _REMEDY)
            link = None if signing is None else read_secret(folder / LINK_FILE, _REMEDY)
            if signing is None:
                onion.erase_all(folder)
            # The signing key comes last: a crash before it leaves a folder that counts as empty.
            link = link or new_secret(folder / LINK_FILE)
            signing = signing or new_secret(folder / SIGNING_FILE)
        return cls(Ed25519PrivateKey.from_private_bytes(signing), X25519PrivateKey.from_private_bytes(link))


def peer_id(key: PeerKey) -> str:
    """Write a peer's name as libp2p does: `12D3Koo…`, 52 characters."""
    return base58.b58encode(PEER_ID_PREFIX + key).decode("ascii")


def parse_peer_id(text: str) -> PeerKey:
    """Read a peer's name.

    Args:
        text: 52 characters of base58, nothing around them.

    Returns:
        The Ed25519 key, 32 bytes.

    Raises:
        DecodeError: it is no libp2p id of an Ed25519 key.
    """
    if len(text) != PEER_ID_CHARS or not text.isascii():  # decoding takes time in the square of the length
        raise DecodeError("peer id", "wrong length")
    try:
        data = base58.b58decode(text)
    except ValueError as error:
        raise DecodeError("peer id", "not base58") from error
    if len(data) != len(PEER_ID_PREFIX) + PEER_KEY_BYTES or not data.startswith(PEER_ID_PREFIX):
        raise DecodeError("peer id", "not the id of an Ed25519 key")
    return PeerKey(data[len(PEER_ID_PREFIX) :])
