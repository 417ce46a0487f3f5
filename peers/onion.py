"""The keys that circuit creations are addressed to: a new one each day, the last one for a day more, then neither.

A day begins for each peer at a time of its own, which follows from its name, so that not all peers publish at once. A
key is a file named after its day, which is all that is kept of time. Whatever a crash leaves, the next start makes it
right: a new key is on disk before anyone is told of it, and what has had its day is erased, read or not.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from core.errors import ConfigError
from peers.key_files import erase, locked, new_secret, read_secret

if TYPE_CHECKING:
    from pathlib import Path

    from core.ids import PeerKey

DAY_S: Final = 86_400
OVERLAP_S: Final = DAY_S
"""How long a key is accepted after it stopped being today's."""

_NAME: Final = re.compile(r"onion-(0|[1-9][0-9]{0,6})\.key")
_REMEDY: Final = "remove it, and a new key is made"


def phase_of(peer: PeerKey) -> int:
    """Say by how many seconds a peer's day begins before midnight UTC, 0 to 86,399."""
    return int.from_bytes(hashlib.sha256(b"onion day" + peer).digest()[:8]) % DAY_S


class OnionKeys:
    """The onion keys of one folder, at most two.

    Args:
        folder: where they are kept, open to its owner only.
        phase_s: see `phase_of`.
        now: Unix seconds.

    Raises:
        ConfigError: the folder or a file in it cannot be used, or is not what it should be.
    """

    def __init__(self, folder: Path, phase_s: int, now: float) -> None:
        self._folder = folder
        self._phase_s = phase_s
        self._keys: dict[int, X25519PrivateKey] = {}
        self.advance(now)

    @property
    def privates(self) -> list[X25519PrivateKey]:
        """The private keys, today's first."""
        return [self._keys[day] for day in sorted(self._keys, reverse=True)]

    @property
    def publics(self) -> tuple[bytes, ...]:
        """The public keys, today's first, as a descriptor lists them."""
        return tuple(key.public_key().public_bytes_raw() for key in self.privates)

    def advance(self, now: float) -> bool:
        """Make today's key if there is none, and erase what has had its day.

        Args:
            now: Unix seconds. A key of a day that is further ahead than tomorrow was made by a wrong clock, and is
                erased.

        Returns:
            Whether the keys are others than before: use them, then publish them.

        Raises:
            ConfigError: as for the class. The keys are as they were, and it may be tried again.
        """
        today = self._day(now)
        if self._keys and max(self._keys) in (today, today + 1):
            return False
        with locked(self._folder):
            days = _days_of(self._folder) | self._keys.keys()
            current = max((day for day in days if today <= day <= today + 1), default=today)
            kept = {day: self._read(day) for day in (current - 1, current) if day in days}
            if current not in kept:
                kept[current] = X25519PrivateKey.from_private_bytes(new_secret(_file(self._folder, current)))
            for day in days - kept.keys():
                erase(_file(self._folder, day))
        self._keys = kept
        return True

    def due_in(self, now: float) -> float:
        """Say in how many seconds `advance` will have something to do, if the clock goes on as it does."""
        return (max(self._keys) + 1) * DAY_S - self._phase_s - now

    def _day(self, now: float) -> int:
        return max(0, int((now + self._phase_s) // DAY_S))

    def _read(self, day: int) -> X25519PrivateKey:
        if day in self._keys:
            return self._keys[day]
        secret = read_secret(_file(self._folder, day), _REMEDY)
        assert secret is not None, "the folder is locked, and the file was there"
        return X25519PrivateKey.from_private_bytes(secret)


def erase_all(folder: Path) -> None:
    """Erase every onion key of a folder that the caller has locked: the peer gets a new name.

    Raises:
        ConfigError: there is a file that looks like a key and is none of ours.
        OSError: one could not be removed.
    """
    for day in _days_of(folder):
        erase(_file(folder, day))


def _file(folder: Path, day: int) -> Path:
    return folder / f"onion-{day}.key"


def _days_of(folder: Path) -> set[int]:
    """Name the days whose keys are there, and erase what was being written when a process died."""
    days: set[int] = set()
    for path in list(folder.iterdir()):
        if path.name.startswith(".onion-"):
            erase(path)
        elif (match := _NAME.fullmatch(path.name)) is not None:
            days.add(int(match[1]))
        elif path.name.startswith("onion"):
            raise ConfigError(str(path), "this is no onion key of this peer, and would never be erased; move it away")
    return days
