"""Which ports an exit says it serves: one form, read strictly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError
from core.ports import MAX_PORT, MAX_SUMMARY_BYTES, ServedPorts, complement, ports_text, serves_port


@pytest.mark.parametrize(
    ("summary", "served", "rejected"),
    [
        (b"+80,443", [80, 443], [1, 79, 81, 442, 444, 65535]),
        (b"-25,135-139", [1, 24, 26, 134, 140, 65535], [25, 135, 137, 139]),
        (b"+1-65535", [1, 25, 65535], []),
        (b"-1-65535", [], [1, 25, 65535]),
        (b"-1,65535", [2, 65534], [1, 65535]),
    ],
)
def test_reading_a_summary(summary: bytes, served: list[int], rejected: list[int]) -> None:
    ports = ServedPorts.read(summary)
    assert [port for port in served + rejected if port in ports] == served
    assert [port for port in served + rejected if serves_port(summary, port)] == served


@pytest.mark.parametrize(
    "summary",
    [
        b"",
        b"+",
        b"-",
        b"80",
        b"*80",
        b"+80,",
        b"+,80",
        b"+80,,443",
        b"+080",
        b"+0",
        b"+0-5",
        b"+65536",
        b"+99999",
        b"+443,80",
        b"+80,80",
        b"+80,81",
        b"+80-90,91",
        b"+80-90,85",
        b"+90-80",
        b"+80-80",
        b"+80-",
        b"+-80",
        b"+80-90-95",
        b"+80 ",
        b"+80\n",
        b"+\xd9\xa8\xd9\xa0",
        b"+\xb2",
        b"accept",
        b"+" + b",".join(b"%d" % port for port in range(10000, 10030, 2)),
    ],
)
def test_anything_else_stands_for_no_port(summary: bytes) -> None:
    with pytest.raises(DecodeError):
        ServedPorts.read(summary)
    assert serves_port(summary, 80) is (not summary), "asking tells whether one that says nothing serves"


@given(st.binary(max_size=MAX_SUMMARY_BYTES + 2))
def test_any_bytes_are_read_or_refused(summary: bytes) -> None:
    try:
        ports = ServedPorts.read(summary)
    except DecodeError:
        return
    written = ports_text(ports.ranges if summary[:1] == b"+" else complement(ports.ranges))
    assert summary[1:].decode() == written


@given(st.sets(st.integers(1, MAX_PORT), min_size=1, max_size=8))
def test_a_list_is_read_as_it_was_written(ports: set[int]) -> None:
    alone = tuple((port, port) for port in sorted(ports) if port - 1 not in ports)
    read = ServedPorts.read(f"-{ports_text(alone)}".encode())
    assert read.ranges == complement(alone)
    assert complement(complement(alone)) == alone


@pytest.mark.parametrize(
    ("summary", "sentence"),
    [
        (b"+80,443", "ports 80,443"),
        (b"-25", "all ports but 25"),
        (b"", "all ports"),
        (b"+1-65535", "all ports"),
        (b"-1-65535", "no port"),
        (b"what?", "no port"),
    ],
)
def test_what_a_person_is_told(summary: bytes, sentence: str) -> None:
    assert ServedPorts.of(summary).sentence == sentence
