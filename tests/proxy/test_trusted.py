"""On a trusted network: what goes direct, what does not, and that all of it ends with the network."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from core.errors import FlowError, Reason
from pac.rules import Rule, RuleSet
from proxy import direct, trusted
from proxy.direct import connect_direct
from proxy.intake import Intake
from proxy.trusted import TrustedWay
from tests.proxy.harness import DatagramDialer, FailingDialer, LoopbackDialer, Stage, by_name, until

if TYPE_CHECKING:
    from collections.abc import Collection

    from proxy.direct import DirectFlow
    from proxy.front import Front
    from tests.proxy.harness import Client, Site

DEVICE = "wlan0"
TUNNELLED = FailingDialer(Reason.NO_PATH)
"""Whatever goes to the tunnel is refused with a reason of its own."""


class House:
    """Stands in for the network: what `proxy.trusted` connects to is a site on this machine, by any device's name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
        self._site = site
        self.devices: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.knocked = asyncio.Event()
        monkeypatch.setattr(trusted, "connect_direct", self._connect)
        monkeypatch.setattr(trusted, "check_device", self._check)

    async def _connect(self, host: str, port: int, own_ports: Collection[int], device: str) -> DirectFlow:
        self.devices.append(device)
        self.knocked.set()
        await self.may_answer.wait()
        return await connect_direct("127.0.0.1", self._site.port, own_ports)

    def _check(self, device: str) -> None:
        if device != DEVICE:
            raise OSError("no such device")


@pytest.fixture
async def house(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> House:
    return House(monkeypatch, await stage.site())


async def asked(stage: Stage, front: Front, host: str = "site.example") -> tuple[Client, int]:
    """Ask for a connection; give the reply's code."""
    client = await stage.client(front)
    return client, await client.socks(host, 443)


async def test_what_no_rule_names_goes_direct_while_the_way_is_open(stage: Stage, house: House) -> None:
    front = await stage.front(TUNNELLED)
    assert (await asked(stage, front))[1] != 0
    front.trusted.open(DEVICE)
    client, code = await asked(stage, front)
    assert code == 0
    client.send(b"hello")
    assert await client.read(5) == b"hello"
    assert house.devices == [DEVICE]
    front.trusted.pause()
    assert (await asked(stage, front))[1] != 0
    client.send(b"again")
    assert await client.read(5) == b"again", "a pause ends nothing"
    front.trusted.open(DEVICE)
    assert (await asked(stage, front))[1] == 0
    front.trusted.close()
    assert await client.read_all() == b""
    assert (await asked(stage, front))[1] != 0
    assert len(house.devices) == 2
    assert front.open_flows == 0


async def test_the_script_stays_the_same(stage: Stage, house: House) -> None:
    front = await stage.front(TUNNELLED)
    before = front.pac_text
    front.trusted.open(DEVICE)
    assert front.pac_text == before


async def test_a_rule_goes_before(stage: Stage, house: House) -> None:
    """What a bypass rule names goes by the system's routes, and does not end with the network."""
    site = await stage.site()
    front = await stage.front(TUNNELLED, RuleSet([Rule.parse("127.0.0.1")]))
    front.trusted.open(DEVICE)
    client = await stage.client(front)
    assert await client.socks("127.0.0.1", site.port) == 0
    front.trusted.close()
    client.send(b"hello")
    assert await client.read(5) == b"hello"
    assert house.devices == []


@pytest.mark.parametrize("rule", ["tunnel site.example", "block site.example", "site.example region=NL"])
async def test_a_rule_that_tunnels_or_blocks_is_obeyed(stage: Stage, house: House, rule: str) -> None:
    front = await stage.front(TUNNELLED, RuleSet([Rule.parse(rule)]))
    front.trusted.open(DEVICE)
    assert (await asked(stage, front))[1] != 0
    assert house.devices == []
    assert (await asked(stage, front, "other.example"))[1] == 0


async def test_other_machines_go_through_the_tunnel(
    stage: Stage, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Intake, "is_from_this_machine", lambda self: False)
    front = await stage.front(TUNNELLED)
    front.trusted.open(DEVICE)
    assert (await asked(stage, front))[1] != 0
    assert house.devices == []


async def test_the_nodes_own_port_stays_closed(stage: Stage, house: House) -> None:
    front = await stage.front(TUNNELLED)
    front.trusted.open(DEVICE)
    client = await stage.client(front)
    assert await client.socks("127.0.0.1", front.address[1]) == 2
    assert house.devices == []


async def test_datagrams_go_through_the_tunnel(stage: Stage, house: House) -> None:
    dialer = DatagramDialer()
    front = await stage.front(dialer)
    front.trusted.open(DEVICE)
    client = await stage.client(front)
    client.send(b"\x05\x01\x00")
    await client.read(2)
    client.send(b"\x05\x03\x00\x01" + bytes(6))
    reply = await client.read(10)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as program:
        port = int.from_bytes(reply[8:])
        program.sendto(b"\0\0\0" + by_name("site.example", 53) + b"question", ("127.0.0.1", port))
        await until(lambda: bool(dialer.flows[0].sent))
    assert dialer.flows[0].sent == [("site.example", 53, b"question")]
    assert house.devices == []


async def test_who_leaves_while_it_connects_goes_through_the_tunnel(stage: Stage, house: House) -> None:
    site = await stage.site()
    dialer = LoopbackDialer(site.port)
    front = await stage.front(dialer)
    front.trusted.open(DEVICE)
    house.may_answer.clear()
    client = await stage.client(front)
    asking = asyncio.ensure_future(client.socks("site.example", 443))
    await house.knocked.wait()
    front.trusted.close()
    assert await asking == 0
    assert [request.host for request in dialer.requests] == ["site.example"]
    client.send(b"hello")
    assert await client.read(5) == b"hello"


@pytest.mark.parametrize("reopens", [False, True])
async def test_a_connection_that_is_just_made_is_cut_with_the_others(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, reopens: bool
) -> None:
    site = await stage.site()
    way = TrustedWay()
    made: list[DirectFlow] = []

    async def made_as_it_closes(host: str, port: int, own_ports: Collection[int], device: str) -> DirectFlow:
        made.append(await connect_direct("127.0.0.1", site.port, own_ports))
        way.close()
        if reopens:
            way.open(DEVICE)
        return made[0]

    monkeypatch.setattr(trusted, "connect_direct", made_as_it_closes)
    monkeypatch.setattr(trusted, "check_device", lambda device: None)
    way.open(DEVICE)
    assert await way.reach("site.example", 443, ()) is None
    await until(lambda: made[0]._transport is None)


async def test_a_device_that_connections_cannot_be_tied_to_opens_nothing(house: House) -> None:
    way = TrustedWay()
    way.open(DEVICE)
    with pytest.raises(OSError, match="no such device"):
        way.open("tun0")
    assert not way.is_open
    assert await way.reach("site.example", 443, ()) is None


async def test_another_device_cuts_what_went_by_the_first(
    stage: Stage, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trusted, "check_device", lambda device: None)
    front = await stage.front(TUNNELLED)
    front.trusted.open("eth0")
    client, code = await asked(stage, front)
    assert code == 0
    front.trusted.open(DEVICE)
    assert await client.read_all() == b""
    assert (await asked(stage, front))[1] == 0
    assert house.devices == ["eth0", DEVICE]


async def test_this_machine_is_no_part_of_the_network(stage: Stage) -> None:
    site = await stage.site()
    for host in ("127.0.0.1", "localhost", "::1"):
        with pytest.raises(FlowError) as refused:
            await connect_direct(host, site.port, (), "lo")
        assert refused.value.reason is Reason.INSIDE, host


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(OSError, match="No such device"):
        direct.check_device("none0")
    direct.check_device("lo")


async def test_a_refusal_says_that_the_site_was_tried_directly(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*arguments: object) -> DirectFlow:
        raise FlowError(Reason.REFUSED)

    monkeypatch.setattr(trusted, "connect_direct", refuse)
    monkeypatch.setattr(trusted, "check_device", lambda device: None)
    front = await stage.front(TUNNELLED)
    front.trusted.open(DEVICE)
    client = await stage.client(front)
    answer = await client.asks(b"CONNECT site.example:443 HTTP/1.1\r\nHost: site.example:443\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 502")
    assert b"trusted network" in answer
