"""RFC 1928 and RFC 1929 at the local port, row by row: at once, and one byte at a time."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest

from core.errors import Reason
from proxy.answers import http_refusal, socks_refusal
from tests.harness.waiting import until
from tests.proxy.conformance import ASSOCIATE, CHOSEN, GREETING, REPLIES, TCP, UDP, DatagramRow, Row
from tests.proxy.harness import DatagramDialer, FailingDialer, LoopbackDialer
from tests.proxy.programs import Program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.front import Front
    from tests.proxy.harness import Client, Stage

FAILURES = [reason for reason in Reason if reason is not Reason.DONE]


@pytest.fixture
def program() -> Iterator[Program]:
    program = Program()
    yield program
    program.socket.close()


async def say(front: Front, client: Client, words: bytes, *, slowly: bool) -> None:
    """Send words at once, or each byte when the one before has been read; who is refused may not be read to the end."""
    if not slowly:
        client.send(words)
        return
    with suppress(ConnectionError):
        for number, byte in enumerate(words, 1):
            client.send(bytes([byte]))
            await client.writer.drain()
            await until(partial(_has_read, front, number))


def _has_read(front: Front, count: int) -> bool:
    """Whether the port has read so many bytes of its only client, or reads no more."""
    intake = next(iter(front._seats.intakes), None)
    return intake is None or intake._taken_bytes >= count or intake._leaving or intake.transport.is_closing()


@pytest.mark.parametrize("slowly", [False, True], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("row", TCP, ids=str)
async def test_row(stage: Stage, row: Row, *, slowly: bool) -> None:
    dialer = LoopbackDialer((await stage.site()).port)
    front = await stage.front(FailingDialer(row.reason) if row.reason else dialer, password=row.password)
    client = await stage.client(front)
    await say(front, client, row.words, slowly=slowly)
    assert await client.read(len(row.answer)) == row.answer
    if row.asked is None:
        assert await client.read_all() == b"", "refused, and closed"
        assert not dialer.requests
    else:
        client.send(b"hello")
        assert await client.read(5) == b"hello", "nothing stands before the destination's bytes"
        assert [(asked.host, asked.port, asked.isolation) for asked in dialer.requests] == [row.asked]


@pytest.mark.parametrize("row", [row for row in TCP if row.asked is not None], ids=str)
async def test_bytes_may_follow_the_request_at_once(stage: Stage, row: Row) -> None:
    front = await stage.front(LoopbackDialer((await stage.site()).port), password=row.password)
    client = await stage.client(front)
    client.send(row.words + b"hello")
    assert await client.read(len(row.answer) + 5) == row.answer + b"hello"


async def associated(front: Front, client: Client, program: Program, address: bytes, *, slowly: bool) -> None:
    await say(front, client, GREETING + b"\5\3\0" + address, slowly=slowly)
    assert await client.read(6) == CHOSEN + b"\5\0\0\1"
    program.relay = ".".join(map(str, await client.read(4))), int.from_bytes(await client.read(2))


@pytest.mark.parametrize("slowly", [False, True], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("address", [address for _, address in ASSOCIATE], ids=[says for says, _ in ASSOCIATE])
async def test_associate(stage: Stage, program: Program, address: bytes, *, slowly: bool) -> None:
    dialer = DatagramDialer()
    front = await stage.front(dialer)
    client = await stage.client(front)
    await associated(front, client, program, address, slowly=slowly)
    assert program.relay[0] == "127.0.0.1"
    program.send(UDP[0].datagram)
    await until(lambda: dialer.flows[0].sent == [UDP[0].sent])
    client.writer.write_eof()
    await until(lambda: dialer.flows[0].ended is Reason.LOCAL)


@pytest.mark.parametrize("row", UDP, ids=str)
async def test_datagram_row(stage: Stage, program: Program, row: DatagramRow) -> None:
    dialer = DatagramDialer()
    front = await stage.front(dialer)
    await associated(front, await stage.client(front), program, ASSOCIATE[0][1], slowly=False)
    program.send(row.datagram)
    program.send(UDP[0].datagram)
    await until(lambda: UDP[0].sent in dialer.flows[0].sent[-1:])
    assert dialer.flows[0].sent == [*filter(None, [row.sent]), UDP[0].sent]
    assert front.counters == ({f"datagram_{row.dropped}": 1} if row.dropped else {})


# -- the tables themselves


def test_every_reason_has_its_row_and_a_status() -> None:
    assert set(REPLIES) == set(FAILURES)
    for reason, code in REPLIES.items():
        assert socks_refusal(reason)[1] == code
        assert 400 <= int(http_refusal(reason).split()[1]) < 600


def test_every_code_of_a_reply_and_both_of_a_status_occur() -> None:
    codes = {row.answer[len(CHOSEN) + 1] for row in TCP if row.answer[: len(CHOSEN) + 1] == CHOSEN + b"\5"}
    assert codes == set(range(9))
    assert {row.answer[3] for row in TCP if row.source == "1929 2"} == {0, 1}
