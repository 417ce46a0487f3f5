"""What is understood of SOCKS5 words; `test_conformance` tries each sentence of the RFCs."""

from __future__ import annotations

import asyncio
import hmac

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import socks
from proxy.ask import Answer, Ask, Associate
from tests.proxy.harness import by_name

NO_AUTH = b"\x01\x00"


async def hear(data: bytes, password: str | None = None, *, slowly: bool = False) -> tuple[socks.Heard, bytes]:
    """Say all bytes after the version and hang up. Returns what was understood and what was sent meanwhile."""
    reader, sent = asyncio.StreamReader(), bytearray()

    async def say() -> None:
        for at in range(len(data)):
            reader.feed_data(data[at : at + 1])
            await asyncio.sleep(0)
        reader.feed_eof()

    if slowly:
        async with asyncio.TaskGroup() as group:
            group.create_task(say())
            return await socks.hear(reader, sent.extend, password), bytes(sent)
    reader.feed_data(data)
    reader.feed_eof()
    return await socks.hear(reader, sent.extend, password), bytes(sent)


def wish(heard: socks.Heard) -> tuple[str, int, str]:
    assert isinstance(heard, Ask)
    return heard.request.host, heard.request.port, heard.request.isolation


async def test_passwords_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(given: bytes, password: bytes) -> bool:
        compared.append((given, password))
        return given == password

    monkeypatch.setattr(hmac, "compare_digest", compare)
    words = b"\x01\x02\x01\x01u\x05wrong"
    heard, _ = await hear(words, "secret")
    assert isinstance(heard, Answer)
    assert heard.word == "unauthorized"
    assert compared == [(b"wrong", b"secret")]


@pytest.mark.parametrize(
    ("address", "port"),
    [
        (b"\x01\x00\x00\x00\x00\x00\x00", 0),
        (b"\x01\x7f\x00\x00\x01\x00\x09", 9),
        (b"\x04" + bytes(16) + b"\xff\xff", 65535),
        (by_name("0", 9), 9),  # PySocks
        (by_name("not a host", 0), 0),
        (b"\x03\x00\x00\x00", 0),
    ],
)
@pytest.mark.parametrize("slowly", [False, True])
async def test_associate(address: bytes, port: int, *, slowly: bool) -> None:
    words = b"\x01\x02\x01\x01u\x01p\x05\x03\x00" + address
    heard, _ = await hear(words, slowly=slowly)
    assert heard == Associate("u", port)


async def test_https_is_assumed_on_its_port_alone() -> None:
    for port, scheme in ((443, "https"), (80, None), (8443, None)):
        heard, _ = await hear(NO_AUTH + b"\x05\x01\x00" + by_name("a", port))
        assert isinstance(heard, Ask)
        assert heard.scheme == scheme


async def test_cut_at_every_byte() -> None:
    words = b"\x02\x00\x02" + b"\x01\x04user\x04word" + b"\x05\x01\x00" + by_name("a.example", 80)
    for end in range(len(words)):
        with pytest.raises(asyncio.IncompleteReadError):
            await hear(words[:end])
    assert wish((await hear(words))[0]) == ("a.example", 80, "user")


@given(st.binary(max_size=600), st.none() | st.just("secret"))
@settings(max_examples=300, deadline=None)
def test_any_bytes_end_as_documented(data: bytes, password: str | None) -> None:
    async def run() -> None:
        try:
            heard, _ = await hear(data, password)
        except asyncio.IncompleteReadError:
            return
        assert isinstance(heard, Ask | Associate | Answer)

    asyncio.run(run())
