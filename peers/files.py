"""Private files: written whole or not at all, and readable by their owner alone."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
"""The permission bits of everybody but the owner."""


def write_private(path: Path, data: bytes) -> None:
    """Replace a file with `data`, mode 0600. After a crash it holds the old bytes or the new ones, never a mixture.

    Args:
        path: the file; its folder must exist.
        data: all of its bytes.

    Raises:
        OSError: it could not be written. The old file, if any, is as it was.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # O_EXCL, 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


def read_bounded(path: Path, limit_bytes: int) -> tuple[bytes, int]:
    """Read a regular file, following no symbolic link and waiting for nobody.

    Args:
        path: the file.
        limit_bytes: read at most one byte more than this, so that a longer file shows.

    Returns:
        The bytes, at most `limit_bytes` + 1 of them, and the file's permission bits.

    Raises:
        OSError: there is no such file, or it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError("not a regular file")
        return file.read(limit_bytes + 1), stat.S_IMODE(status.st_mode)


def sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
