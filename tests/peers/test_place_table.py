from __future__ import annotations

import ipaddress
import json
import lzma
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DecodeError
from peers.place_table import HEADER, IPV6_SHIFT, MAX_FILE_BYTES, PlaceTable, encode

if TYPE_CHECKING:
    from peers.place_table import Ip, Rows

CODES = ("DE", "FR", "NL")


def ip(text: str) -> Ip:
    return ipaddress.ip_address(text)


def four(text: str) -> int:
    return int(ip(text))


def six(text: str) -> int:
    return int(ip(text)) >> IPV6_SHIFT


TABLES: tuple[Rows, ...] = (
    [(0, 0), (four("20.0.0.0"), 1), (four("20.0.1.0"), 3), (four("20.0.2.0"), 0)],
    [(0, 0), (four("20.0.0.128"), 64500), (four("20.0.1.128"), 4_200_000_000)],
    [(0, 0), (six("2001:db8::"), 2), (six("2001:db8:1::"), 0)],
    [(0, 0), (six("2001:db8::"), 7)],
)


def packed(tables: tuple[Rows, ...] = TABLES) -> bytes:
    return encode(CODES, tables, {"countries": "test"})


def spoilt(change: str, value: Any) -> bytes:
    """The file with another value in its head."""
    raw = lzma.decompress(packed())
    head, body = raw.removeprefix(HEADER).split(b"\n", 1)
    facts = json.loads(head) | {change: value}
    return lzma.compress(HEADER + json.dumps(facts).encode() + b"\n" + body)


@pytest.mark.parametrize(
    ("host", "country", "asn"),
    [
        ("0.0.0.0", "", None),
        ("19.255.255.255", "", None),
        ("20.0.0.0", "DE", None),
        ("20.0.0.128", "DE", 64500),
        ("20.0.1.0", "NL", 64500),
        ("20.0.1.255", "NL", 4_200_000_000),
        ("255.255.255.255", "", 4_200_000_000),
        ("::", "", None),
        ("2001:db8::", "FR", 7),
        ("2001:db8:0:ffff:ffff:ffff:ffff:ffff", "FR", 7),
        ("2001:db8:1::", "", 7),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", 7),
    ],
)
def test_a_range_ends_where_the_next_begins(host: str, country: str, asn: int | None) -> None:
    table = PlaceTable.decode(packed())
    assert (table.country(ip(host)), table.asn(ip(host))) == (country, asn)


def starts(highest: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(1, highest), unique=True, max_size=20).map(lambda found: [0, *sorted(found)])


@given(starts(2**32 - 1), st.integers(0, 2**32 - 1), st.data())
def test_what_was_packed_is_found(begins: list[int], key: int, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(0, 3), min_size=len(begins), max_size=len(begins)))
    rows = list(zip(begins, values, strict=True))
    table = PlaceTable.decode(packed((rows, *TABLES[1:])))
    wanted = [value for start, value in rows if start <= key][-1]
    assert table.country(ipaddress.IPv4Address(key)) == ("", *CODES)[wanted]


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_other_bytes_are_refused(data: bytes) -> None:
    for candidate in (data, lzma.compress(data), lzma.compress(HEADER + data)):
        with pytest.raises(DecodeError):
            PlaceTable.decode(candidate)


def test_a_file_that_is_cut_or_longer_is_refused() -> None:
    good = packed()
    for size in range(len(good)):
        with pytest.raises(DecodeError):
            PlaceTable.decode(good[:size])
    with pytest.raises(DecodeError):
        PlaceTable.decode(good + b"\x00")


def test_a_file_with_one_wrong_byte_is_refused() -> None:
    good = packed()
    for place in range(len(good)):
        data = bytearray(good)
        data[place] ^= 0x55
        with pytest.raises(DecodeError):
            PlaceTable.decode(bytes(data))


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("countries", "DE"),
        ("countries", None),
        ("rows", [4, 3, 3]),
        ("rows", [4, 3, 3, 1]),
        ("rows", [4, 3, 3, 3]),
        ("rows", [0, 3, 3, 2]),
        ("rows", [4, 3, 3, 10**12]),
        ("rows", "many"),
    ],
)
def test_a_head_that_does_not_fit_is_refused(change: str, value: object) -> None:
    with pytest.raises(DecodeError):
        PlaceTable.decode(spoilt(change, value))


@pytest.mark.parametrize("rows", [[(5, 0)], [(0, 0), (9, 1), (9, 2)]])
def test_ranges_out_of_order_are_refused(rows: Rows) -> None:
    with pytest.raises(DecodeError, match="out of order"):
        PlaceTable.decode(packed((rows, *TABLES[1:])))


def test_a_range_beyond_the_last_address_is_refused() -> None:
    def beyond(deltas: list[int]) -> bytes:
        facts = {"countries": "DE", "rows": [len(deltas), 1, 1, 1]}
        columns = b"".join(delta.to_bytes(4, "little") for delta in deltas) + bytes(len(deltas))
        return lzma.compress(HEADER + json.dumps(facts).encode() + b"\n" + columns + bytes(8 + 9 + 12))

    PlaceTable.decode(beyond([0, 2**32 - 1]))
    with pytest.raises(DecodeError, match="beyond"):
        PlaceTable.decode(beyond([0, 2**32 - 1, 1]))


def test_what_unpacks_to_very_much_is_refused() -> None:
    with pytest.raises(DecodeError, match="cut off"):
        PlaceTable.decode(lzma.compress(HEADER + bytes(80 << 20), preset=0))
    with pytest.raises(DecodeError, match="too large"):
        PlaceTable.decode(bytes(MAX_FILE_BYTES + 1))
