"""When "granted" is said early, and what a client sees when it was said too early."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from core.errors import Reason
from core.flow import FlowRequest
from proxy import early as module
from proxy.early import REMEMBERED_S, Earliness
from tests.harness.network import chain, far_apart
from tests.harness.wire import Board
from tests.proxy.harness import LIMIT_S, FarDialer, until

if TYPE_CHECKING:
    from proxy.front import Front
    from tests.proxy.harness import Client, Stage

SITE = FlowRequest("site.example", 443)
KEY = bytes(range(16))


# -- the rule


@pytest.mark.parametrize(
    ("mode", "port", "allowed"),
    [
        ("auto", 443, True),
        ("auto", 80, True),
        ("auto", 22, False),
        ("auto", 25, False),
        ("always", 443, True),
        ("always", 22, True),
        ("never", 443, False),
    ],
)
def test_where_it_is_worth_something(mode: module.EarlyMode, port: int, allowed: bool) -> None:
    assert Earliness(mode, KEY).allows(FlowRequest("site.example", port), 0.0, promises=True) is allowed


@pytest.mark.parametrize("mode", ["auto", "always", "never"])
def test_without_a_promise_neither_port_nor_failure_matters(mode: module.EarlyMode) -> None:
    early, request = Earliness(mode, KEY), FlowRequest("site.example", 22)
    early.refused(request, 0.0)
    assert early.allows(request, 1.0, promises=False)


@pytest.mark.parametrize("mode", ["auto", "always"])
def test_what_failed_lately_is_waited_for(mode: module.EarlyMode) -> None:
    early = Earliness(mode, KEY)
    early.refused(SITE, 100.0)
    assert not early.allows(SITE, 99.0 + REMEMBERED_S, promises=True)
    assert early.allows(SITE, 100.0 + REMEMBERED_S, promises=True)


@pytest.mark.parametrize(
    "other",
    [FlowRequest("site.example", 80), FlowRequest("other.example", 443), FlowRequest("site.example", 443, "key")],
)
def test_a_failure_is_remembered_for_one_place(other: FlowRequest) -> None:
    early = Earliness("auto", KEY)
    early.refused(SITE, 0.0)
    assert early.allows(other, 1.0, promises=True)


def test_what_was_opened_again_is_forgiven() -> None:
    early = Earliness("auto", KEY)
    early.refused(SITE, 0.0)
    early.opened(SITE)
    early.opened(SITE)
    assert early.allows(SITE, 1.0, promises=True)


@pytest.mark.parametrize("reason", list(Reason))
def test_which_ends_mean_that_it_was_not_opened(reason: Reason) -> None:
    early = Earliness("auto", KEY)
    early.ended(SITE, reason, 0.0)
    failed = not early.allows(SITE, 1.0, promises=True)
    assert failed is (reason not in (Reason.DONE, Reason.LOCAL, Reason.RESET))


def test_failures_are_bounded_and_the_newest_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REMEMBERED", 3)
    early = Earliness("auto", KEY)
    hosts = [FlowRequest(f"{place}.example", 443) for place in range(4)]
    for place in (0, 1, 2, 0):
        early.refused(hosts[place], 0.0)
    for place in (2, 0):
        early.refused(hosts[place], 1.0)
    assert [not early.allows(host, 2.0, promises=True) for host in hosts] == [True, True, True, False]
    early.refused(hosts[3], 2.0)
    assert [not early.allows(host, 2.0, promises=True) for host in hosts] == [True, False, True, True]


def test_no_name_is_held() -> None:
    early = Earliness("auto", KEY)
    early.refused(SITE, 0.0)
    assert "site" not in repr(vars(early))
    other = Earliness("auto", bytes(16))
    other.refused(SITE, 0.0)
    assert not early._failures.keys() & other._failures.keys()


# -- at the port


async def _sends_early(stage: Stage, front: Front, dialer: FarDialer, port: int = 443) -> Client:
    client = await stage.client(front)
    assert await client.socks("site.example", port) == 0
    client.send(b"first words")
    await until(lambda: dialer.flows[-1].written == b"first words")
    return client


async def test_bytes_travel_before_the_exit_has_connected(stage: Stage) -> None:
    dialer = FarDialer()
    client = await _sends_early(stage, await stage.front(dialer), dialer)
    listener = dialer.flows[0].heard
    listener.flow_data(b"answer")
    assert await client.read(6) == b"answer"


async def _is_reset(client: Client) -> bool:
    async with asyncio.timeout(LIMIT_S):
        try:
            await client.reader.read()
        except ConnectionResetError:
            return True
    return False


@pytest.mark.parametrize("reason", [Reason.REFUSED, Reason.NO_NAME, Reason.CLOSED])
async def test_a_failure_after_granted_is_a_reset_and_then_a_precise_reply(stage: Stage, reason: Reason) -> None:
    dialer = FarDialer(reason)
    front = await stage.front(dialer)
    client = await _sends_early(stage, front, dialer)
    listener = dialer.flows[0].heard
    listener.flow_closed(reason)
    assert await _is_reset(client)
    assert front.counters == {reason.word: 1}
    assert await (await stage.client(front)).socks("site.example", 443) != 0
    page = await (await stage.client(front)).asks(b"CONNECT site.example:443 HTTP/1.1\r\nHost: site.example\r\n\r\n")
    assert f"\r\nX-MacroVPN-Reason: {reason.word}\r\n".encode() in page
    assert len(dialer.flows) == 1
    dialer.reason = None
    assert await (await stage.client(front)).socks("site.example", 443) == 0
    dialer.reason = reason
    await _sends_early(stage, front, dialer)


async def test_a_connection_that_answered_is_no_failure(stage: Stage) -> None:
    dialer = FarDialer(Reason.REFUSED)
    front = await stage.front(dialer)
    client = await _sends_early(stage, front, dialer)
    listener = dialer.flows[0].heard
    listener.flow_data(b"answer")
    assert await client.read(6) == b"answer"
    listener.flow_closed(Reason.CLOSED)
    assert await client.read_all() == b""
    await _sends_early(stage, front, dialer)


async def test_where_the_server_speaks_first_the_reply_is_precise(stage: Stage) -> None:
    front = await stage.front(FarDialer(Reason.REFUSED))
    assert await (await stage.client(front)).socks("site.example", 22) == 5


async def test_never(stage: Stage) -> None:
    front = await stage.front(FarDialer(Reason.REFUSED), early="never")
    assert await (await stage.client(front)).socks("site.example", 443) == 5


@pytest.mark.parametrize(
    ("reason", "status"), [(Reason.REFUSED, b"502"), (Reason.TIMED_OUT, b"504"), (Reason.CLOSED, b"503")]
)
async def test_plain_http_is_early_and_always_names_the_reason(stage: Stage, reason: Reason, status: bytes) -> None:
    dialer = FarDialer(reason)
    front = await stage.front(dialer, early="never")
    for _ in range(2):
        client = await stage.client(front)
        client.send(b"GET http://site.example/ HTTP/1.1\r\nHost: site.example\r\n\r\n")
        await until(lambda: bool(dialer.flows) and dialer.flows[-1].listener is not None)
        assert dialer.flows[-1].written.startswith(b"GET / HTTP/1.1\r\n")
        dialer.flows.pop().heard.flow_closed(reason)
        page = await client.read_all()
        assert page.startswith(b"HTTP/1.1 " + status)
        assert f"\r\nX-MacroVPN-Reason: {reason.word}\r\n".encode() in page
    assert front.counters == {reason.word: 2}


# -- with a tunnel


async def test_over_real_circuits(stage: Stage) -> None:
    async with chain(2, Board().engine) as (_, client, exit_):
        front = await stage.front(client.pool, early="always")
        browser = await stage.client(front)
        assert await browser.socks("echo.example", 443) == 0
        browser.send(b"hello")
        assert await browser.read(5) == b"hello"
        refused = await stage.client(front)
        assert await refused.socks("refused.example", 443) == 0
        assert await _is_reset(refused)
        assert await (await stage.client(front)).socks("refused.example", 443) == 5
        page = await (await stage.client(front)).asks(b"GET http://refused.example/ HTTP/1.1\r\nHost: a\r\n\r\n")
        assert page.startswith(b"HTTP/1.1 502 ")
        assert [host for host, _ in exit_.asked].count("refused.example") == 3


@pytest.mark.parametrize(("early", "trips"), [("auto", 1), ("never", 2)])
async def test_trips_to_the_first_byte(stage: Stage, early: module.EarlyMode, trips: int) -> None:
    async with far_apart() as (client, trip_s):
        front = await stage.front(client.pool, early=early)
        browser = await stage.client(front)
        loop = asyncio.get_running_loop()
        start = loop.time()
        assert await browser.socks("echo.example", 443) == 0
        browser.send(b"hello")
        assert await browser.read(5) == b"hello"
        # Some loops' clocks count whole milliseconds.
        assert trips - 0.05 < (loop.time() - start) / trip_s < trips + 0.7
