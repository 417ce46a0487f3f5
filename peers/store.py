"""The directory on disk, so that a node that starts again knows whom to ask.

Written are the descriptors themselves, as their peers publish them, and of each whether it was vouched for: no
times, and not who brought them. The file is a first line, then for each descriptor one byte (1 if it was vouched for,
else 0), its length (2 bytes, big-endian) and its bytes.

The file repeats what was vouched for and vouches for nothing else: else whoever once named a peer alone would find
himself confirmed at the next start.
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING, Final

from core.errors import DecodeError
from peers.descriptor import MAX_DESCRIPTOR_BYTES, Descriptor, ExpiryError, digest
from peers.directory import MAX_PEERS
from peers.files import read_bounded, write_private
from peers.voices import FROM_EARLIER

if TYPE_CHECKING:
    from pathlib import Path

    from peers.directory import Directory

FIRST_LINE: Final = b"macro-vpn peers 2\n"
MAX_FILE_BYTES: Final = len(FIRST_LINE) + MAX_PEERS * (3 + MAX_DESCRIPTOR_BYTES)

_log = logging.getLogger(__name__)


def save(path: Path, directory: Directory) -> None:
    """Write all descriptors, mode 0600, whole or not at all.

    Args:
        path: the file; its folder must exist.
        directory: what to write.

    Raises:
        OSError: it could not be written; the file is as it was.
    """
    voices = directory.voices
    found = ((voices.vouched(descriptor.peer), descriptor.raw) for descriptor in directory.peers())
    write_private(path, FIRST_LINE + b"".join(bytes([vouched]) + len(raw).to_bytes(2) + raw for vouched, raw in found))


def load(path: Path, directory: Directory, now: float) -> int:
    """Read a file into the directory. Each signature is verified again: a second for a full one, so not in a loop.

    A file that is damaged is renamed to `*.bad`, with a warning, and nothing of it is used. What has expired is left
    out.

    Args:
        path: the file; it may be missing.
        directory: takes the descriptors, without a source; those that were vouched for still are.
        now: Unix seconds.

    Returns:
        How many descriptors were kept.

    Raises:
        OSError: there is a file and it cannot be read or renamed.
    """
    try:
        data, _ = read_bounded(path, MAX_FILE_BYTES)
    except FileNotFoundError:
        return 0
    try:
        descriptors = _decode(data, now)
    except DecodeError:
        os.replace(path, path.with_name(f"{path.name}.bad"))
        _log.warning("the file of remembered peers was damaged: it is set aside, and peers are looked up anew")
        return 0
    kept = 0
    for vouched, descriptor in descriptors:
        kept += directory.insert(descriptor, None)
        if vouched:
            directory.named(digest(descriptor.raw), FROM_EARLIER)
    return kept


def _decode(data: bytes, now: float) -> list[tuple[bool, Descriptor]]:
    if len(data) > MAX_FILE_BYTES or not data.startswith(FIRST_LINE):
        raise DecodeError("remembered peers", "wrong size or first line")
    found: list[tuple[bool, Descriptor]] = []
    at = len(FIRST_LINE)
    while at < len(data):
        start = at + 3
        end = start + int.from_bytes(data[at + 1 : start])
        if end > len(data) or data[at] > 1:
            raise DecodeError("remembered peers", "cut off, or a wrong mark")
        with contextlib.suppress(ExpiryError):
            found.append((data[at] == 1, Descriptor.decode(data[start:end], now)))
        at = end
    return found
