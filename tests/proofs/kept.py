"""The files of a home, each read to its last field. What `docs/state.md` does not list is an error.

Nothing here is lenient: a file of an unknown name, a field that no row names, or a byte too many is `UnlistedError`.
"""

from __future__ import annotations

import re
from enum import Enum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, NamedTuple

from core.errors import MacroVpnError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path


class UnlistedError(AssertionError):
    """Something is kept that is on no list."""


class Kind(Enum):
    """What a value can be mistaken for."""

    PLAIN = "nothing"
    RANDOM = "anything: it is drawn at random, or follows from what was"
    TIME = "a moment, and it is one"


class Field(NamedTuple):
    """A value in a file.

    Args:
        name: words of the list, as they stand there.
        value: its bytes in the file.
        kind: what it can be mistaken for.
    """

    name: str
    value: bytes
    kind: Kind = Kind.PLAIN


type Reader = Callable[[bytes, Path], Iterator[Field]]
"""Reads a file's bytes to its last one; the path is where it lies."""


class Listed(NamedTuple):
    """A row of the list.

    Args:
        name: as it stands in the list.
        pattern: of names of files, from their home on.
        read: reads it.
    """

    name: str
    pattern: str
    read: Reader


def whole(pattern: bytes, *fields: tuple[str, Kind]) -> Reader:
    """A reader of a file that is one match of a pattern, whose groups are its fields, in their order."""
    compiled = re.compile(pattern, re.DOTALL)

    def read(data: bytes, path: Path) -> Iterator[Field]:
        match = compiled.fullmatch(data)
        if match is None or len(match.groups()) != len(fields):
            raise UnlistedError(f"{path.name} has another form: {data[:200]!r}")
        for (name, kind), value in zip(fields, match.groups(), strict=True):
            if value is not None:
                yield Field(name, value, kind)

    return read


def lines(first: str | None, pattern: bytes, most: int, *fields: tuple[str, Kind]) -> Reader:
    """A reader of a file of lines, after a first one, each a match of a pattern."""
    of_line = whole(pattern, *fields)

    def read(data: bytes, path: Path) -> Iterator[Field]:
        rows = data.split(b"\n")
        if rows.pop() != b"":
            raise UnlistedError(f"{path.name} ends within a line: {data[-100:]!r}")
        if first is not None:
            if rows[:1] != [first.encode()]:
                raise UnlistedError(f"{path.name} begins otherwise: {data[:100]!r}")
            yield Field(f"the line `{first}`", rows.pop(0))
        if len(rows) > most:
            raise UnlistedError(f"{path.name} has {len(rows)} lines, and {most} are the most")
        for row in rows:
            yield from of_line(row, path)

    return read


def nothing(data: bytes, path: Path) -> Iterator[Field]:
    """Read a file that is empty."""
    if data:
        raise UnlistedError(f"{path.name} is not empty: {data[:100]!r}")
    return iter(())


class Kept(NamedTuple):
    """A file that was read.

    Args:
        path: where it lies.
        row: of the list.
        fields: all that is in it.
    """

    path: Path
    row: Listed
    fields: list[Field]


def read_home(home: Path, rows: Iterable[Listed], *, apart: Iterable[Path] = ()) -> list[Kept]:
    """Read all that lies in a home.

    Args:
        home: its folder.
        rows: of the list.
        apart: what is no part of it, such as other homes below it.

    Raises:
        UnlistedError: something is there that no row lists, or may be read by others.
    """
    others = tuple(apart)
    rows = list(rows)
    kept = []
    for path in sorted(home.rglob("*")):
        if any(path == other or other in path.parents for other in others):
            continue
        if path.stat().st_mode & 0o077:
            raise UnlistedError(f"{path} may be used by others: mode {path.stat().st_mode & 0o777:o}")
        if not path.is_dir():
            kept.append(read_file(path, path.relative_to(home).as_posix(), rows))
    return kept


def read_file(path: Path, name: str, rows: Iterable[Listed]) -> Kept:
    """Read one file by the row that lists its name.

    Raises:
        UnlistedError: none does, or there is something else in it.
    """
    for row in rows:
        if fnmatchcase(name, row.pattern):
            try:
                return Kept(path, row, list(row.read(path.read_bytes(), path)))
            except (MacroVpnError, ValueError) as error:
                raise UnlistedError(f"{path} cannot be read as {row.name}: {error}") from error
    raise UnlistedError(f"no row lists {name}")


_UNTIMED_BYTES: Final = 4
"""Shorter values are no moments, and may stand anywhere."""


def without_moments(kept: Iterable[Kept]) -> Callable[[Path, bytes], bytes]:
    """Make what takes away from the bytes of these files all values that are moments by the list, or look like some."""
    values = {
        one.path: sorted({field.value for field in one.fields if field.kind is not Kind.PLAIN}, key=len, reverse=True)
        for one in kept
    }

    def without(path: Path, data: bytes) -> bytes:
        for value in values.get(path, ()):
            if len(value) >= _UNTIMED_BYTES:
                data = data.replace(value, b"\0" * len(value))
        return data

    return without
