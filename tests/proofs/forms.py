"""What must be nowhere, in all the forms in which it could be written down."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DIGESTS: Final = ("md5", "sha1", "sha256", "sha512", "blake2b", "blake2s")
AROUND: Final = 24
"""Bytes beside a canary that are shown."""

type Needle = tuple[str, bytes]
"""In which form, and its bytes."""


class Canaries:
    """Byte strings to look for.

    Args:
        marks: of these, any text that holds one is found in all forms but digests. In small letters.
        texts: whole texts, of which digests are found as well.
        addresses: IP addresses, of destinations and clients.
        ports: of clients, where they stand beside an address.
        sizes: of flows, in bytes, each from 2^16 on.
    """

    def __init__(
        self,
        marks: Iterable[str],
        *,
        texts: Iterable[str] = (),
        addresses: Iterable[str] = (),
        ports: Iterable[int] = (),
        sizes: Iterable[int] = (),
    ) -> None:
        named = [
            *((mark, _of_mark(mark)) for mark in marks),
            *((text, _of_digests(text.encode())) for text in texts),
            *((address, _of_address(address)) for address in addresses),
            *((f"port {port}", _of_port(port)) for port in ports),
            *((f"{size} bytes", _of_size(size)) for size in sizes),
        ]
        self._needles = {needle.lower(): f"{what} as {form}" for what, forms in named for form, needle in forms}

    def __len__(self) -> int:
        return len(self._needles)

    def within(self, data: bytes) -> Iterator[str]:
        """Name those that some bytes hold, whether in upper or lower case, and show where."""
        lower = data.lower()
        for needle, what in self._needles.items():
            if (at := lower.find(needle)) >= 0:
                yield f"{what}: {data[max(0, at - AROUND) : at + len(needle) + AROUND]!r}"


def _of_mark(text: str) -> Iterator[Needle]:
    data = text.encode()
    yield "text", data
    yield "UTF-16", text.encode("utf-16-le")
    yield "UTF-32", text.encode("utf-32-le")
    yield "text backwards", data[::-1]
    yield "hexadecimal digits", data.hex().encode()
    yield "hexadecimal digits with blanks", data.hex(" ").encode()
    yield "hexadecimal digits with colons", data.hex(":").encode()
    yield "percent signs", b"".join(b"%%%02x" % byte for byte in data)
    yield "escapes", b"".join(b"\\x%02x" % byte for byte in data)
    yield "numbers", ", ".join(map(str, data)).encode()
    yield from _of_base64(data)


def _of_base64(data: bytes) -> Iterator[Needle]:
    """What base64 makes of it, wherever it begins in a longer text: the digits that hold nothing but it."""
    for before in range(3):
        digits = b64encode(bytes(before) + data)
        whole = digits[(0, 2, 3)[before] : (before + len(data)) * 8 // 6]
        yield f"base64 after {before} bytes", whole
        yield f"base64 for addresses after {before} bytes", whole.translate(bytes.maketrans(b"+/", b"-_"))


def _of_digests(data: bytes) -> Iterator[Needle]:
    for name in DIGESTS:
        digest = hashlib.new(name, data).digest()
        yield name, digest
        yield f"{name} in digits", digest.hex().encode()
        yield f"{name} in base64", b64encode(digest).rstrip(b"=")


def _of_address(text: str) -> Iterator[Needle]:
    address = ip_address(text)
    packed = address.packed
    yield "text", text.encode()
    yield "bytes", packed
    yield "bytes backwards", packed[::-1]
    yield "a number", str(int(address)).encode()
    yield "hexadecimal digits", packed.hex().encode()
    yield "hexadecimal digits backwards", packed[::-1].hex().encode()
    yield "a name", address.reverse_pointer.encode()
    yield "text in UTF-16", text.encode("utf-16-le")
    yield from _of_base64(text.encode())
    if isinstance(address, IPv4Address):
        yield "dashes", text.replace(".", "-").encode()
        yield "numbers", ", ".join(map(str, packed)).encode()
        yield "labels of DNS", b"".join(b"%c%d" % (len(str(byte)), byte) for byte in packed[::-1])
    else:
        yield "text in full", address.exploded.encode()


def _of_port(port: int) -> Iterator[Needle]:
    yield "text after a host", f":{port}".encode()
    yield "a part of a multiaddr", f"/udp/{port}".encode()
    yield "a socket address", b"\2\0" + port.to_bytes(2) + bytes([127, 0, 0, 1])
    yield "a mapped socket address", port.to_bytes(2) + bytes(14) + b"\xff\xff\x7f\0\0\1"


def _of_size(size: int) -> Iterator[Needle]:
    yield "text", str(size).encode()
    yield "text with commas", f"{size:,}".encode()
    yield "a number, big-endian", size.to_bytes(4)
    yield "a number, little-endian", size.to_bytes(4, "little")
    yield "a floating number", float(size).hex().encode()
