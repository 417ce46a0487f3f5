"""SOCKS5 words, byte by byte."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import socks
from proxy.ask import Answer, Ask, Associate
from tests.proxy.harness import by_name

NO_AUTH = b"\x01\x00"
GENERAL, HOST, COMMAND, ADDRESS_TYPE = 1, 4, 7, 8


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


def reply(heard: socks.Heard) -> int:
    assert isinstance(heard, Answer)
    assert len(heard.data) == 10
    return heard.data[1]


@pytest.mark.parametrize(
    ("address", "found"),
    [
        (b"\x01\x0a\x00\x00\x01\x01\xbb", ("10.0.0.1", 443, "")),
        (b"\x04" + bytes(15) + b"\x01\x00\x50", ("::1", 80, "")),
        (by_name("Example.com", 65535), ("example.com", 65535, "")),
        (by_name("a" * 255, 1), ("a" * 255, 1, "")),
        (by_name("10.0.0.1", 1), ("10.0.0.1", 1, "")),
    ],
)
@pytest.mark.parametrize("slowly", [False, True])
async def test_connect(address: bytes, found: tuple[str, int, str], *, slowly: bool) -> None:
    heard, sent = await hear(NO_AUTH + b"\x05\x01\x00" + address, slowly=slowly)
    assert wish(heard) == found
    assert sent == b"\x05\x00"
    assert isinstance(heard, Ask)
    assert heard.granted == b"\x05\x00\x00\x01" + bytes(6)


async def test_user_name_is_the_isolation_key_and_is_preferred() -> None:
    words = b"\x02\x00\x02" + b"\x01\x06Jos\xc3\xa9!\x03any" + b"\x05\x01\x00" + by_name("a.example", 80)
    heard, sent = await hear(words)
    assert wish(heard) == ("a.example", 80, "José!")
    assert sent == b"\x05\x02\x01\x00"


async def test_password_is_required_once_configured() -> None:
    request = b"\x05\x01\x00" + by_name("a.example", 80)
    heard, sent = await hear(b"\x01\x02" + b"\x01\x01u\x06secret" + request, "secret")
    assert wish(heard) == ("a.example", 80, "u")
    for words in (b"\x01\x01u\x05wrong", b"\x01\x00\x00", b"\x01\x01u\x07secrets"):
        heard, sent = await hear(b"\x02\x00\x02" + words + request, "secret")
        assert isinstance(heard, Answer)
        assert (sent, heard.data, heard.word) == (b"\x05\x02", b"\x01\x01", "unauthorized")
    heard, sent = await hear(NO_AUTH + request, "secret")
    assert isinstance(heard, Answer)
    assert (sent, heard.data) == (b"", b"\x05\xff")


@pytest.mark.parametrize("methods", [b"\x00", b"\x01\x01", b"\x02\x01\x80"])
async def test_no_acceptable_method(methods: bytes) -> None:
    heard, sent = await hear(methods)
    assert isinstance(heard, Answer)
    assert (sent, heard.data) == (b"", b"\x05\xff")


@pytest.mark.parametrize("words", [b"\x05\x01u\x01p", b"\x01\x02\xff\xfe\x01p"])
async def test_malformed_password_words(words: bytes) -> None:
    heard, _ = await hear(b"\x01\x02" + words)
    assert isinstance(heard, Answer)
    assert heard.data == b"\x01\x01"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"\x04\x01\x00" + by_name("a", 1), GENERAL),
        (b"\x05\x02\x00" + by_name("a", 1), COMMAND),
        (b"\x05\x03\x00\x02" + bytes(9), ADDRESS_TYPE),
        (b"\x05\x03\x00\x03\x02\xc3\xa9\x00\x50", HOST),
        (b"\x05\x00\x00" + by_name("a", 1), COMMAND),
        (b"\x05\xff\x00\x09", COMMAND),
        (b"\x05\x01\x00\x02" + bytes(9), ADDRESS_TYPE),
        (b"\x05\x01\x00\x00" + bytes(9), ADDRESS_TYPE),
        (b"\x05\x01\x00" + by_name("a", 0), GENERAL),
        (b"\x05\x01\x00\x03\x00\x00\x50", HOST),
        (b"\x05\x01\x00\x03\x02\xc3\xa9\x00\x50", HOST),
        (b"\x05\x01\x00" + by_name("a b", 80), HOST),
        (b"\x05\x01\x00" + by_name("a\0b", 80), HOST),
        (b"\x05\x01\x00" + by_name("a\r\nb", 80), HOST),
        (b"\x05\x01\x00" + by_name("http://a", 80), HOST),
    ],
)
async def test_refused_request(request_: bytes, code: int) -> None:
    heard, _ = await hear(NO_AUTH + request_)
    assert reply(heard) == code


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
