"""Python's libraries as clients of a proxy. Each prints what it got, and loads no other.

python -m tests.harness.python_clients CLIENT PROXY URL
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT_S: Final = 10.0
MESSAGE: Final = "to an echo"


def _requests(proxy: str, url: str) -> str:
    import requests

    return requests.get(url, proxies={"http": proxy, "https": proxy}, timeout=LIMIT_S).text


def _httpx(proxy: str, url: str) -> str:
    import httpx

    return httpx.get(url, proxy=proxy, timeout=LIMIT_S).text


def _httpx_socks(proxy: str, url: str) -> str:
    import httpx
    import httpx_socks

    with httpx.Client(transport=httpx_socks.SyncProxyTransport.from_url(proxy), timeout=LIMIT_S) as client:
        return client.get(url).text


def _urllib(proxy: str, url: str) -> str:
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
    with opener.open(url, timeout=LIMIT_S) as response:
        return str(response.read().decode())


def _aiohttp(proxy: str, url: str) -> str:
    import aiohttp

    async def fetch() -> str:
        async with aiohttp.request("GET", url, proxy=proxy) as response:
            return await response.text()

    return asyncio.run(asyncio.wait_for(fetch(), LIMIT_S))


def _aiohttp_socks(proxy: str, url: str) -> str:
    import aiohttp
    import aiohttp_socks

    async def fetch() -> str:
        connector = aiohttp_socks.ProxyConnector.from_url(proxy)
        async with aiohttp.request("GET", url, connector=connector) as response:
            return await response.text()

    return asyncio.run(asyncio.wait_for(fetch(), LIMIT_S))


def _websockets(proxy: str, url: str) -> str:
    """Not by `websockets.sync`, which hangs over TLS now and then, also without a proxy: see `docs/clients.md`."""
    from websockets.asyncio.client import connect

    async def echo() -> str:
        async with connect(url, proxy=proxy) as socket:
            await socket.send(MESSAGE)
            return str(await socket.recv())

    return asyncio.run(asyncio.wait_for(echo(), LIMIT_S))


def _aiohttp_websocket(proxy: str, url: str) -> str:
    import aiohttp

    async def echo() -> str:
        async with aiohttp.ClientSession() as session, session.ws_connect(url, proxy=proxy) as socket:
            await socket.send_str(MESSAGE)
            return await socket.receive_str()

    return asyncio.run(asyncio.wait_for(echo(), LIMIT_S))


def _pysocks(proxy: str, url: str) -> str:
    """Send a datagram to `udp://HOST:PORT`."""
    from tests.harness.associations import pysocks

    target = urlsplit(url)
    with pysocks(urlsplit(proxy).netloc) as sock:
        sock.sendto(MESSAGE.encode(), (target.hostname, target.port))
        return sock.recv(1 << 16).decode()


CLIENTS: Final[dict[str, Callable[[str, str], str]]] = {
    "requests": _requests,
    "httpx": _httpx,
    "httpx-socks": _httpx_socks,
    "Python": _urllib,
    "aiohttp": _aiohttp,
    "aiohttp-socks": _aiohttp_socks,
    "websockets": _websockets,
    "aiohttp-websocket": _aiohttp_websocket,
    "PySocks": _pysocks,
}
"""By the names of their distributions, or what they begin with; Python's own is `urllib.request`."""

if __name__ == "__main__":
    name, proxy, url = sys.argv[1:]
    print(CLIENTS[name](proxy, url))
