"""Files of a home: private, whole or not at all; one lock that says who runs there, and one for whoever edits."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import stat
import tempfile
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from core.errors import MacroVpnError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_NAME: Final = "node.lock"
KEYS_NAME: Final = "keys"
_LOCK_WAIT_S: Final = 0.3
"""`lock_holder` takes the lock for an instant: whoever finds it taken tries again this long."""
_LOCK_EVERY_S: Final = 0.02


class HomeTakenError(MacroVpnError):
    """Another process runs a node in this home.

    Args:
        home: the folder.
        pid: the process that holds it, or 0 when unknown.
    """

    def __init__(self, home: Path, pid: int) -> None:
        super().__init__(f"A node already runs in {home} (process {pid}). Stop it with `macrovpn down`.")
        self.home = home
        self.pid = pid


class EditingError(MacroVpnError):
    """The files of a home cannot be locked for a change.

    Args:
        home: the folder.
        problem: why not, and what to do.
    """

    def __init__(self, home: Path, problem: str) -> None:
        super().__init__(f"The settings in {home} were not changed: {problem}.")
        self.home = home


def make_home(home: Path) -> Path:
    """Create the folder, closed to other users, where it is missing.

    Returns:
        The same folder, absolute.

    Raises:
        MacroVpnError: it cannot be made.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise MacroVpnError(f"The folder {home} cannot be made: {error.strerror}.") from error
    return home.resolve()


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner only; a crash leaves the old or the new text.

    Raises:
        OSError: the folder is missing or not writable; the old file is untouched.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise


def load_token(path: Path, size: int) -> str:
    """Read a secret, or make one where there is none that is well-formed and closed to others.

    Args:
        path: its file: hex digits and a newline.
        size: its random bytes.

    Raises:
        OSError: the file can be neither read nor written.
    """
    with suppress(FileNotFoundError, UnicodeDecodeError):
        text = path.read_text(encoding="ascii").strip()
        if re.fullmatch(rf"[0-9a-f]{{{2 * size}}}", text) and not path.stat().st_mode & 0o077:
            return text
    token = secrets.token_hex(size)
    write_private(path, token + "\n")
    return token


@contextmanager
def editing(home: Path, wait_s: float) -> Iterator[Path]:
    """Keep other processes from editing a home between one's reading and one's writing of it.

    It is the folder that is locked, so no file is left behind. Whoever holds it must not ask for it again.

    Args:
        home: the folder; made when it is missing.
        wait_s: patience with another process that holds it.

    Yields:
        The same folder, absolute.

    Raises:
        EditingError: another process held it for all that time, or it cannot be locked.
        MacroVpnError: it cannot be made.
    """
    home = make_home(home)
    try:
        handle = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise EditingError(home, f"the folder cannot be opened: {error.strerror}") from error
    try:
        try:
            _lock(handle, wait_s)
        except BlockingIOError as error:
            problem = f"another command has been changing them for {wait_s:g} s. Try again; if that one hangs, end it"
            raise EditingError(home, problem) from error
        except OSError as error:
            raise EditingError(home, f"the folder cannot be locked: {error.strerror}") from error
        yield home
    finally:
        os.close(handle)


def _lock(handle: int, wait_s: float) -> None:
    """Take an exclusive lock on an open file, or raise the last OSError when that failed for so long."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(_LOCK_EVERY_S)


class HomeLock:
    """The right to run a node in a home. The kernel returns it when the process ends, however it ends.

    Args:
        home: an existing folder.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._handle = -1

    def acquire(self) -> None:
        """Take the lock and note this process's id in it.

        Raises:
            HomeTakenError: another process holds it.
        """
        handle = os.open(self._home / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(handle, _LOCK_WAIT_S)
        except OSError as error:
            pid = _read_pid(handle)
            os.close(handle)
            raise HomeTakenError(self._home, pid) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        self._handle = handle

    def release(self) -> None:
        """Give the lock back. Does nothing when it is not held."""
        if self._handle >= 0:
            os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = -1


def lock_holder(home: Path) -> int | None:
    """Name the live process that runs a node in `home`.

    Returns:
        Its process id (0 when it has not written it yet), or None when no process holds the lock.
    """
    try:
        handle = os.open(home / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _read_pid(handle)
    finally:
        os.close(handle)
    return None


def _read_pid(handle: int) -> int:
    text = os.pread(handle, 20, 0)
    return int(text) if text.isdigit() else 0


def read_foreign(path: Path, limit_bytes: int) -> tuple[str | None, bool]:
    """Read a file that may be anything.

    Returns:
        Its text, or None, and False if it is there and could not be read: it is too large, or no file.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None, True
    except OSError:
        return None, False
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None, False
        with open(handle, "rb", closefd=False) as file:
            data = file.read(limit_bytes + 1)
    finally:
        os.close(handle)
    return (None, False) if len(data) > limit_bytes else (data.decode("utf-8", "replace"), True)
