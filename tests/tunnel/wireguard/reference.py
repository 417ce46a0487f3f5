"""BLAKE2s, HMAC and ChaCha20-Poly1305 as their papers write them: slow, plain, and independent of what is tested."""

from __future__ import annotations

import struct
from typing import Final

SMALL_ORDER: Final = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]
"""All points whose shared secret is zero, as RFC 7748, section 6.1, warns."""

_MASK: Final = 0xFFFFFFFF
_IV: Final = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
_SIGMA: Final = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
)
_COLUMNS: Final = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15))
_DIAGONALS: Final = ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
_P1305: Final = (1 << 130) - 5


def _right(word: int, count: int) -> int:
    return (word >> count | word << 32 - count) & _MASK


def _compress(state: list[int], block: bytes, counted: int, last: bool) -> list[int]:
    words = struct.unpack("<16I", block)
    work = [*state, *_IV]
    work[12] ^= counted & _MASK
    work[13] ^= counted >> 32
    if last:
        work[14] ^= _MASK
    for sigma in _SIGMA:
        for step, (a, b, c, d) in enumerate((*_COLUMNS, *_DIAGONALS)):
            for word, first, second in ((sigma[2 * step], 16, 12), (sigma[2 * step + 1], 8, 7)):
                work[a] = (work[a] + work[b] + words[word]) & _MASK
                work[d] = _right(work[d] ^ work[a], first)
                work[c] = (work[c] + work[d]) & _MASK
                work[b] = _right(work[b] ^ work[c], second)
    return [old ^ work[place] ^ work[place + 8] for place, old in enumerate(state)]


def blake2s(data: bytes, size: int = 32, key: bytes = b"") -> bytes:
    """Source: RFC 7693, section 3."""
    state = [_IV[0] ^ 0x01010000 ^ len(key) << 8 ^ size, *_IV[1:]]
    data = (key.ljust(64, b"\0") if key else b"") + data
    blocks = [data[at : at + 64] for at in range(0, len(data), 64)] or [b""]
    counted = 0
    for block in blocks[:-1]:
        counted += 64
        state = _compress(state, block, counted, False)
    state = _compress(state, blocks[-1].ljust(64, b"\0"), counted + len(blocks[-1]), True)
    return struct.pack("<8I", *state)[:size]


def hmac(key: bytes, data: bytes) -> bytes:
    """HMAC over BLAKE2s. Source: RFC 2104, section 2."""
    key = (blake2s(key) if len(key) > 64 else key).ljust(64, b"\0")
    inner = blake2s(bytes(byte ^ 0x36 for byte in key) + data)
    return blake2s(bytes(byte ^ 0x5C for byte in key) + inner)


def _quarter(work: list[int], a: int, b: int, c: int, d: int) -> None:
    for first, second in ((16, 12), (8, 7)):
        work[a] = (work[a] + work[b]) & _MASK
        work[d] = _right(work[d] ^ work[a], 32 - first)
        work[c] = (work[c] + work[d]) & _MASK
        work[b] = _right(work[b] ^ work[c], 32 - second)


def _chacha20_block(key: bytes, counter: int, nonce: bytes) -> bytes:
    state = [*struct.unpack("<4I", b"expand 32-byte k"), *struct.unpack("<8I", key), counter]
    state += struct.unpack("<3I", nonce)
    work = list(state)
    for _ in range(10):
        for a, b, c, d in (*_COLUMNS, *_DIAGONALS):
            _quarter(work, a, b, c, d)
    return struct.pack("<16I", *((one + two) & _MASK for one, two in zip(state, work, strict=True)))


def _poly1305(key: bytes, data: bytes) -> bytes:
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for at in range(0, len(data), 16):
        total = (total + int.from_bytes(data[at : at + 16] + b"\1", "little")) * r % _P1305
    return (total + int.from_bytes(key[16:], "little") & (1 << 128) - 1).to_bytes(16, "little")


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 16)


def seal(key: bytes, nonce: bytes, text: bytes, associated: bytes) -> bytes:
    """ChaCha20-Poly1305: ciphertext and tag. Source: RFC 8439, section 2.8."""
    blocks = range((len(text) + 63) // 64)
    stream = b"".join(_chacha20_block(key, number + 1, nonce) for number in blocks)
    cipher = bytes(one ^ two for one, two in zip(text, stream, strict=False))
    lengths = struct.pack("<QQ", len(associated), len(cipher))
    tag = _poly1305(_chacha20_block(key, 0, nonce)[:32], _padded(associated) + _padded(cipher) + lengths)
    return cipher + tag


def mac1(message: bytes, receiver: bytes, psk: bytes = b"") -> bytes:
    """The message with its mac1 made anew, as who knows the receiver's public key, and the network's, can do.

    Args:
        message: with any mac1.
        receiver: its static key.
        psk: nothing in plain WireGuard, the configured preshared key in the hybrid form.
    """
    body = message[:-32]
    return body + blake2s(body, 16, blake2s(b"mac1----" + receiver + psk)) + message[-16:]
