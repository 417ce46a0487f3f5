"""A voucher: the payer's signature under all that it has ever paid on one channel.

And a proof, which says on one link only that whoever shows a channel there has its key. Ids are public on a chain, and
so are the vouchers that were claimed.

Source: EIP-712 typed data, `Voucher(bytes32 channelId,uint128 cumulative)` and `Proof(bytes32 channelId,bytes32 link)`,
in a domain of name, version, chain id and contract. Signatures are secp256k1's, 65 bytes: r (32) ‖ s (32) ‖ v (1, 27
or 28). Of the two signatures that say the same only the one with the low s is taken (EIP-2).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import coincurve
from Crypto.Hash import keccak

from core.errors import PaymentError, Reason
from ledger.amounts import check_amount

CHANNEL_ID_BYTES: Final = 32
ADDRESS_BYTES: Final = 20
SIGNATURE_BYTES: Final = 65
LINK_BYTES: Final = 32
NAME: Final = b"Macro VPN channels"
VERSION: Final = b"1"

_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of secp256k1's group (SEC 2, section 2.4.1)."""

_ADDRESSES: Final = 4096
"""Addresses that are remembered: each channel's vouchers have one signer, and hashing its key costs a tenth of a check.
As many as there are channels."""


def keccak256(data: bytes) -> bytes:
    """Keccak-256 as Ethereum has it, 32 bytes."""
    return keccak.new(data=data, digest_bits=256).digest()


_DOMAIN_TYPE: Final = keccak256(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_VOUCHER_TYPE: Final = keccak256(b"Voucher(bytes32 channelId,uint128 cumulative)")
_PROOF_TYPE: Final = keccak256(b"Proof(bytes32 channelId,bytes32 link)")


@dataclass(frozen=True, slots=True)
class Domain:
    """Where a voucher counts, and nowhere else.

    Args:
        chain_id: of the chain, 0 to 2^256 - 1; a local ledger has 0, which no chain has, and a random `contract`.
        contract: address of the contract, 20 bytes.
    """

    chain_id: int
    contract: bytes

    @property
    def separator(self) -> bytes:
        """The domain as 32 bytes (EIP-712's `hashStruct` of it)."""
        words = _DOMAIN_TYPE + keccak256(NAME) + keccak256(VERSION) + self.chain_id.to_bytes(32)
        return keccak256(words + self.contract.rjust(32, b"\0"))


def digest_of(separator: bytes, channel: bytes, cumulative: int) -> bytes:
    """What is signed, 32 bytes.

    Args:
        separator: of the domain, 32 bytes.
        channel: the channel's id, 32 bytes.
        cumulative: units.

    Raises:
        ValueError: a wrong length, or no amount.
    """
    return _digest(separator, _VOUCHER_TYPE, channel, check_amount(cumulative).to_bytes(32))


def _digest(separator: bytes, kind: bytes, channel: bytes, word: bytes) -> bytes:
    """What is signed for a struct of a channel and one more word of 32 bytes."""
    if len(separator) != 32 or len(channel) != CHANNEL_ID_BYTES or len(word) != 32:
        raise ValueError("a domain separator, a channel id and the name of a link have 32 bytes")
    return keccak256(b"\x19\x01" + separator + keccak256(kind + channel + word))


def address_of(public: coincurve.PublicKey) -> bytes:
    """The address of a key, 20 bytes."""
    return _address(public.format(compressed=False))


@lru_cache(_ADDRESSES)
def _address(point: bytes) -> bytes:
    """The address of a key that is written as 65 bytes: 4 ‖ x ‖ y."""
    return keccak256(point[1:])[-ADDRESS_BYTES:]


class SigningKey:
    """A channel's key. It signs for that channel alone.

    Args:
        secret: 32 bytes.

    Raises:
        ValueError: no key has this secret.
    """

    __slots__ = ("_key", "address")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32:
            raise ValueError("a key's secret has 32 bytes")
        self._key = coincurve.PrivateKey(secret)
        self.address = address_of(self._key.public_key)

    def __repr__(self) -> str:
        return "SigningKey([redacted])"

    def sign(self, separator: bytes, channel: bytes, cumulative: int) -> bytes:
        """Sign a voucher; 65 bytes, with a low s.

        Raises:
            ValueError: as `digest_of`.
        """
        return self._sign(digest_of(separator, channel, cumulative))

    def prove(self, separator: bytes, channel: bytes, link: bytes) -> bytes:
        """Sign that this key is at one end of a link; 65 bytes.

        Args:
            link: 32 bytes that the two ends of this link know, and no other link has.

        Raises:
            ValueError: a wrong length.
        """
        return self._sign(_digest(separator, _PROOF_TYPE, channel, link))

    def _sign(self, digest: bytes) -> bytes:
        signed = self._key.sign_recoverable(digest, hasher=None)
        return signed[:64] + bytes([27 + signed[64]])


def check(signer: bytes, separator: bytes, channel: bytes, cumulative: int, signature: bytes) -> None:
    """Check a voucher.

    Args:
        signer: the address of the channel's key, 20 bytes.
        separator, channel, cumulative: as for `digest_of`.
        signature: as it came.

    Raises:
        PaymentError: `BAD_VOUCHER`: wrong in form, or somebody else's.
    """
    try:
        digest = digest_of(separator, channel, cumulative)
    except ValueError as error:
        raise PaymentError(Reason.BAD_VOUCHER) from error
    _check(signer, digest, signature)


def check_proof(signer: bytes, separator: bytes, channel: bytes, link: bytes, proof: bytes) -> None:
    """Check that the other end of a link has a channel's key.

    Args:
        signer, separator, channel: as for `check`.
        link: as for `SigningKey.prove`.
        proof: as it came.

    Raises:
        PaymentError: `BAD_VOUCHER`: wrong in form, somebody else's, or for another link.
        ValueError: a wrong length.
    """
    _check(signer, _digest(separator, _PROOF_TYPE, channel, link), proof)


def _check(signer: bytes, digest: bytes, signature: bytes) -> None:
    if len(signature) != SIGNATURE_BYTES:
        raise PaymentError(Reason.BAD_VOUCHER)
    s, v = int.from_bytes(signature[32:64]), signature[64]
    if s > _ORDER // 2 or v not in (27, 28):
        raise PaymentError(Reason.BAD_VOUCHER)
    try:
        public = coincurve.PublicKey.from_signature_and_message(signature[:64] + bytes([v - 27]), digest, hasher=None)
    except ValueError as error:  # r or s is 0 or too large, or no point of the curve has this r
        raise PaymentError(Reason.BAD_VOUCHER) from error
    if address_of(public) != signer:
        raise PaymentError(Reason.BAD_VOUCHER)
