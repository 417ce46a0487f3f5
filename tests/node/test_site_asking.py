"""Asking a site what it sees: through the tunnel or not at all, and no more of its answer than is shown."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from core.errors import Reason
from node import site_asking
from node.site_asking import MAX_TEXT_BYTES, SiteAskError, ask_site
from pac.rules import RuleSet, parse_rules
from tests.proxy.harness import FailingDialer, LoopbackDialer, Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.front import Front

URL = "http://site.example/ip"


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with Stage() as stage:
        yield stage


def parts(front: Front | None, *rules: str) -> Any:
    return SimpleNamespace(front=front, rules=RuleSet(parse_rules(rules)))


class Answering:
    """A site that says the same to everybody, and keeps what it was asked."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self.asked = b""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked = await reader.readuntil(b"\r\n\r\n")
        writer.write(self._answer)
        await writer.drain()


def answer(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


@pytest.mark.parametrize("password", ["", "secret"])
async def test_it_goes_over_the_local_port_as_a_browser_does(stage: Stage, password: str) -> None:
    site = Answering(answer(b"192.0.2.7\n"))
    dialer = LoopbackDialer((await stage.site(site)).port)
    front = await stage.front(dialer, password=password or None)
    found = await ask_site(URL, parts(front), password)
    assert found == {"status": 200, "text": "192.0.2.7\n", "cut": False}
    (request,) = dialer.requests
    assert (request.host, request.port, request.isolation) == ("site.example", 80, "")
    head = site.asked.lower()
    assert not any(word in head for word in (b"cookie", b"user-agent", b"aiohttp", b"python", b"authorization"))


async def test_no_more_is_taken_than_is_shown(stage: Stage) -> None:
    site = await stage.site(Answering(answer(b"\x1b[2J" + b"x" * (1 << 20))))
    found = await ask_site(URL, parts(await stage.front(LoopbackDialer(site.port))), "")
    assert (len(found["text"]), found["cut"]) == (MAX_TEXT_BYTES, True)
    assert found["text"].startswith(" [2Jx")


async def test_compressed_answers_stay_so(stage: Stage) -> None:
    site = await stage.site(Answering(answer(b"\x1f\x8b\x08", more="Content-Encoding: gzip\r\n")))
    found = await ask_site(URL, parts(await stage.front(LoopbackDialer(site.port))), "")
    assert len(found["text"]) == 3


async def test_redirections_are_told_and_not_followed(stage: Stage) -> None:
    site = await stage.site(Answering(answer(b"", "302 Found", "Location: http://127.0.0.1:9/\r\n")))
    dialer = LoopbackDialer(site.port)
    found = await ask_site(URL, parts(await stage.front(dialer)), "")
    assert (found["status"], len(dialer.requests)) == (302, 1)


@pytest.mark.parametrize(
    ("rules", "word"),
    [
        (["site.example"], "past the tunnel"),
        (["block site.example"], "blocks"),
        (["http://site.example"], "past the tunnel"),
    ],
)
async def test_what_a_rule_sends_elsewhere_is_not_asked(stage: Stage, rules: list[str], word: str) -> None:
    dialer = LoopbackDialer()
    front = await stage.front(dialer, RuleSet(parse_rules(rules)))
    with pytest.raises(SiteAskError, match=word):
        await ask_site(URL, parts(front, *rules), "")
    assert not dialer.requests
    assert not front.counters


async def test_on_a_trusted_network_nothing_is_asked(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.trusted.check_device", lambda device: None)
    front = await stage.front(LoopbackDialer())
    front.trusted.open("lo")
    with pytest.raises(SiteAskError, match="trust this network"):
        await ask_site(URL, parts(front), "")


@pytest.mark.parametrize("url", [URL, "https://site.example/ip"])
async def test_the_ports_own_pages_are_no_answer(stage: Stage, url: str) -> None:
    front = await stage.front(FailingDialer(Reason.NO_PATH))
    with pytest.raises(SiteAskError, match="could not be reached through the tunnel"):
        await ask_site(url, parts(front), "")


async def test_a_site_that_says_nothing_is_not_waited_for_without_end(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()

    monkeypatch.setattr(site_asking, "LIMIT_S", 0.3)
    front = await stage.front(LoopbackDialer((await stage.site(silent)).port))
    with pytest.raises(SiteAskError, match="did not answer"):
        await ask_site(URL, parts(front), "")
    over.set()


@pytest.mark.parametrize(
    "url",
    [
        *("", "site.example", "ftp://site.example/", "file:///etc/passwd", "http://", "http:///x", "javascript:1"),
        *("http://me@site.example/", "http://site.example:0/", "http://site.example:99999/", "http://[::1/"),
        f"http://site.example/{'x' * 2048}",
    ],
)
async def test_what_is_no_address_of_a_site(stage: Stage, url: str) -> None:
    dialer = LoopbackDialer()
    with pytest.raises(SiteAskError, match="no address of a site"):
        await ask_site(url, parts(await stage.front(dialer)), "")
    assert not dialer.requests


async def test_a_node_without_a_port() -> None:
    with pytest.raises(SiteAskError, match="has no proxy"):
        await ask_site(URL, parts(None), "")
