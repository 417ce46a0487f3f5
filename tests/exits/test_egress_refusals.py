"""Flows that must not leave, and the reason that each is given."""

from __future__ import annotations

import gc
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest

from core.errors import Reason
from exits.addresses import AddressFilter
from exits.limits import EgressLimits
from exits.policy import Policy
from exits.resolver import UdpResolver
from tests.exits.fakes import (
    NXDOMAIN,
    SILENCE,
    DnsServer,
    FixedResolver,
    Origin,
    SilentListener,
)
from tests.exits.stage import NAME, connect, outcome, wait_idle

if TYPE_CHECKING:
    from tests.exits.stage import MakeEgress


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "::",
        "127.1",
        "0x7f.1",
        "2130706433",
        "017700000001",
        "0x7f000001",
        "127.0.0.1.",
        "localhost",
        "foo.localhost",
        "::127.0.0.1",
        "::1%lo",
        "64:ff9b::7f00:1",
        "2002:7f00:1::1",
        "10.0.0.1",
        "169.254.169.254",
        "fe80::1",
    ],
)
async def test_nothing_inside_is_reached(make_egress: MakeEgress, host: str) -> None:
    resolver = FixedResolver("127.0.0.1")
    egress = make_egress(resolver=resolver, address_filter=AddressFilter())
    async with Origin() as origin:
        assert await outcome(egress, host, origin.port) is Reason.NOT_ALLOWED
        assert origin.clients == []
    assert resolver.names == []
    assert egress.counters == {"not_allowed": 1}


@pytest.mark.parametrize("host", ["127.1", "0x7f.1", "2130706433", "0177.0.0.1", "localhost", "::1%lo", "::127.0.0.1"])
async def test_other_ways_to_write_an_opened_address_stay_closed(make_egress: MakeEgress, host: str) -> None:
    egress = make_egress()
    async with Origin() as origin:
        assert await outcome(egress, host, origin.port) is Reason.NOT_ALLOWED
        assert origin.clients == []


@pytest.mark.parametrize(
    "answers",
    [
        ["127.0.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["169.254.169.254", "10.0.0.1"],
        ["fe80::1%1"],
        ["64:ff9b::7f00:1", "::127.0.0.1"],
    ],
)
async def test_name_that_leads_inside(make_egress: MakeEgress, answers: list[str]) -> None:
    egress = make_egress(resolver=FixedResolver(*answers), address_filter=AddressFilter())
    async with Origin() as origin:
        assert await outcome(egress, NAME, origin.port) is Reason.NOT_ALLOWED
        assert origin.clients == []


async def test_rebinding_never_connects(make_egress: MakeEgress) -> None:
    """A name shows an open address first and an address inside later, or both at once."""
    only_one_open = AddressFilter(allow=[ip_network("127.22.0.2/32")])
    script: dict[tuple[str, str], list[Any]] = {
        (NAME, "A"): [["127.22.0.2"], ["127.0.0.1"], ["169.254.169.254"], ["127.0.0.1", "127.22.0.2"]],
    }
    async with DnsServer(script) as server, Origin() as inside:
        resolver = UdpResolver("127.0.0.1", server.port)
        egress = make_egress(resolver=resolver, address_filter=only_one_open)
        async with await Origin().start("127.22.0.2", inside.port) as outside:
            flow = await connect(egress, NAME, inside.port)
            assert server.queries == 2  # one for each family, none between the check and the connection
            flow.client_reset()
            assert await outcome(egress, NAME, inside.port) is Reason.NOT_ALLOWED
            assert await outcome(egress, NAME, inside.port) is Reason.NOT_ALLOWED
            assert len(outside.clients) == 1
        assert await outcome(egress, NAME, inside.port) is Reason.REFUSED  # the open one, and no other instead
        assert inside.clients == []
        await egress.stop()
        await resolver.close()


async def test_dns_reasons(make_egress: MakeEgress) -> None:
    script: dict[tuple[str, str], list[Any]] = {
        ("no.example.org", "A"): [NXDOMAIN],
        ("no.example.org", "AAAA"): [NXDOMAIN],
        ("silent.example.org", "A"): [SILENCE],
        ("silent.example.org", "AAAA"): [SILENCE],
    }
    async with DnsServer(script) as server:
        resolver = UdpResolver("127.0.0.1", server.port)
        egress = make_egress(resolver=resolver, limits=EgressLimits(setup_s=0.3))
        assert await outcome(egress, "no.example.org", 443) is Reason.NO_NAME
        assert await outcome(egress, "empty.example.org", 443) is Reason.NO_NAME
        assert await outcome(egress, "silent.example.org", 443) is Reason.TIMED_OUT
        await egress.stop()
        await resolver.close()


@pytest.mark.parametrize("host", ["", "a..b", "bücher.example.org", "[::1]", "x" * 64 + ".org"])
async def test_no_name(make_egress: MakeEgress, host: str) -> None:
    egress = make_egress()
    assert await outcome(egress, host, 443) is Reason.NO_NAME


@pytest.mark.parametrize("port", [0, -1, 65536])
async def test_no_port(make_egress: MakeEgress, port: int) -> None:
    egress = make_egress()
    assert await outcome(egress, NAME, port) is Reason.PROTOCOL


async def test_special_names_with_a_resolver_that_knows_them(make_egress: MakeEgress) -> None:
    egress = make_egress(allow_special_names=True)
    async with Origin() as origin:
        flow = await connect(egress, "site.test", origin.port)
        flow.client_reset()


async def test_policy_is_asked_before_and_after_the_lookup(make_egress: MakeEgress) -> None:
    resolver = FixedResolver("127.0.0.1")
    policy = Policy.parse("reject *:25\nreject bad.example.org:*\nreject 127.0.0.0/8:1-1023\naccept *:*")
    egress = make_egress(resolver=resolver, policy=policy)
    async with Origin() as origin:
        assert await outcome(egress, NAME, 25) is Reason.NOT_ALLOWED
        assert await outcome(egress, "127.0.0.1", 25) is Reason.NOT_ALLOWED
        assert await outcome(egress, "bad.example.org", origin.port) is Reason.NOT_ALLOWED
        assert resolver.names == []
        assert await outcome(egress, NAME, 80) is Reason.NOT_ALLOWED
        assert resolver.names == [NAME]
        flow = await connect(egress, NAME, origin.port)
        flow.client_reset()
    assert egress.counters["not_allowed"] == 4


async def test_own_endpoint_is_refused(make_egress: MakeEgress) -> None:
    async with Origin() as control, Origin() as origin:
        own = AddressFilter(
            allow=[ip_network("127.0.0.0/8")],
            deny_endpoints=[(ip_network("127.0.0.1/32").network_address, control.port)],
        )
        egress = make_egress(address_filter=own)
        assert await outcome(egress, NAME, control.port) is Reason.NOT_ALLOWED
        assert await outcome(egress, "::ffff:127.0.0.1", control.port) is Reason.NOT_ALLOWED
        flow = await connect(egress, NAME, origin.port)
        flow.client_reset()
        assert control.clients == []
        await egress.stop()


async def test_refused_port(make_egress: MakeEgress) -> None:
    egress = make_egress()
    async with Origin() as origin:
        port = origin.port
    assert await outcome(egress, "127.0.0.1", port) is Reason.REFUSED
    assert egress.counters == {"refused": 1}


async def test_destination_that_never_answers(make_egress: MakeEgress) -> None:
    egress = make_egress(limits=EgressLimits(setup_s=0.2))
    with SilentListener("127.0.0.1") as silent:
        assert await outcome(egress, "127.0.0.1", silent.port) is Reason.TIMED_OUT
        await wait_idle(egress)
        await egress.stop()
    gc.collect()


async def test_a_defect_of_the_resolver_refuses_the_flow(
    make_egress: MakeEgress, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        async def resolve(self, name: str) -> Any:
            raise RuntimeError(name)

    egress = make_egress(resolver=Broken())
    assert await outcome(egress, NAME, 443) is Reason.HOST_UNREACHABLE
    assert egress.open_flows == 0
    assert "RuntimeError" in caplog.text
    assert NAME not in caplog.text
