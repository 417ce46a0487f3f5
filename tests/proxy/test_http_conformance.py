"""The tables of RFC 9110 and 9112, row by row: in one piece, and one byte at a time on both sides."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.proxy.http_ends import Talk, read_answers, talking
from tests.proxy.http_rows import BYE, RFC_9112, Row
from tests.proxy.http_rows_9110 import RFC_9110

ROWS = (*RFC_9112, *RFC_9110)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_row(row: Row) -> None:
    asyncio.run(_check(row, 1 << 20))


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_row_in_single_bytes(row: Row) -> None:
    asyncio.run(_check(row, 1))


async def _check(row: Row, pieces: int) -> None:
    async with talking(replace(row.site, pieces=pieces)) as talk:
        await talk.send(row.sent, pieces)
        assert talk.transport.is_over is not row.stays
        _check_client(row, talk)
        _check_sites(row, talk)
        if row.stays and row.status != (101,):
            before, method = len(talk.got), _method(row)
            await talk.send(BYE.replace(b"GET", method), pieces)
            assert talk.got[before:].startswith(b"HTTP/1.1 "), "both must still know where they are"
            assert talk.dialer.flows[-1].raw.startswith(method + b" /bye HTTP/1.1\r\nHost: z.example\r\n")
            assert talk.transport.is_over


def _check_client(row: Row, talk: Talk) -> None:
    for words in row.got:
        assert words in talk.got
    for words in row.ungot:
        assert words.lower() not in talk.got.lower().replace(b"x-macrovpn", b"")
    if row.cut:
        assert talk.transport.aborted, "the client must see that something is missing"
        assert talk.got.startswith(b"HTTP/1.1 200 ")
    elif row.status == (101,):
        assert talk.got.startswith(b"HTTP/1.1 101 ")
    else:
        final = [status for status in row.status if status >= 200]
        methods = [_method(row).decode(), *["GET"] * len(final)][: len(final)]
        answers = read_answers(talk.got, *methods, ended=talk.transport.is_over)
        assert tuple(answer.status for answer in answers) == row.status
        if row.body is not None:
            assert answers[-1].body == row.body


def _check_sites(row: Row, talk: Talk) -> None:
    assert not [flow.broken for flow in talk.dialer.flows if flow.broken], "the site's parser has no complaint"
    assert len(talk.seen) == row.requests
    for words in row.seen:
        assert words in talk.raw
    for words in row.unseen:
        assert words.lower() not in talk.raw.lower()


def _method(row: Row) -> bytes:
    return b"HEAD" if row.sent.startswith(b"HEAD ") else b"GET"


def test_every_row_has_its_own_name() -> None:
    assert len({str(row) for row in ROWS}) == len(ROWS)
