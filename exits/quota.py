"""How much is carried for others in a calendar month, and a file that remembers it over restarts.

The file says how much is *reserved*: it is written before the bytes are carried, so whoever kills the process makes it
forget none, and at most the last megabyte counts although it was not carried. Nothing else is kept: no days, no flows.
"""

from __future__ import annotations

import logging
import os
import re
from typing import TYPE_CHECKING, Final

from core.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

QUOTA_NAME: Final = "carried"
MB: Final = 1_000_000
SYNC_MB: Final = 64
"""A crash of the machine, not of the program, may forget so much: as often the disk is waited for."""

_LINE: Final = re.compile(rb"macro-vpn carried 1 ([0-9]{4})-(0[1-9]|1[0-2]) ([0-9]{12}) MB\n")

_log = logging.getLogger(__name__)

type Month = tuple[int, int]
"""Year and month, by the local calendar."""


class Quota:
    """What one month allows.

    Args:
        home: the node's folder.
        limit_bytes: what may be carried in a month.
        month: the month it is now.

    Raises:
        ConfigError: the file is damaged, or cannot be used.
    """

    def __init__(self, home: Path, limit_bytes: int, month: Month) -> None:
        self._limit = limit_bytes
        self._path = home / QUOTA_NAME
        self._failed = False
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            kept = os.pread(self._file, 64, 0)
        except OSError as error:
            raise ConfigError(str(self._path), f"the file cannot be used: {error.strerror}") from error
        self._month, self._reserved = month, 0
        if kept:
            self._month, self._reserved = self._read(kept)
        self._synced = self._reserved
        self.carried_bytes = self._reserved * MB
        self.full = self.carried_bytes >= self._limit
        self.turn_to(month)

    def _read(self, kept: bytes) -> tuple[Month, int]:
        match = _LINE.fullmatch(kept)
        if match is None:
            os.close(self._file)
            problem = "the file is damaged; remove it if this month may begin at zero, or sharing.monthly_gb if not"
            raise ConfigError(str(self._path), problem)
        year, month, reserved = (int(part) for part in match.groups())
        return (year, month), reserved

    def limit_to(self, limit_bytes: int) -> None:
        """Allow another amount in a month, this one included."""
        self._limit = limit_bytes
        self.full = self._failed or self.carried_bytes >= limit_bytes

    def turn_to(self, month: Month) -> None:
        """Begin at zero if a later month has come. A clock that is set back gives nothing for free."""
        if month > self._month:
            self._month, self._reserved, self.carried_bytes = month, 0, 0
            self.full = self._failed = False
            self._write()

    def take(self, count: int) -> bool:
        """Count bytes that are about to be carried; returns False when they may not be."""
        if self.full:
            return False
        carried = self.carried_bytes + count
        if carried > self._limit:
            self.full = True
            return False
        if carried > self._reserved * MB:
            self._reserved = -(-carried // MB)
            self._write()
            if self._failed:
                self.full = True
                return False
        self.carried_bytes = carried
        return True

    def give_back(self, count: int) -> None:
        """Bytes that were taken are not carried after all."""
        self.carried_bytes -= count

    def _write(self) -> None:
        """Put the line in the place of the old one: it has the same length, so the file is never without one."""
        year, month = self._month
        line = b"macro-vpn carried 1 %04d-%02d %012d MB\n" % (year, month, self._reserved)
        try:
            os.pwrite(self._file, line, 0)
            if not self._synced <= self._reserved < self._synced + SYNC_MB:
                os.fsync(self._file)
                self._synced = self._reserved
        except OSError as error:
            self._failed = True
            _log.warning("the month's total cannot be written, so nothing is carried: %s", type(error).__name__)

    def close(self) -> None:
        """Write what was carried, in whole megabytes."""
        self._reserved = -(-self.carried_bytes // MB)
        self._write()
        os.close(self._file)
