"""curl, as somebody else's idea of SOCKS5 and of an HTTP proxy."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import pytest

from core.errors import Reason
from tests.proxy.harness import FailingDialer, LoopbackDialer
from tests.proxy.test_front import serve_http

if TYPE_CHECKING:
    from tests.proxy.harness import Stage

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


async def curl(*words: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        "curl", "-s", "--noproxy", "", "--max-time", "10", *words, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


@pytest.mark.parametrize("words", [("--socks5-hostname",), ("-x",), ("-p", "-x")])
async def test_curl_gets_a_page(stage: Stage, words: tuple[str, ...]) -> None:
    site = await stage.site(serve_http)
    dialer = LoopbackDialer(site.port)
    front = await stage.front(dialer)
    host, port = front.address
    code, out = await curl(*words, f"{host}:{port}", "http://site.example:8080/a?b", "-d", "hello")
    assert code == 0
    assert out.startswith("POST /a?b HTTP/1.1\r\n")
    assert out.endswith("hello")
    assert (dialer.requests[0].host, dialer.requests[0].port) == ("site.example", 8080)


async def test_curl_sends_its_user_name(stage: Stage) -> None:
    site = await stage.site(serve_http)
    dialer = LoopbackDialer(site.port)
    front = await stage.front(dialer, password="word")
    host, port = front.address
    for scheme in ("socks5h", "http"):
        code, _ = await curl("-x", f"{scheme}://key:word@{host}:{port}", "http://site.example/")
        assert code == 0
        code, out = await curl("-x", f"{scheme}://key:wrong@{host}:{port}", "http://site.example/")
        assert code == 97 if scheme == "socks5h" else "407" in out
    assert [request.isolation for request in dialer.requests] == ["key", "key"]


async def test_curl_keeps_its_connection(stage: Stage) -> None:
    site = await stage.site(serve_http)
    dialer = LoopbackDialer(site.port)
    front = await stage.front(dialer)
    host, port = front.address
    told = ("-o", "/dev/null", "-w", "%{num_connects} ")
    urls = ("http://a.example/", "http://b.example/", "http://a.example/x")
    code, out = await curl("-x", f"{host}:{port}", *(word for url in urls for word in (*told, url)), "-d", "hello")
    assert (code, out.split()) == (0, ["1", "0", "0"])
    assert [request.host for request in dialer.requests] == ["a.example", "b.example", "a.example"]


async def test_curl_shows_the_reason(stage: Stage) -> None:
    front = await stage.front(FailingDialer(Reason.NO_PATH))
    host, port = front.address
    code, out = await curl("-i", "-x", f"{host}:{port}", "http://site.example/")
    assert (code, out.splitlines()[0]) == (0, "HTTP/1.1 503 Service Unavailable")
    assert "so nothing was sent" in out
    code, _ = await curl("--socks5-hostname", f"{host}:{port}", "http://site.example/")
    assert code == 97, "a proxy handshake error"


async def test_curl_gets_the_pac_script(stage: Stage) -> None:
    front = await stage.front(FailingDialer(Reason.NO_PATH))
    assert await curl(front.pac_url) == (0, front.pac_text)
