"""Which country and autonomous system an IP address belongs to: sorted ranges, packed into one file.

The file is one xz stream of: the line `macro-vpn places 1`, one line of JSON, then the columns.

| in the JSON | what |
|---|---|
| `countries` | two letters each, separated by spaces; number 0, not in the list, is for unknown |
| `rows` | number of rows: countries of IPv4, systems of IPv4, countries of IPv6, systems of IPv6 |
| `made_of` | names and versions of the sources |

Each of the four tables is two columns, little-endian: where a range begins, as difference to the row before, and what
it belongs to. A range ends where the next begins, and the first begins at 0. IPv4 ranges begin at addresses (4 bytes
each), IPv6 ranges at networks of 48 bits (8 bytes). A country is its number (1 byte); a system too (4), 0 for unknown.
"""

from __future__ import annotations

import json
import lzma
import sys
from array import array
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from core.errors import DecodeError

if TYPE_CHECKING:
    import ipaddress
    from collections.abc import Mapping, Sequence

    type Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
    type Rows = Sequence[tuple[int, int]]
    """Where each range begins, and what it belongs to."""

HEADER: Final = b"macro-vpn places 1\n"
IPV6_SHIFT: Final = 80
"""Bits of an IPv6 address that tell nothing here: the smallest network that routers pass on has 48 bits."""
MAX_FILE_BYTES: Final = 8 << 20
MAX_TABLE_BYTES: Final = 64 << 20

_STARTS: Final = ("I", "I", "Q", "Q")
_VALUES: Final = ("B", "I", "B", "I")
_DICTIONARY_BYTES: Final = 16 << 20
"""Memory that unpacking takes; more than the columns have would pack nothing better."""
# Columns of four bytes pack best when the packer looks at the position within four.
_FILTERS: Final = [
    {
        "id": lzma.FILTER_LZMA2,
        "preset": 9 | lzma.PRESET_EXTREME,
        "dict_size": _DICTIONARY_BYTES,
        "lc": 0,
        "lp": 2,
        "pb": 2,
    }
]


class PlaceTable:
    """The ranges. `decode` makes one out of a file.

    Args:
        countries: two letters each, without the unknown.
        starts: of each of the four tables, rising from 0.
        values: of each of them, as many.
    """

    def __init__(
        self, countries: tuple[str, ...], starts: tuple[array[int], ...], values: tuple[array[int], ...]
    ) -> None:
        self._countries = ("", *countries)
        self._starts = starts
        self._values = values

    def country(self, address: Ip) -> str:
        """Return two letters, or an empty text for unknown."""
        return self._countries[self._find(address, 0)]

    def asn(self, address: Ip) -> int | None:
        """Return the number of the autonomous system, None for unknown."""
        return self._find(address, 1) or None

    def _find(self, address: Ip, kind: int) -> int:
        place, key = (kind, int(address)) if address.version == 4 else (2 + kind, int(address) >> IPV6_SHIFT)
        return self._values[place][bisect_right(self._starts[place], key) - 1]

    @classmethod
    def decode(cls, data: bytes) -> PlaceTable:
        """Read a file.

        Args:
            data: all of it, at most 8 MiB.

        Raises:
            DecodeError: it is not such a file, or damaged.
        """
        raw = _unpack(data)
        try:
            end = raw.index(b"\n", len(HEADER))
            facts = json.loads(raw[len(HEADER) : end])
            countries, rows = tuple(str(facts["countries"]).split()), [int(count) for count in facts["rows"]]
        except (ValueError, KeyError, TypeError) as error:
            raise _wrong("no head") from error
        if len(rows) != len(_STARTS) or min(rows) < 1:
            raise _wrong("wrong number of tables")
        starts, values, at, body = [], [], 0, memoryview(raw)[end + 1 :]
        for count, start_kind, value_kind in zip(rows, _STARTS, _VALUES, strict=True):
            deltas, at = _column(body, at, start_kind, count)
            starts.append(_rising(deltas, start_kind))
            belongs, at = _column(body, at, value_kind, count)
            values.append(belongs)
        if at != len(body) or any(max(values[place]) > len(countries) for place in (0, 2)):
            raise _wrong("wrong length, or a country without a name")
        return cls(countries, tuple(starts), tuple(values))


def encode(countries: tuple[str, ...], tables: Sequence[Rows], made_of: Mapping[str, str]) -> bytes:
    """Make a file.

    Args:
        countries: two letters each, at most 255.
        tables: countries of IPv4, systems of IPv4, countries of IPv6, systems of IPv6. Each begins at 0 and rises.
        made_of: names and versions of the sources.
    """
    facts = {"countries": " ".join(countries), "rows": [len(rows) for rows in tables], "made_of": dict(made_of)}
    parts = [HEADER, json.dumps(facts, sort_keys=True).encode(), b"\n"]
    for rows, start_kind, value_kind in zip(tables, _STARTS, _VALUES, strict=True):
        before = 0
        deltas = array(start_kind)
        for start, _ in rows:
            deltas.append(start - before)
            before = start
        parts += [_little(deltas).tobytes(), _little(array(value_kind, (value for _, value in rows))).tobytes()]
    return lzma.compress(b"".join(parts), check=lzma.CHECK_CRC64, filters=_FILTERS)


def _unpack(data: bytes) -> bytes:
    if len(data) > MAX_FILE_BYTES:
        raise _wrong("too large")
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    try:
        raw = unpacker.decompress(data, MAX_TABLE_BYTES)
    except lzma.LZMAError as error:
        raise _wrong("damaged") from error
    if not unpacker.eof or unpacker.unused_data or not raw.startswith(HEADER):
        raise _wrong("cut off, or something else")
    return raw


def _column(body: memoryview, at: int, kind: str, count: int) -> tuple[array[int], int]:
    """Cut a column out of `body`, and say where the next one begins."""
    column: array[int] = array(kind)
    end = at + count * column.itemsize
    if end > len(body):
        raise _wrong("a column is cut off")
    column.frombytes(body[at:end])
    return _little(column), end


def _rising(deltas: array[int], kind: str) -> array[int]:
    if deltas[0] != 0 or (len(deltas) > 1 and min(deltas[1:]) < 1):
        raise _wrong("ranges out of order")
    try:
        return array(kind, accumulate(deltas))
    except OverflowError as error:
        raise _wrong("a range beyond the last address") from error


def _little(column: array[Any]) -> array[Any]:
    """Turn this machine's order of bytes into the file's, or back."""
    if sys.byteorder == "big":
        column.byteswap()
    return column


def _wrong(problem: str) -> DecodeError:
    return DecodeError("places", problem)
