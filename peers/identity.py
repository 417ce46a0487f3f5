"""A peer's keys, its name, and the files that hold them.

Three keys: an Ed25519 key that signs and is the peer's name; an X25519 link key that its links prove; an X25519 onion
key that circuits are addressed to. A relay or an exit keeps them in a folder, one file of 32 raw bytes each. A client
needs none of it: `Identity.ephemeral` lives in memory only.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from typing import TYPE_CHECKING, Final

import base58
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from core.errors import ConfigError, DecodeError
from core.ids import PEER_KEY_BYTES, PeerKey, short
from peers.files import OTHERS, read_bounded, write_private

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET_BYTES: Final = 32
SIGNING_FILE: Final = "peer.key"
LINK_FILE: Final = "link.key"
ONION_FILE: Final = "onion.key"

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
        onion: the X25519 keys of circuits addressed to it, today's first, then the last one if there is one.
    """

    __slots__ = ("_signing", "link_key", "link_private", "onion_keys", "onion_privates", "peer")

    def __init__(self, signing: Ed25519PrivateKey, link: X25519PrivateKey, onion: tuple[X25519PrivateKey, ...]) -> None:
        self._signing = signing
        self.link_private = link
        self.onion_privates = onion
        self.peer = PeerKey(signing.public_key().public_bytes_raw())
        self.link_key = link.public_key().public_bytes_raw()
        self.onion_keys = tuple(key.public_key().public_bytes_raw() for key in onion)

    def __repr__(self) -> str:
        return f"Identity({short(self.peer)})"

    @property
    def peer_id(self) -> str:
        """The peer's name as people and addresses write it."""
        return peer_id(self.peer)

    def sign(self, data: bytes) -> bytes:
        """Sign with the peer's name.

        Returns:
            64 bytes.
        """
        return self._signing.sign(data)

    @classmethod
    def ephemeral(cls) -> Identity:
        """Make keys that are never written anywhere."""
        return cls(Ed25519PrivateKey.generate(), X25519PrivateKey.generate(), (X25519PrivateKey.generate(),))

    @classmethod
    def load(cls, folder: Path) -> Identity:
        """Read the keys of a folder. What is missing is made and written first.

        Without the signing key all keys are made anew: a new name with an old link key would tell who it was.

        Args:
            folder: made with mode 0700 if it does not exist.

        Raises:
            ConfigError: the folder or a file is open to others, has a wrong length, or cannot be used.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(folder):
                return cls._load_locked(folder)
        except OSError as error:
            raise ConfigError(str(folder), "this folder of keys cannot be used; it must be yours to write") from error

    @classmethod
    def _load_locked(cls, folder: Path) -> Identity:
        signing = _read_secret(folder / SIGNING_FILE)
        link, onion = (None if signing is None else _read_secret(folder / name) for name in (LINK_FILE, ONION_FILE))
        # The signing key comes last: a crash before it leaves a folder that counts as empty.
        link = link or _new_secret(folder / LINK_FILE)
        onion = onion or _new_secret(folder / ONION_FILE)
        signing = signing or _new_secret(folder / SIGNING_FILE)
        return cls(
            Ed25519PrivateKey.from_private_bytes(signing),
            X25519PrivateKey.from_private_bytes(link),
            (X25519PrivateKey.from_private_bytes(onion),),
        )


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


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep a second process out of the folder, so that both end up with the same keys."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & OTHERS:
            raise ConfigError(str(folder), "this folder of keys is open to others; run chmod 700 on it")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read_secret(path: Path) -> bytes | None:
    try:
        secret, mode = read_bounded(path, SECRET_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(str(path), "this key file cannot be read; it must be a plain file of yours") from error
    if mode & OTHERS:
        raise ConfigError(str(path), "this key file is open to others; run chmod 600 on it")
    if len(secret) != SECRET_BYTES:
        raise ConfigError(str(path), f"this key file must hold {SECRET_BYTES} bytes; restore it from a copy")
    return secret


def _new_secret(path: Path) -> bytes:
    secret = os.urandom(SECRET_BYTES)
    write_private(path, secret)
    return secret
