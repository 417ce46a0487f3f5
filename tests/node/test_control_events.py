"""Server-sent events of the control interface, over real HTTP."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from node.control import events
from node.control.events import MAX_LISTENERS
from tests.harness.waiting import until
from tests.node.test_control import Rig, rig
from tests.node.test_control_access import CHROMIUM, bearing, page, paired

if TYPE_CHECKING:
    from aiohttp import ClientResponse

__all__ = ["rig"]

LIMIT_S = 10.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "TICK_S", 0.02)


async def listen(rig: Rig, stack: AsyncExitStack, headers: dict[str, str] | None = None) -> ClientResponse:
    session = await stack.enter_async_context(rig.session())
    return await stack.enter_async_context(
        session.get(f"{rig.control.url}/v1/events", headers=headers or bearing(rig.token))
    )


async def event(answer: ClientResponse) -> tuple[str, dict[str, Any]]:
    """The next event's name and data; an empty name at the end."""
    async with asyncio.timeout(LIMIT_S):
        if not (name := await answer.content.readline()):
            return "", {}
        data, blank = await answer.content.readline(), await answer.content.readline()
    assert (name[:7], data[:6], blank) == (b"event: ", b"data: ", b"\n")
    return name[7:].decode().strip(), json.loads(data[6:])


async def named(answer: ClientResponse, name: str) -> dict[str, Any]:
    """The data of the next event of that name."""
    while (found := await event(answer))[0] != name:
        assert found[0], "the stream ended"
    return found[1]


async def test_the_status_comes_at_once_and_when_it_changes(rig: Rig) -> None:
    async with AsyncExitStack() as stack:
        answer = await listen(rig, stack)
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        assert await event(answer) == ("status", {"state": "up"})
        assert await event(answer) == ("second", rig.node.second())
        rig.node.facts = {"state": "blocked"}
        assert await named(answer, "status") == {"state": "blocked"}
        rig.node.facts = {"state": "blocked", "speed": {}, "late_ms": 5}
        seen = [(await event(answer))[0] for _ in range(3)]
        assert seen == ["second"] * 3, "speed alone is no change"


async def test_a_paired_extension_and_a_page_listen_until_they_are_sent_away(rig: Rig) -> None:
    pairing, token = await paired(rig), await page(rig)
    async with AsyncExitStack() as stack:
        one, two = (
            await listen(rig, stack, bearing(pairing["token"], CHROMIUM)),
            await listen(rig, stack, bearing(token)),
        )
        for answer in (one, two):
            await named(answer, "status")
        body = json.dumps({"id": pairing["id"]}).encode()
        assert (await rig.ask("DELETE", "/v1/pairings", data=body))[0] == 200
        while (await event(one))[0]:
            pass
        await named(two, "second")
        await rig.control.stop()
        while (await event(two))[0]:
            pass


async def test_seventeen_are_too_many(rig: Rig) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(MAX_LISTENERS):
            first = await listen(rig, stack)
            assert first.status == 200
        refused = await listen(rig, stack)
        assert refused.status == 429
        assert "listen already" in (await refused.json())["error"]
        await named(first, "second")
    async with asyncio.timeout(LIMIT_S), AsyncExitStack() as stack:
        while (await listen(rig, stack)).status != 200:
            pass  # those who left are missed at the next event


async def test_a_slow_listener_is_dropped_and_keeps_nobody(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.node.facts = {"state": "up", "filling": "x" * 50_000, "count": 0}
    loop = asyncio.get_running_loop()
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.setblocking(False)
        await loop.sock_connect(slow, ("127.0.0.1", rig.port))
        head = f"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1:{rig.port}\r\nAuthorization: Bearer {rig.token}\r\n\r\n"
        await loop.sock_sendall(slow, head.encode())
        await until(lambda: len(rig.control.events) == 1)
        async with AsyncExitStack() as stack:
            quick = await listen(rig, stack)
            told = (await named(quick, "status"))["count"]
            assert len(rig.control.events) == 2
            while len(rig.control.events) == 2:
                rig.node.facts = rig.node.facts | {"count": told + 1}
                told = (await named(quick, "status"))["count"]
                assert told < 40, "some tens of events fill all that is held for who does not read"
            assert told > 2, "what can be held for it is held"
            await named(quick, "second")
        assert await read_on(slow) < told * 50_000, "it got the beginning, and then the end"
    assert not caplog.records


async def read_on(sock: socket.socket) -> int:
    """Count what comes until the end."""
    count = 0
    async with asyncio.timeout(LIMIT_S):
        while part := await asyncio.get_running_loop().sock_recv(sock, 1 << 16):
            count += len(part)
    return count


async def test_nobody_listens_nobody_looks(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    def second() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {}

    monkeypatch.setattr(rig.node, "second", second)
    async with AsyncExitStack() as stack:
        await named(await listen(rig, stack), "second")
    await until(lambda: not rig.control.events.looking)
    seen = asked
    async with AsyncExitStack() as stack:
        await named(await listen(rig, stack), "status")
        await named(await listen(rig, stack), "second")
    assert asked > seen, "it looks again when somebody comes"
