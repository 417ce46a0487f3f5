"""Secret keys on disk: a folder of one owner, one file of 32 raw bytes for each key."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from typing import TYPE_CHECKING, Final

from core.errors import ConfigError
from peers.files import OTHERS, read_bounded, sync_folder, write_private

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET_BYTES: Final = 32


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder of keys against other processes, so that all end up with the same keys.

    Args:
        folder: made with mode 0700 if it does not exist.

    Raises:
        ConfigError: the folder is open to others or cannot be used, or the work inside failed with an OSError.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if stat.S_IMODE(os.fstat(descriptor).st_mode) & OTHERS:
                raise ConfigError(str(folder), "this folder of keys is open to others; run chmod 700 on it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigError(str(folder), "this folder of keys cannot be used; it must be yours to write") from error


def read_secret(path: Path, remedy: str) -> bytes | None:
    """Read a key.

    Args:
        path: its file.
        remedy: what to do about a file that is damaged.

    Returns:
        32 bytes; None if there is no such file.

    Raises:
        ConfigError: the file is open to others, has another length, or is no plain file.
    """
    try:
        secret, mode = read_bounded(path, SECRET_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(str(path), "this key file cannot be read; it must be a plain file of yours") from error
    if mode & OTHERS:
        raise ConfigError(str(path), "this key file is open to others; run chmod 600 on it")
    if len(secret) != SECRET_BYTES:
        raise ConfigError(str(path), f"this key file must hold {SECRET_BYTES} bytes; {remedy}")
    return secret


def new_secret(path: Path) -> bytes:
    """Make a key and write it, so that it lasts through a power cut.

    Returns:
        32 bytes.

    Raises:
        OSError: it could not be written.
    """
    secret = os.urandom(SECRET_BYTES)
    write_private(path, secret)
    return secret


def erase(path: Path) -> None:
    """Overwrite a file of secrets with zeros, and remove it. Does nothing where there is none.

    What the disk keeps is another matter: a file system that copies on write, a snapshot, a backup or a flash drive's
    spare blocks may hold the old bytes for longer.

    Raises:
        OSError: it could not be removed.
    """
    with contextlib.suppress(FileNotFoundError):
        if path.is_file() and not path.is_symlink():
            _overwrite(path)
        path.unlink()
        sync_folder(path.parent)


def _overwrite(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.pwrite(descriptor, bytes(max(SECRET_BYTES, os.fstat(descriptor).st_size)), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
