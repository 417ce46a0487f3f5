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
from exits.dial import LATE_S, STAGGER_S, dial, reason_for
from exits.families import LOST_RACES, Families
from tests.exits.fakes import Origin, SilentListener, open_sockets_to

if TYPE_CHECKING:
    from collections.abc import Awaitable

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
    with SilentListener("0.0.0.0") as silent:
        tasks = Tasks()
        addresses = [HERE, SECOND, THIRD][:count]
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


# -- addresses that are refused, or come late


def late_addresses() -> asyncio.Future[list[Address]]:
    return asyncio.get_running_loop().create_future()


async def reason_of(dialling: Awaitable[socket.socket]) -> Reason:
    with pytest.raises(FlowError) as caught:
        await dialling
    return caught.value.reason


async def first_attempt(tasks: Tasks) -> None:
    """Wait until an attempt runs."""
    while not len(tasks):  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0)


async def test_each_address_is_checked_when_its_turn_comes() -> None:
    """What was allowed when it was resolved can be forbidden when it is dialled."""
    asked: list[Address] = []

    def allowed(address: Address) -> bool:
        asked.append(address)
        return address == THIRD

    async with await Origin().start(str(HERE)) as first, await Origin().start(str(THIRD), first.port):
        tasks = Tasks()
        with await dial([HERE, SECOND, THIRD, HERE], first.port, None, tasks, allowed=allowed) as sock:
            assert sock.getpeername()[0] == str(THIRD)
        assert asked == [HERE, SECOND, THIRD]
        assert await reason_of(dial([HERE], first.port, None, tasks, allowed=allowed)) is Reason.NOT_ALLOWED
        assert first.clients == []


async def test_the_check_comes_late_enough() -> None:
    forbidden: set[Address] = set()
    with SilentListener(str(HERE)) as silent:
        async with await Origin().start(str(SECOND), silent.port) as second:
            tasks = Tasks()
            dialling = asyncio.create_task(
                dial([HERE, SECOND], silent.port, None, tasks, allowed=lambda address: address not in forbidden)
            )
            await first_attempt(tasks)
            forbidden.add(SECOND)
            done, _ = await asyncio.wait({dialling}, timeout=STAGGER_S * 2)
            assert not done
            assert second.clients == []
            dialling.cancel()
            await asyncio.gather(dialling, return_exceptions=True)
            await tasks.cancel()


async def test_refused_addresses_tell_less_than_failed_ones() -> None:
    async with Origin() as origin:
        port = origin.port
    dialling = dial([HERE, SECOND], port, None, Tasks(), allowed=lambda address: address == SECOND)
    assert await reason_of(dialling) is Reason.REFUSED


async def test_late_address_joins_while_the_first_is_tried() -> None:
    late, tasks = late_addresses(), Tasks()
    with SilentListener(str(HERE)) as silent:
        async with await Origin().start(str(SECOND), silent.port):
            begin = time.monotonic()
            dialling = asyncio.create_task(dial([HERE], silent.port, None, tasks, late=late))
            await first_attempt(tasks)
            late.set_result([SECOND])
            with await dialling as sock:
                assert sock.getpeername()[0] == str(SECOND)
            assert STAGGER_S * 0.9 <= time.monotonic() - begin < STAGGER_S * 3
            await tasks.cancel()


async def test_late_address_after_all_others_failed() -> None:
    late, tasks = late_addresses(), Tasks()
    async with await Origin().start(str(SECOND)) as origin:
        dialling = asyncio.create_task(dial([HERE], origin.port, None, tasks, late=late))
        done, _ = await asyncio.wait({dialling}, timeout=0.05)
        assert not done
        late.set_result([SECOND])
        with await dialling as sock:
            assert sock.getpeername()[0] == str(SECOND)


async def test_late_addresses_are_not_waited_for_forever() -> None:
    late = late_addresses()
    async with Origin() as origin:
        port = origin.port
    begin = time.monotonic()
    assert await reason_of(dial([HERE], port, None, Tasks(), late=late)) is Reason.REFUSED
    assert LATE_S * 0.9 <= time.monotonic() - begin < LATE_S * 2


async def test_late_addresses_are_checked_too() -> None:
    late = late_addresses()
    late.set_result([ip_address("::ffff:127.22.0.2")])
    async with await Origin().start(str(SECOND)) as origin:
        dialling = dial([HERE], origin.port, None, Tasks(), late=late, allowed=lambda address: address != SECOND)
        assert await reason_of(dialling) is Reason.REFUSED
        assert origin.clients == []


async def test_no_late_address() -> None:
    late = late_addresses()
    late.set_result([])
    async with Origin() as origin:
        with await dial([ip_address("127.0.0.1")], origin.port, None, Tasks(), late=late) as sock:
            assert sock.getpeername()[0] == "127.0.0.1"


async def test_ipv6_that_is_silent_costs_a_stagger_a_few_times_only() -> None:
    families, tasks = Families(), Tasks()
    both = [ip_address("::1"), ip_address("127.0.0.1")]
    try:
        silent = SilentListener("::1")
    except OSError:
        pytest.skip("this machine has no IPv6 loopback address")
    with silent:
        async with await Origin().start("127.0.0.1", silent.port):
            took = []
            for _ in range(LOST_RACES + 2):
                begin = time.monotonic()
                (await dial(both, silent.port, None, tasks, families=families)).close()
                took.append(time.monotonic() - begin)
            assert all(time_s >= STAGGER_S * 0.9 for time_s in took[:LOST_RACES])
            assert all(time_s < STAGGER_S for time_s in took[LOST_RACES:])
            await tasks.cancel()


async def test_ipv6_that_refuses_has_not_lost() -> None:
    """It works, whatever time IPv4 takes after it."""

    class Watched(Families):
        lost = 0

        def v6_lost(self, now: float) -> None:
            self.lost += 1

    families, late = Watched(), late_addresses()
    async with Origin() as origin:
        asyncio.get_running_loop().call_later(STAGGER_S * 1.2, late.set_result, [ip_address("127.0.0.1")])
        with await dial([ip_address("::1")], origin.port, None, Tasks(), late=late, families=families):
            assert families.lost == 0
