"""Guards and second hops on disk, so that a client that starts again does not draw again.

A first line, then one line for each: `guard` or `second`, the peer's id, and the last day on which it is kept.
"""

from __future__ import annotations

import datetime
import logging
import os
from typing import TYPE_CHECKING, Final

from core.errors import DecodeError
from peers.files import read_bounded, write_private
from peers.guards import GUARDS, SECOND_HOPS, Pin, PinnedHops
from peers.identity import parse_peer_id, peer_id

if TYPE_CHECKING:
    from pathlib import Path

FIRST_LINE: Final = "macro-vpn guards 1"
MAX_FILE_BYTES: Final = 4096
_EPOCH: Final = datetime.date(1970, 1, 1)
_GUARD: Final = "guard"
_SECOND: Final = "second"
_MOST: Final = {_GUARD: GUARDS.most, _SECOND: SECOND_HOPS.most}

_log = logging.getLogger(__name__)


def save(path: Path, pins: PinnedHops) -> None:
    """Write those that have served, mode 0600, whole or not at all.

    Raises:
        OSError: it could not be written; the file is as it was.
    """
    lines = [FIRST_LINE]
    for kind, kept in ((_GUARD, pins.guards), (_SECOND, pins.seconds)):
        lines += [f"{kind} {peer_id(pin.peer)} {_EPOCH + datetime.timedelta(pin.until_day)}" for pin in kept.proved]
    write_private(path, "".join(f"{line}\n" for line in lines).encode("ascii"))


def load(path: Path) -> PinnedHops:
    """Read a file. One that is damaged is renamed to `*.bad`, with a warning, and nothing of it is used.

    Args:
        path: the file; it may be missing.

    Raises:
        OSError: there is a file and it cannot be read or renamed.
    """
    try:
        data, _ = read_bounded(path, MAX_FILE_BYTES)
    except FileNotFoundError:
        return PinnedHops()
    try:
        found = _decode(data)
    except DecodeError:
        os.replace(path, path.with_name(f"{path.name}.bad"))
        _log.warning("the file of guards was damaged: it is set aside, and guards are drawn anew")
        return PinnedHops()
    return PinnedHops(found[_GUARD], found[_SECOND])


def _decode(data: bytes) -> dict[str, list[Pin]]:
    if len(data) > MAX_FILE_BYTES or not data.isascii() or not data.endswith(b"\n"):
        raise _wrong("wrong size, or not whole lines of ASCII")
    first, *lines = data.decode("ascii")[:-1].split("\n")
    if first != FIRST_LINE:
        raise _wrong("wrong first line")
    found: dict[str, list[Pin]] = {_GUARD: [], _SECOND: []}
    for line in lines:
        kind, pin = _decode_line(line)
        if any(other.peer == pin.peer for other in found[kind]):
            raise _wrong("a peer twice")
        found[kind].append(pin)
    if any(len(pins) > _MOST[kind] for kind, pins in found.items()):
        raise _wrong("too many")
    return found


def _decode_line(line: str) -> tuple[str, Pin]:
    kind, _, rest = line.partition(" ")
    name, _, day = rest.partition(" ")
    if kind not in _MOST:
        raise _wrong("unknown kind")
    try:
        until = datetime.date.fromisoformat(day)
    except ValueError as error:
        raise _wrong("not a day") from error
    if until.isoformat() != day or until < _EPOCH:
        raise _wrong("not a day")
    return kind, Pin(parse_peer_id(name), (until - _EPOCH).days, proved=True)


def _wrong(problem: str) -> DecodeError:
    return DecodeError("guards", problem)
