"""The directory on disk, so that a node that starts again knows whom to ask.

Written are the descriptors themselves, as their peers publish them: no times, and not who brought them. The file is
a first line, then for each descriptor its length (2 bytes, big-endian) and its bytes.
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING, Final

from core.errors import DecodeError
from peers.descriptor import MAX_DESCRIPTOR_BYTES, Descriptor, ExpiryError
from peers.directory import MAX_PEERS
from peers.files import read_bounded, write_private

if TYPE_CHECKING:
    from pathlib import Path

    from peers.directory import Directory

FIRST_LINE: Final = b"macro-vpn peers 1\n"
MAX_FILE_BYTES: Final = len(FIRST_LINE) + MAX_PEERS * (2 + MAX_DESCRIPTOR_BYTES)

_log = logging.getLogger(__name__)


def save(path: Path, directory: Directory) -> None:
    """Write all descriptors, mode 0600, whole or not at all.

    Args:
        path: the file; its folder must exist.
        directory: what to write.

    Raises:
        OSError: it could not be written; the file is as it was.
    """
    raws = (descriptor.raw for descriptor in directory.peers())
    write_private(path, FIRST_LINE + b"".join(len(raw).to_bytes(2) + raw for raw in raws))


def load(path: Path, directory: Directory, now: float) -> int:
    """Read a file into the directory. Each signature is verified again: a second for a full one, so not in a loop.

    A file that is damaged is renamed to `*.bad`, with a warning, and nothing of it is used. What has expired is left
    out.

    Args:
        path: the file; it may be missing.
        directory: takes the descriptors, without a source.
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
    return sum(directory.insert(descriptor, None) for descriptor in descriptors)


def _decode(data: bytes, now: float) -> list[Descriptor]:
    if len(data) > MAX_FILE_BYTES or not data.startswith(FIRST_LINE):
        raise DecodeError("remembered peers", "wrong size or first line")
    found: list[Descriptor] = []
    at = len(FIRST_LINE)
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2])
        if end > len(data):
            raise DecodeError("remembered peers", "cut off")
        with contextlib.suppress(ExpiryError):
            found.append(Descriptor.decode(data[at + 2 : end], now))
        at = end
    return found
