"""An invite: all that a machine needs to come into a private network, as one line of text.

The line is `macrovpn1:` and base32: the network's name and secret, a few peers to begin with, and a checksum against
slips of the hand. It is as secret as what it holds. Its bytes stand in docs/protocol.md, "Invites".
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from core.errors import DecodeError, MacroVpnError
from core.ids import PEER_KEY_BYTES, PeerKey
from peers.addresses import pack_address, unpack_address
from peers.networks import SECRET_BYTES, Network, is_name
from tunnel.wireguard.constants import KEY_BYTES
from tunnel.wireguard.primitives import hash_

if TYPE_CHECKING:
    from peers.addresses import Address

PREFIX: Final = "macrovpn1:"
CHECK_BYTES: Final = 4
MAX_PEERS: Final = 3
"""Peers in an invite: each makes it 120 characters longer, and one that answers is enough."""
MAX_TEXT_CHARS: Final = 1024
_ANY_VERSION: Final = re.compile("macrovpn([0-9]{1,3}):")


class InviteError(MacroVpnError):
    """A text is not an invite that can be used. The sentence says what to do, and nothing out of the text."""


class Introduction(NamedTuple):
    """A peer of the network, as far as it takes to link to it."""

    peer: PeerKey
    link_key: bytes
    address: Address


class Invite(NamedTuple):
    """What an invite says.

    Args:
        network: a private one.
        peers: at most 3, no peer twice.
    """

    network: Network
    peers: tuple[Introduction, ...] = ()

    def __repr__(self) -> str:
        return f"Invite({self.network}, {len(self.peers)} peers)"

    def encode(self) -> str:
        """Write the line, without a line feed."""
        name = self.network.name.encode("ascii")
        body = bytes([len(name)]) + name + self.network.secret + bytes([len(self.peers)])
        for peer, link_key, address in self.peers:
            packed = pack_address(*address)
            body += bytes([len(packed)]) + packed + peer + link_key
        return PREFIX + base64.b32encode(body + _check(body)).decode("ascii").rstrip("=").lower()

    @classmethod
    def decode(cls, text: str) -> Invite:
        """Read an invite. Space around it, and upper case, are what messages and QR codes make of it.

        Raises:
            InviteError: it is none, of another version, or damaged.
        """
        text = text.strip().lower()
        if not text.startswith(PREFIX):
            raise InviteError(_not_an_invite(text))
        try:
            invite = cls._decode_body(_body(text))
            right = invite.encode() == text
        except DecodeError as error:
            raise InviteError(_DAMAGED) from error
        if not right:
            raise InviteError(_DAMAGED)
        return invite

    @classmethod
    def _decode_body(cls, body: bytes) -> Invite:
        reader = _Reader(body)
        name = reader.take(reader.number()).decode("ascii", "replace")
        secret = reader.take(SECRET_BYTES)
        peers = tuple(reader.introduction() for _ in range(reader.number()))
        if reader.left or not is_name(name) or len(peers) > MAX_PEERS:
            raise DecodeError("invite", "wrong form")
        if len({found.peer for found in peers}) < len(peers):
            raise DecodeError("invite", "a peer twice")
        return cls(Network(name, secret), peers)


_DAMAGED: Final = "This invite is damaged. Copy it once more, whole and in one piece."


def _not_an_invite(text: str) -> str:
    if _ANY_VERSION.match(text):
        return "This invite is of another version of Macro VPN. Update the older of the two machines."
    return f"This is not an invite: one begins with {PREFIX}"


def _check(body: bytes) -> bytes:
    return hash_(PREFIX.encode("ascii"), body)[:CHECK_BYTES]


def _body(text: str) -> bytes:
    if len(text) > MAX_TEXT_CHARS:
        raise DecodeError("invite", "too long")
    digits = text.removeprefix(PREFIX).upper()
    try:
        data = base64.b32decode(digits + "=" * (-len(digits) % 8))
    except (binascii.Error, ValueError) as error:
        raise DecodeError("invite", "not base32") from error
    body, check = data[:-CHECK_BYTES], data[-CHECK_BYTES:]
    if _check(body) != check:
        raise DecodeError("invite", "checksum")
    return body


class _Reader:
    """Takes bytes off the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def left(self) -> int:
        return len(self._data)

    def take(self, size: int) -> bytes:
        taken, self._data = self._data[:size], self._data[size:]
        if len(taken) < size:
            raise DecodeError("invite", "too short")
        return taken

    def number(self) -> int:
        return self.take(1)[0]

    def introduction(self) -> Introduction:
        address = unpack_address(self.take(self.number()))
        return Introduction(PeerKey(self.take(PEER_KEY_BYTES)), self.take(KEY_BYTES), address)
