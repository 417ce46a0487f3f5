"""Connecting to the first address that answers."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import socket
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from core.errors import FlowError, Reason
from core.tasks import Tasks
from exits.dial import STAGGER_S, dial, interleave, reason_for
from tests.exits.fakes import Origin, SilentListener, open_sockets_to

if TYPE_CHECKING:
    from exits.addresses import Address

HERE, SECOND, THIRD = (ip_address(f"127.22.0.{last}") for last in (1, 2, 3))


async def dial_and_close(addresses: list[Address], port: int, source: Address | None = None) -> str:
    """Dial, and tell which address answered."""
    tasks = Tasks()
    try:
        with await dial(addresses, port, source, tasks) as sock:
            assert not sock.getblocking()
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            return str(sock.getpeername()[0])
    finally:
        await tasks.cancel()


def test_families_take_turns() -> None:
    a, b, c = (ip_address(f"9.9.9.{last}") for last in (1, 2, 3))
    x, y = ip_address("2606::1"), ip_address("2606::2")
    assert interleave([a, b, c, x, y]) == [x, a, y, b, c]
    assert interleave([x, y]) == [x, y]
    assert interleave([c, a]) == [c, a]
    assert interleave([]) == []


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.ECONNREFUSED, Reason.REFUSED),
        (errno.EHOSTUNREACH, Reason.HOST_UNREACHABLE),
        (errno.ENETUNREACH, Reason.NETWORK_UNREACHABLE),
        (errno.ETIMEDOUT, Reason.TIMED_OUT),
        (errno.EMFILE, Reason.BUSY),
        (errno.ENFILE, Reason.BUSY),
        (errno.EADDRNOTAVAIL, Reason.BUSY),
        (errno.EPERM, Reason.HOST_UNREACHABLE),
        (None, Reason.HOST_UNREACHABLE),
    ],
)
def test_reasons(code: int | None, reason: Reason) -> None:
    error = OSError(code, "text") if code else OSError("text")
    assert reason_for(error) is reason


async def test_one_address() -> None:
    async with Origin() as origin:
        assert await dial_and_close([ip_address("127.0.0.1")], origin.port) == "127.0.0.1"


async def test_refused() -> None:
    async with Origin() as origin:
        port = origin.port
    for addresses in ([HERE], [HERE, SECOND, THIRD]):
        with pytest.raises(FlowError) as caught:
            await dial_and_close(addresses, port)
        assert caught.value.reason is Reason.REFUSED


async def test_an_address_that_refuses_does_not_cost_a_wait() -> None:
    async with await Origin().start(str(THIRD)) as origin:
        begin = time.monotonic()
        assert await dial_and_close([HERE, SECOND, THIRD], origin.port) == str(THIRD)
        assert time.monotonic() - begin < STAGGER_S


async def test_an_address_that_is_silent_costs_one_stagger() -> None:
    with SilentListener(str(HERE)) as silent:
        async with await Origin().start(str(SECOND), silent.port):
            begin = time.monotonic()
            assert await dial_and_close([HERE, SECOND], silent.port) == str(SECOND)
            assert STAGGER_S * 0.9 <= time.monotonic() - begin < STAGGER_S * 3
    gc.collect()  # a socket that was not closed is an error here


async def test_attempts_that_lost_are_ended() -> None:
    tasks = Tasks()
    with SilentListener(str(HERE)) as silent:
        async with await Origin().start(str(SECOND), silent.port):
            (await dial([HERE, SECOND], silent.port, None, tasks)).close()
            for _ in range(5):
                await asyncio.sleep(0)
            assert len(tasks) == 0


async def test_the_preferred_address_wins_and_is_the_only_one_asked() -> None:
    async with await Origin().start(str(HERE)) as first, await Origin().start(str(SECOND), first.port) as second:
        assert await dial_and_close([HERE, SECOND], first.port) == str(HERE)
        assert len(await first.wait_clients(1)) == 1
        assert second.clients == []


async def test_ipv6_first_and_ipv4_behind() -> None:
    try:
        origin = await Origin().start("::1")
    except OSError:
        pytest.skip("this machine has no IPv6 loopback address")
    loopback = [ip_address("::1"), ip_address("127.0.0.1")]
    async with origin, await Origin().start("127.0.0.1", origin.port):
        assert await dial_and_close(loopback, origin.port) == "::1"
    async with Origin() as only_v4:
        assert await dial_and_close(loopback, only_v4.port) == "127.0.0.1"


async def test_most_telling_reason_wins() -> None:
    async with Origin() as origin:
        port = origin.port
    no_route = ip_address("fe80::1")  # link-local without a link
    with pytest.raises(FlowError) as caught:
        await dial_and_close([no_route, HERE], port)
    assert caught.value.reason is Reason.REFUSED


async def test_source_address() -> None:
    async with Origin() as origin:
        assert await dial_and_close([ip_address("127.0.0.1")], origin.port, HERE) == "127.0.0.1"
        assert await dial_and_close([ip_address("127.0.0.1")], origin.port, ip_address("::1")) == "127.0.0.1"
        assert await origin.wait_clients(2) == [str(HERE), "127.0.0.1"]


async def test_source_address_of_another_machine() -> None:
    async with Origin() as origin:
        with pytest.raises(FlowError) as caught:
            await dial_and_close([ip_address("127.0.0.1")], origin.port, ip_address("192.0.2.77"))
        assert caught.value.reason is Reason.BUSY
        assert origin.clients == []


@pytest.mark.parametrize("count", [1, 3])
async def test_cancelling_leaves_nothing(count: int) -> None:
    with SilentListener(str(HERE)) as silent:
        tasks = Tasks()
        addresses = [HERE] * count
        dialling = asyncio.create_task(dial(addresses, silent.port, None, tasks))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(dialling), STAGGER_S * 1.5)
        assert len(tasks) == (0 if count == 1 else 2)
        dialling.cancel()
        await asyncio.gather(dialling, return_exceptions=True)
        await tasks.cancel()
        assert len(tasks) == 0
    gc.collect()


async def test_cancelling_at_any_moment_leaves_no_socket() -> None:
    async with await Origin().start(str(HERE)) as first, await Origin().start(str(SECOND), first.port):
        for rounds in range(12):
            tasks = Tasks()
            dialling = asyncio.create_task(dial([THIRD, HERE, SECOND], first.port, None, tasks))
            for _ in range(rounds):
                await asyncio.sleep(0)
            dialling.cancel()
            for result in await asyncio.gather(dialling, return_exceptions=True):
                if isinstance(result, socket.socket):
                    result.close()
            await tasks.cancel()
    gc.collect()
    assert open_sockets_to(first.port) == 0


async def test_each_address_is_asked_about_when_it_is_dialled() -> None:
    """The second one is allowed when the first is dialled, and is not any more when its turn comes."""
    inside: set[Address] = set()
    asked: list[Address] = []

    def may_dial(address: Address) -> bool:
        asked.append(address)
        inside.add(SECOND)
        return address not in inside or address == HERE

    tasks = Tasks()
    with SilentListener(str(HERE)) as silent:
        origins = [await Origin().start(str(address), silent.port) for address in (SECOND, THIRD)]
        async with origins[0] as second, origins[1] as third:
            (await dial([HERE, SECOND, THIRD], silent.port, None, tasks, may_dial)).close()
            assert asked == [HERE, SECOND, THIRD]
            assert second.clients == []
            assert len(await third.wait_clients(1)) == 1
    await tasks.cancel()
    gc.collect()


async def test_nothing_is_dialled_when_no_address_may_be() -> None:
    tasks = Tasks()
    async with await Origin().start(str(HERE)) as origin:
        for addresses in ([HERE], [HERE, SECOND]):
            with pytest.raises(FlowError) as caught:
                await dial(addresses, origin.port, None, tasks, lambda address: False)
            assert caught.value.reason is Reason.NOT_ALLOWED
        assert origin.clients == []
