"""Search a folder for what must not be in it: names and contents of all files, and what is packed inside."""

from __future__ import annotations

import os
import re
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.proofs.forms import Canaries
    from tests.proofs.times import Times

PACKED: Final = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08")
"""How streams of zlib and gzip begin. Source: RFC 1950, section 2.2; RFC 1952, section 2.3."""
UNPACKED_BYTES: Final = 1 << 22
DEPTH: Final = 2
"""Streams within streams."""
TEXTS: Final = (".log", ".txt", ".json", ".html")
PIECE: Final = 1 << 10
STEP: Final = 1 << 24
OVERLAP: Final = 1 << 12
"""Bytes of which the end of a piece is read again: more than any form has."""


class Found(NamedTuple):
    """What is where it must not be."""

    where: str
    what: str


@dataclass(slots=True)
class Searched:
    """What was searched, and what was found.

    Args:
        files, bytes_, streams: how much; `streams` were packed, and unpacked for the search.
        found: what must not be there.
    """

    files: int = 0
    bytes_: int = 0
    streams: int = 0
    found: list[Found] = field(default_factory=list)

    def __iadd__(self, other: Searched) -> Searched:
        self.files += other.files
        self.bytes_ += other.bytes_
        self.streams += other.streams
        self.found += other.found
        return self


def nothing_allowed(path: Path, data: bytes) -> bytes:
    """Of no file, any part may hold times."""
    return data


def search(
    folder: Path,
    canaries: Canaries,
    times: Times | None = None,
    without_times: Callable[[Path, bytes], bytes] = nothing_allowed,
) -> Searched:
    """Search all below a folder, links and hidden files too.

    Args:
        folder: where.
        canaries: what to look for, in names as in contents.
        times: moments to look for; None for none.
        without_times: gives the bytes of a file without those that may be, or look like, moments.
    """
    done = Searched()
    for path in sorted(folder.rglob("*")):
        where = str(path.relative_to(folder))
        labels = [path.name.encode(), *_labels(path)]
        done.found += [Found(where, f"in its name, {what}") for label in labels for what in canaries.within(label)]
        if path.is_file() and not path.is_symlink():
            done += search_bytes(where, path.read_bytes(), canaries)
            if times is not None:
                left = without_times(path, path.read_bytes())
                done.found += [Found(where, what) for what in times.within(left, is_text=path.suffix in TEXTS)]
    return done


def _labels(path: Path) -> Iterator[bytes]:
    """What stands beside a file's contents: where it points, and its extended attributes."""
    if path.is_symlink():
        yield os.fsencode(path.readlink())
        return
    for name in os.listxattr(path):
        yield name.encode()
        yield os.getxattr(path, name)


def search_bytes(where: str, data: bytes, canaries: Canaries, depth: int = DEPTH) -> Searched:
    """Search some bytes, and what is packed in them."""
    done = Searched(files=1, bytes_=len(data))
    pieces = (data[at : at + STEP + OVERLAP] for at in range(0, max(1, len(data)), STEP))
    done.found += [Found(where, what) for piece in pieces for what in canaries.within(piece)]
    if depth:
        for inner in unpacked(data):
            inside = search_bytes(f"{where}, unpacked", inner, canaries, depth - 1)
            done.streams += 1 + inside.streams
            done.found += inside.found
    return done


def unpacked(data: bytes) -> Iterator[bytes]:
    """What zlib or gzip packed anywhere in some bytes, as far as it can be unpacked."""
    for match in PACKED.finditer(data):
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # either header
        inner, at = b"", match.start()
        with suppress(zlib.error):  # what came before is looked at
            while at < len(data) and not unpacker.eof and len(inner) < UNPACKED_BYTES:
                inner += unpacker.decompress(data[at : at + PIECE])
                at += PIECE
        if inner:
            yield inner
