"""A network: a name and a secret, and all that follows from the secret.

The secret of a private network is 32 random bytes that its members share (`peers.invite`). That of a public network
follows from its name, so everybody has it, and what is said below of those who lack it holds for nobody.

Who lacks the secret makes no link and no circuit (`preshared`), finds no peer in the DHT (`rendezvous`, `salt`), reads
nothing there (`open`), and gets no word from a peer whose address he knows (`ask`). The name of a private network is
for people and enters into nothing.
"""

from __future__ import annotations

import re
import struct
from hashlib import blake2s
from hmac import compare_digest
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from core.errors import DecodeError
from peers.addresses import format_address
from peers.descriptor import MAX_DESCRIPTOR_BYTES
from tunnel.wireguard.constants import TAG_BYTES
from tunnel.wireguard.primitives import hash_, kdf

if TYPE_CHECKING:
    from collections.abc import Iterable

    from core.ids import PeerKey
    from peers.addresses import Address
    from peers.descriptor import Role

PUBLIC_NAME: Final = "main"
"""The public network that everybody is in who names no other."""
NAME_FORM: Final = "[a-z0-9][a-z0-9-]{0,30}"
"""A network's name is also the name of a folder."""

SECRET_BYTES: Final = 32
RENDEZVOUS_BYTES: Final = 20
SALT_BYTES: Final = 16
NONCE_BYTES: Final = 12
SEAL_BYTES: Final = NONCE_BYTES + TAG_BYTES
PROOF_BYTES: Final = 20
PROOF_LIFE_S: Final = 300
"""How far the clocks of who asks and who is asked may be apart."""
MAX_SEALED_BYTES: Final = MAX_DESCRIPTOR_BYTES
"""A value in the DHT, seal included, may be no longer: a descriptor there has at most 968 bytes."""

_LABEL_PUBLIC: Final = b"Macro VPN v1 public network"
_LABEL_NETWORK: Final = b"Macro VPN v1 network"
_LABEL_SALT: Final = b"salt"
_PLACE: Final = struct.Struct(">BHI")
_TIME: Final = struct.Struct(">I")


def is_name(text: str) -> bool:
    """Whether a network can have this name: 1 to 31 lower-case letters, digits and hyphens, no hyphen first."""
    return re.fullmatch(NAME_FORM, text) is not None


class Network:
    """One network.

    Args:
        name: as `is_name` has it.
        secret: 32 bytes; None for the public network of this name.

    Attributes:
        preshared: the preshared key of every link's and every hop's handshake, 32 bytes.
    """

    __slots__ = ("_asking_key", "_rendezvous_key", "_sealer", "is_private", "name", "preshared", "secret")

    def __init__(self, name: str, secret: bytes | None = None) -> None:
        if not is_name(name) or (secret is not None and len(secret) != SECRET_BYTES):
            raise ValueError("a network has a name and a secret of 32 bytes")
        self.name = name
        self.is_private = secret is not None
        self.secret = hash_(_LABEL_PUBLIC, name.encode()) if secret is None else secret
        keys = kdf(self.secret, _LABEL_NETWORK, 4)
        self.preshared, self._rendezvous_key, sealing_key, self._asking_key = keys
        self._sealer = ChaCha20Poly1305(sealing_key)

    def __repr__(self) -> str:
        return f"Network({self.name}, {'private' if self.is_private else 'public'})"

    def salt(self, peer: PeerKey) -> bytes:
        """The salt of a peer's item in the DHT (BEP 44); another one for each, or it would show who belongs together.

        Returns:
            16 bytes.
        """
        return blake2s(_LABEL_SALT + peer, digest_size=SALT_BYTES, key=self._rendezvous_key).digest()

    def rendezvous(self, role: Role, shard: int, day: int) -> bytes:
        """The key under which peers announce themselves in the DHT.

        Args:
            role: one role.
            shard: 16 bits.
            day: days since 1970, 32 bits.

        Returns:
            20 bytes.
        """
        place = _PLACE.pack(role, shard, day)
        return blake2s(place, digest_size=RENDEZVOUS_BYTES, key=self._rendezvous_key).digest()

    def ask(self, address: Address, now: float) -> bytes:
        """Show the right to ask whoever is at an address for the descriptor; of no use at another one.

        Args:
            address: where it is asked.
            now: Unix seconds.

        Returns:
            Nothing in a public network, where everybody may; else 20 bytes.
        """
        if not self.is_private:
            return b""
        when = _TIME.pack(int(now))
        return when + self._proof(when, address)

    def may_ask(self, proof: bytes, addresses: Iterable[Address], now: float) -> bool:
        """Whether somebody may be told the descriptor, sealed if the network is private.

        Args:
            proof: what he showed.
            addresses: where this peer may have been asked.
            now: Unix seconds.
        """
        if not self.is_private:
            return not proof
        if len(proof) != PROOF_BYTES:
            return False
        when, shown = proof[: _TIME.size], proof[_TIME.size :]
        if abs(now - _TIME.unpack(when)[0]) > PROOF_LIFE_S:
            return False
        return any(compare_digest(shown, self._proof(when, address)) for address in addresses)

    def _proof(self, when: bytes, address: Address) -> bytes:
        place = format_address(*address).encode()
        return blake2s(when + place, digest_size=PROOF_BYTES - _TIME.size, key=self._asking_key).digest()

    def seal(self, descriptor: bytes, nonce: bytes) -> bytes:
        """Seal a descriptor for the DHT.

        Args:
            descriptor: signed, at most 968 bytes.
            nonce: 12 random bytes, new for each call: the key is the same for all members, so none can count.

        Returns:
            28 bytes more than the descriptor.

        Raises:
            DecodeError: the descriptor is too long to fit when sealed.
        """
        if len(descriptor) + SEAL_BYTES > MAX_SEALED_BYTES:
            raise DecodeError("descriptor", "too long to be sealed")
        return nonce + self._sealer.encrypt(nonce, descriptor, None)

    def open(self, sealed: bytes) -> bytes:
        """Open what `seal` made. The descriptor inside is not verified yet.

        Raises:
            DecodeError: it was made for another network, changed, or has a wrong length.
        """
        if not SEAL_BYTES <= len(sealed) <= MAX_SEALED_BYTES:
            raise DecodeError("sealed descriptor", "wrong length")
        try:
            return self._sealer.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
        except InvalidTag as error:
            raise DecodeError("sealed descriptor", "does not open") from error
