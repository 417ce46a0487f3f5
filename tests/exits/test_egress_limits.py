"""What circuits and destinations get from an exit, measured on loopback."""

from __future__ import annotations

import asyncio
import gc
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from core.errors import Reason
from exits.limits import DestinationLimits, EgressLimits, ScanLimits
from tests.exits.fakes import FakeFlow, FixedResolver, Origin, SilentListener
from tests.exits.stage import NAME, connect, wait_idle
from tests.harness.waiting import until

if TYPE_CHECKING:
    from exits.egress import Egress
    from tests.exits.stage import MakeEgress


class Circuit:
    """What stands for a circuit."""


async def ask(egress: Egress, circuit: Circuit, host: str, port: int) -> Reason | FakeFlow:
    """Ask for a flow; returns it once it is open, or why it was not opened."""
    flow = FakeFlow(circuit)
    egress.flow_requested(flow, host, port)
    await until(lambda: flow.accepted.is_set() or flow.closed.done())
    return flow if flow.accepted.is_set() else flow.closed.result()


async def ask_many(egress: Egress, circuit: Circuit, host: str, port: int, count: int) -> list[FakeFlow]:
    """Ask for so many flows, and keep those that were opened; all others are refused as busy."""
    got = [await ask(egress, circuit, host, port) for _ in range(count)]
    assert all(one is Reason.BUSY for one in got if isinstance(one, Reason))
    return [one for one in got if isinstance(one, FakeFlow)]


@pytest.fixture
def dead_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


# -- circuits


async def test_flows_are_shared_out_among_circuits(make_egress: MakeEgress) -> None:
    egress = make_egress(limits=EgressLimits(flows=12))
    async with Origin() as origin:
        first, second = Circuit(), Circuit()
        held = await ask_many(egress, first, "127.0.0.1", origin.port, 10)
        assert len(held) == 6
        assert len(await ask_many(egress, second, "127.0.0.1", origin.port, 10)) == 3
        for flow in held[:3]:
            flow.client_reset()
        await until(lambda: egress.open_flows == 6)
        assert len(await ask_many(egress, second, "127.0.0.1", origin.port, 10)) == 2


async def test_waiting_for_silent_destinations_keeps_nobody_else_out(make_egress: MakeEgress) -> None:
    egress = make_egress(limits=EgressLimits(connecting=8, setup_s=30))
    greedy = Circuit()
    async with Origin() as origin:
        with SilentListener("127.0.0.1") as silent:
            waiting = [FakeFlow(greedy) for _ in range(10)]
            for flow in waiting:
                egress.flow_requested(flow, "127.0.0.1", silent.port)
            assert sum(flow.closed.done() for flow in waiting) == 6
            assert await ask(egress, greedy, "127.0.0.1", origin.port) is Reason.BUSY
            assert len(await ask_many(egress, Circuit(), "127.0.0.1", origin.port, 20)) == 20
            await egress.stop()
    assert egress.open_flows == 0


async def test_attempts_of_one_circuit(make_egress: MakeEgress) -> None:
    egress = make_egress(limits=EgressLimits(attempts=5, attempts_per_s=0))
    circuit = Circuit()
    async with Origin() as origin:
        assert len(await ask_many(egress, circuit, "127.0.0.1", origin.port, 30)) == 5
        assert len(await ask_many(egress, Circuit(), "127.0.0.1", origin.port, 5)) == 5
        assert len(origin.clients) == 10


async def test_attempts_come_back_with_time(make_egress: MakeEgress) -> None:
    egress = make_egress(limits=EgressLimits(attempts=1, attempts_per_s=50))
    circuit = Circuit()
    async with Origin() as origin, asyncio.timeout(5):
        for _ in range(3):
            while await ask(egress, circuit, "127.0.0.1", origin.port) is Reason.BUSY:
                pass


async def test_attempts_of_all_circuits(make_egress: MakeEgress) -> None:
    egress = make_egress(limits=EgressLimits(all_attempts=7, all_attempts_per_s=0))
    async with Origin() as origin:
        got = [await ask(egress, Circuit(), "127.0.0.1", origin.port) for _ in range(10)]
    assert [one is Reason.BUSY for one in got] == [False] * 7 + [True] * 3


async def test_what_is_counted_for_a_circuit_goes_with_it(make_egress: MakeEgress) -> None:
    egress, circuit = make_egress(), Circuit()
    async with Origin() as origin:
        flow = await ask(egress, circuit, "127.0.0.1", origin.port)
        assert egress.circuits == 1
        assert isinstance(flow, FakeFlow)
        flow.client_reset()
        await wait_idle(egress)
        del circuit, flow
        gc.collect()
    assert egress.circuits == 0


# -- destinations


async def test_connections_to_one_destination_are_shared_out(make_egress: MakeEgress) -> None:
    egress = make_egress(limits=EgressLimits(destination=DestinationLimits(flows=12)))
    async with Origin() as origin, Origin() as other:
        first, second = Circuit(), Circuit()
        held = await ask_many(egress, first, "127.0.0.1", origin.port, 10)
        assert len(held) == 6
        assert len(await ask_many(egress, second, NAME, origin.port, 10)) == 3
        assert len(origin.clients) == 9
        assert len(await ask_many(egress, first, "127.0.0.1", other.port, 5)) == 5
        for flow in held:
            flow.client_reset()
        await until(lambda: egress.open_flows == 8)
        assert len(await ask_many(egress, first, "127.0.0.1", origin.port, 10)) == 5


async def test_connections_in_a_row_to_one_destination(make_egress: MakeEgress) -> None:
    limits = EgressLimits(destination=DestinationLimits(attempts=6, attempts_per_s=0))
    egress = make_egress(limits=limits)
    async with Origin() as origin, Origin() as other:
        for _ in range(6):
            flow = await ask(egress, Circuit(), "127.0.0.1", origin.port)
            assert isinstance(flow, FakeFlow)
            flow.client_reset()
        assert await ask(egress, Circuit(), "127.0.0.1", origin.port) is Reason.BUSY
        assert len(origin.clients) == 6
        assert isinstance(await ask(egress, Circuit(), "127.0.0.1", other.port), FakeFlow)


async def test_openings_that_are_not_answered(make_egress: MakeEgress, dead_port: int) -> None:
    """A destination that answers is not protected from connections, one that does not is."""
    egress = make_egress(limits=EgressLimits(destination=DestinationLimits(silent=5, silent_per_s=0)))
    async with Origin() as origin:
        assert len(await ask_many(egress, Circuit(), "127.0.0.1", origin.port, 50)) == 50
    got = [await ask(egress, Circuit(), "127.0.0.1", dead_port) for _ in range(8)]
    assert got == [Reason.REFUSED] * 5 + [Reason.BUSY] * 3


async def test_a_flood_of_openings_to_a_silent_destination(make_egress: MakeEgress) -> None:
    limits = EgressLimits(setup_s=0.2, destination=DestinationLimits(silent=10, silent_per_s=0))
    egress = make_egress(limits=limits)
    with SilentListener("127.0.0.1") as silent:
        flows = [FakeFlow() for _ in range(100)]
        for flow in flows:
            egress.flow_requested(flow, "127.0.0.1", silent.port)
        reasons = [await flow.wait_closed() for flow in flows]
    assert reasons == [Reason.TIMED_OUT] * 10 + [Reason.BUSY] * 90


async def test_destinations_are_forgotten_but_never_one_in_use(make_egress: MakeEgress) -> None:
    egress = make_egress(limits=EgressLimits(destination=DestinationLimits(flows=2, remembered=3)))
    async with Origin() as origin:
        circuit = Circuit()
        assert len(await ask_many(egress, circuit, "127.0.0.1", origin.port, 1)) == 1
        for number in range(1, 20):
            assert await ask(egress, Circuit(), f"127.22.0.{number}", origin.port) is Reason.REFUSED
        assert len(egress._destinations) == 3
        assert await ask(egress, circuit, "127.0.0.1", origin.port) is Reason.BUSY


# -- searches


async def test_search_for_ports(make_egress: MakeEgress) -> None:
    egress, searching = make_egress(limits=EgressLimits(scans=ScanLimits(failed_in_network=20))), Circuit()
    async with Origin() as origin, await Origin().start("127.0.0.2") as late:
        assert isinstance(await ask(egress, searching, "127.0.0.1", origin.port), FakeFlow)
        got = [await ask(egress, searching, "127.0.0.1", port) for port in range(1, 51)]
        assert got == [Reason.REFUSED] * 20 + [Reason.NOT_ALLOWED] * 30
        assert await ask(egress, searching, "127.0.0.2", late.port) is Reason.NOT_ALLOWED
        assert late.clients == []
        assert isinstance(await ask(egress, searching, "127.0.0.1", origin.port), FakeFlow)
        assert await ask(egress, searching, "127.22.0.1", 9) is Reason.REFUSED
        assert isinstance(await ask(egress, Circuit(), "127.0.0.2", late.port), FakeFlow)
    assert egress.counters == {"refused": 21, "not_allowed": 31, "search": 1}


async def test_search_for_hosts(make_egress: MakeEgress) -> None:
    egress, searching = make_egress(), Circuit()
    hosts = [f"127.{number}.7.1" for number in range(1, 121)]
    got = [await ask(egress, searching, host, 9) for host in hosts]
    assert got == [Reason.REFUSED] * 100 + [Reason.NOT_ALLOWED] * 20
    assert await ask(egress, Circuit(), hosts[-1], 9) is Reason.REFUSED


async def test_search_by_names_that_lead_to_an_open_address_too(make_egress: MakeEgress) -> None:
    """Whoever answers for a name can put closed addresses before one of its own: they count all the same."""

    class Changing:
        number = 0

        async def resolve(self, name: str, *_: Any) -> Any:
            self.number += 1
            return await FixedResolver(f"127.{self.number}.7.1", "127.0.0.1").resolve(name, *_)

    egress, searching = make_egress(resolver=Changing(), limits=EgressLimits(scans=ScanLimits(failed=20))), Circuit()
    async with Origin() as origin:
        for number in range(20):
            assert isinstance(await ask(egress, searching, f"{number}.example.org", origin.port), FakeFlow)
        assert await ask(egress, searching, "127.200.7.1", 9) is Reason.NOT_ALLOWED
        assert isinstance(await ask(egress, searching, NAME, origin.port), FakeFlow)
        assert egress.counters["search"] == 1


async def test_no_ipv6_is_no_search(make_egress: MakeEgress) -> None:
    egress, circuit = make_egress(resolver=FixedResolver("::1", "127.0.0.1")), Circuit()
    for _ in range(150):
        async with Origin() as origin:
            flow = await ask(egress, circuit, NAME, origin.port)
            assert isinstance(flow, FakeFlow)
    assert isinstance(await ask(egress, circuit, "127.22.0.1", 9), Reason)
    assert egress.counters["not_allowed"] == 0


async def test_nothing_stays_pending(make_egress: MakeEgress, dead_port: int) -> None:
    egress, circuit = make_egress(limits=EgressLimits(setup_s=0.1)), Circuit()
    account = egress._accounts.of(circuit, 0)
    with SilentListener("127.0.0.1") as silent:
        async with Origin() as origin:
            for port in (origin.port, dead_port, silent.port):
                await ask(egress, circuit, "127.0.0.1", port)
            egress.flow_requested(FakeFlow(circuit), "127.0.0.1", silent.port)
            await asyncio.sleep(0)
            assert sum(account.trail.pending.values()) == 1
            await egress.stop()
    assert not account.trail.pending
    assert not account.trail.pending_in


# -- connections on which nothing moves


async def test_idle_connection_is_ended(make_egress: MakeEgress) -> None:
    egress = make_egress(limits=EgressLimits(idle_s=0.4))
    loop = asyncio.get_running_loop()
    async with Origin() as origin:
        busy, idle = [await connect(egress, "127.0.0.1", origin.port) for _ in range(2)]
        started = loop.time()
        while not idle.closed.done():
            await busy.send(b"x")
            await busy.wait_received(len(busy.received) + 1)
        assert 0.35 < loop.time() - started < 3
        assert await idle.wait_closed() is Reason.TIMED_OUT
        assert not busy.closed.done()
        await until(lambda: egress.open_flows == origin.open_connections == 1)
    assert egress.counters["timed_out"] == 1


@pytest.mark.parametrize("side", ["client", "destination"])
async def test_half_closed_connection_is_ended_sooner(make_egress: MakeEgress, side: str) -> None:
    finish = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await finish.wait()
        if side == "destination":
            writer.write_eof()
        await reader.read()
        await asyncio.Event().wait()

    egress = make_egress(limits=EgressLimits(half_closed_s=0.2))
    async with Origin(hold) as origin:
        open_one, half = [await connect(egress, "127.0.0.1", origin.port) for _ in range(2)]
        if side == "client":
            half.client_finish()
            assert await half.wait_closed() is Reason.TIMED_OUT
            assert not open_one.closed.done()
        else:
            finish.set()
            assert await half.wait_closed() is Reason.TIMED_OUT


async def test_a_destination_that_takes_its_bytes_slowly_is_not_idle(make_egress: MakeEgress) -> None:
    """The client has sent everything and finished; the system still has bytes for the destination."""

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(8192):  # noqa: ASYNC110 - this is how slow it is
            await asyncio.sleep(0.005)
        writer.write(b"done")
        writer.close()

    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)  # what lies there is out of the exit's sight
    egress = make_egress(limits=EgressLimits(half_closed_s=0.3))
    async with await asyncio.start_server(slow, sock=listening, limit=4096):
        flow = await connect(egress, "127.0.0.1", listening.getsockname()[1])
        while flow.used_credit < 200_000:
            await flow.send(bytes(10_000))
        flow.client_finish()
        started = asyncio.get_running_loop().time()
        assert await flow.wait_received(4) == b"done"
        assert asyncio.get_running_loop().time() - started > 0.6
        await wait_idle(egress)
