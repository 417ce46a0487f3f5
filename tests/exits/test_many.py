"""Thousands of flows, and a process without descriptors: nothing is left behind, and nothing breaks for good."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

import pytest

from core.errors import FlowError, Reason
from exits.descriptors import RESERVE, check_reserve
from exits.limits import DatagramLimits, EgressLimits
from exits.name_server import NameServer
from exits.resolver import open_resolver
from tests.exits.datagrams import FakeDatagrams, Target, associate, refused
from tests.exits.dns_servers import EncryptedServer, trust
from tests.exits.fakes import DnsServer, FakeFlow, Origin, Reply
from tests.exits.stage import connect, outcome, wait_idle
from tests.harness.waiting import turns, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exits.egress import Egress
    from tests.exits.stage import MakeEgress

ROUND = 250
"""Flows that are opened at the same moment; their origin is in this process, and its queue has an end."""


class Figures(NamedTuple):
    """What a leak would make grow."""

    descriptors: int
    tasks: int
    objects: int
    kept: tuple[int, ...]


def figures(egress: Egress) -> Figures:
    gc.collect()
    kept = (egress.open_flows, egress.open_associations, egress.circuits)
    return Figures(len(os.listdir("/dev/fd")), len(asyncio.all_tasks()), len(gc.get_objects()), kept)


@contextlib.contextmanager
def descriptor_limit(wanted: int) -> Iterator[None]:
    """Let this process have so many descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert wanted <= hard, "this test needs more descriptors than the system allows"
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Circuit:
    """What stands for a circuit."""


async def open_flows(egress: Egress, port: int, count: int, circuits: list[Circuit]) -> list[FakeFlow]:
    flows = [FakeFlow(circuits[number % len(circuits)]) for number in range(count)]
    for start in range(0, count, ROUND):
        for flow in flows[start : start + ROUND]:
            egress.flow_requested(flow, "127.0.0.1", port)
        for flow in flows[start : start + ROUND]:
            await flow.wait_accepted()
    return flows


async def test_two_thousand_at_once_and_ten_thousand_in_turn(make_egress: MakeEgress) -> None:
    """With the limits that an exit has unless told otherwise, and two circuits."""
    egress = make_egress()
    with descriptor_limit(6000):
        async with Origin() as origin:
            flow = await connect(egress, "127.0.0.1", origin.port)
            flow.client_reset()
            del flow
            await wait_idle(egress)
            await until(lambda: origin.open_connections == 0)
            await turns()  # some event loops close sockets a little later
            before = figures(egress)

            circuits = [Circuit(), Circuit()]
            flows = await open_flows(egress, origin.port, 2000, circuits)
            await until(lambda: origin.open_connections == 2000)
            assert egress.open_flows == 2000
            await until(lambda: figures(egress).descriptors == before.descriptors + 4000)  # with the origin's ends
            for number, flow in enumerate(flows):
                await flow.send(b"%d" % number)
            for number, flow in enumerate(flows):
                assert await flow.wait_received(len(str(number))) == b"%d" % number
            for flow in flows:
                flow.client_finish()
            for flow in flows:
                assert await flow.wait_closed() is Reason.DONE

            for start in range(0, 10_000, 500):
                flows = await open_flows(egress, origin.port, 500, circuits)
                for number, flow in enumerate(flows):
                    flow.client_finish() if (start + number) % 2 else flow.client_reset()
                await wait_idle(egress)
            del flow, flows, circuits
            await until(lambda: origin.open_connections == 0)
            await turns()
            after = figures(egress)
    assert (after.descriptors, after.tasks, after.kept) == (before.descriptors, before.tasks, before.kept)
    assert after.objects < before.objects + 2000
    assert egress.counters == {"local": 1 + 5000, "done": 2000 + 5000}


# -- no descriptors left

LOW = 4 * RESERVE
"""A limit of which a quarter is the whole reserve."""


def free_descriptors() -> int:
    held = []
    with contextlib.suppress(OSError):
        while True:
            held.append(os.dup(0))
    for number in held:
        os.close(number)
    return len(held)


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    held = []
    with contextlib.suppress(OSError):
        while True:
            held.append(os.dup(0))
    try:
        yield
    finally:
        for number in held:
            os.close(number)


async def test_flows_leave_descriptors_for_the_rest_of_the_node(make_egress: MakeEgress) -> None:
    egress, circuit = make_egress(), Circuit()
    with descriptor_limit(LOW):
        async with Origin() as origin:
            taken: list[FakeFlow] = []
            while not egress.counters["busy"]:
                flow = FakeFlow(circuit)
                egress.flow_requested(flow, "127.0.0.1", origin.port)
                await until(lambda flow=flow: flow.accepted.is_set() or flow.closed.done())  # type: ignore[misc]
                taken.append(flow)
                await until(lambda: origin.open_connections == egress.open_flows)
            refused_one = taken.pop()
            assert refused_one.closed.result() is Reason.BUSY
            assert len(taken) > 50
            assert RESERVE - 3 <= free_descriptors() <= RESERVE
            assert refused(egress) is Reason.BUSY
            for flow in taken[:2]:
                flow.client_reset()
            await until(lambda: egress.open_flows == origin.open_connections == len(taken) - 2)
            for _ in range(2):
                await connect(egress, "127.0.0.1", origin.port)
                await until(lambda: egress.open_flows == origin.open_connections)
            assert await outcome(egress, "127.0.0.1", origin.port) is Reason.BUSY


async def test_associations_leave_descriptors_for_the_rest_of_the_node(make_egress: MakeEgress) -> None:
    egress, circuit = make_egress(limits=EgressLimits(datagrams=DatagramLimits(associations=10_000))), Circuit()
    with descriptor_limit(LOW):
        taken: list[FakeDatagrams] = []
        while not taken or taken[-1].accepted:
            taken.append(FakeDatagrams(circuit))
            egress.datagrams_requested(taken[-1])
        assert taken.pop().reason is Reason.BUSY
        assert RESERVE <= free_descriptors() <= RESERVE + 1
        async with Target() as target, await Target().start("::1") as six:
            taken[0].to("::1", six.port, b"there is no socket for this one")
            assert egress.counters["datagram busy"] == 1
            taken[0].to("127.0.0.1", target.port, b"but for this one")
            await taken[0].wait_received(1)
            taken.pop().client_close()
            taken.pop().client_close()
            taken.pop().client_close()
            taken[0].to("::1", six.port, b"and now")
            await taken[0].wait_received(2)


async def test_not_one_descriptor_left(make_egress: MakeEgress) -> None:
    """Others took them all, reserve included: refused, and forgotten once there are some again."""
    egress = make_egress()
    with descriptor_limit(LOW):
        async with Origin() as origin, Target() as target:
            flow, association = await connect(egress, "127.0.0.1", origin.port), associate(egress)
            with no_descriptor_left():
                assert await outcome(egress, "127.0.0.1", origin.port) is Reason.BUSY
                assert refused(egress) is Reason.BUSY
                association.to("::1", target.port, b"x")
                await flow.send(b"still here")
                await flow.wait_received(10)
                association.to("127.0.0.1", target.port, b"still here")
                await association.wait_received(1)
            await connect(egress, "127.0.0.1", origin.port)
            associate(egress)
    assert egress.counters == {"busy": 2, "datagram busy": 1}


@pytest.mark.parametrize("kind", ["udp", "tls"])
async def test_no_descriptor_left_to_look_a_name_up(kind: str) -> None:
    """It says nothing about the name: the client may ask again at once, and is then told."""
    circuit = Circuit()
    script: dict[tuple[str, str], list[Reply]] = {("a.org", "A"): [["93.184.215.14"]]}
    with descriptor_limit(LOW):
        async with DnsServer(script) as plain, EncryptedServer("tls", script) as encrypted:
            servers = {"udp": NameServer("udp", "127.0.0.1", plain.port), "tls": encrypted.address}
            resolver = open_resolver(servers[kind], trust())
            with no_descriptor_left(), pytest.raises(FlowError) as caught:
                await resolver.resolve("a.org", circuit)
            assert caught.value.reason is Reason.BUSY
            assert await resolver.resolve("a.org", circuit) == [ip_address("93.184.215.14")]
            await resolver.close()


async def test_no_descriptor_left_for_the_systems_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """It then says that there is no such name, of any name."""
    circuit, resolver = Circuit(), open_resolver(None)
    with descriptor_limit(LOW), no_descriptor_left(), pytest.raises(FlowError) as caught:
        await resolver.resolve("localhost", circuit)
    assert caught.value.reason is Reason.BUSY
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [(0, 0, 0, "", ("127.0.0.1", 0))])
    assert await resolver.resolve("localhost", circuit) == [ip_address("127.0.0.1")]
    await resolver.close()


def test_the_reserve_is_never_most_of_what_there_is() -> None:
    with socket.socket() as sock, descriptor_limit(sock.fileno() * 4 // 3 + 2):
        check_reserve(sock)
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (sock.fileno() * 4 // 3, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        )
        with pytest.raises(OSError, match="Too many open files"):
            check_reserve(sock)
