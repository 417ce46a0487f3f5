"""UPnP on loopback, with gateways that refuse, lie, and describe more than anybody wants to read."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from async_upnp_client.const import HttpRequest

from peers.port_mapping import upnp
from peers.port_mapping.gateway import Gateway
from peers.port_mapping.mapping import Mapping, MappingError
from peers.port_mapping.upnp import MAX_BODY_BYTES, MAX_REQUESTS, BoundedRequester, UpnpMapper, find_description
from tests.harness.waiting import turns
from tests.peers.port_mapping.fake_gateway import GATEWAY, HOST
from tests.peers.port_mapping.fake_upnp import FakeUpnp, device_xml, root_xml, service_xml

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PORT = 4444


@pytest.fixture
async def fake() -> AsyncIterator[FakeUpnp]:
    async with FakeUpnp.serve() as serving:
        yield serving


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upnp, "SEARCH_PAUSES_S", (0.03, 0.03))


def mapper_of(fake: FakeUpnp) -> UpnpMapper:
    return UpnpMapper(GATEWAY, PORT, [fake.search_at])


async def test_a_mapping_is_asked_for_checked_and_deleted(fake: FakeUpnp) -> None:
    mapper = mapper_of(fake)
    assert await mapper.map() == Mapping((HOST, PORT), 3600)
    assert fake.mapped[PORT] == {
        "NewRemoteHost": "",
        "NewExternalPort": "4444",
        "NewProtocol": "UDP",
        "NewInternalPort": "4444",
        "NewInternalClient": "127.0.0.1",
        "NewEnabled": "1",
        "NewPortMappingDescription": "macrovpn",
        "NewLeaseDuration": "3600",
    }
    assert await mapper.stands()
    await mapper.unmap()
    assert fake.mapped == {}
    mapper.close()


async def test_the_description_is_read_once(fake: FakeUpnp) -> None:
    mapper = mapper_of(fake)
    for _ in range(3):
        await mapper.map()
    assert fake.requests.count("/description.xml") == 1


async def test_a_mapping_that_is_gone_or_another_ones_does_not_stand(fake: FakeUpnp) -> None:
    mapper = mapper_of(fake)
    await mapper.map()
    fake.mapped[PORT]["NewInternalClient"] = "127.0.0.2"
    assert not await mapper.stands()
    fake.mapped.clear()
    assert not await mapper.stands()
    await mapper.map()
    assert await mapper.stands()
    fake.host = "20.0.0.9"
    assert not await mapper.stands()
    assert (await mapper.map()).address == ("20.0.0.9", PORT)


async def test_a_taken_port_is_left_to_who_has_it(fake: FakeUpnp) -> None:
    fake.refusals = [718, 718]
    mapper = mapper_of(fake)
    _, port = (await mapper.map()).address
    assert port != PORT
    assert list(fake.mapped) == [port]
    assert fake.mapped[port]["NewInternalPort"] == str(PORT)
    await mapper.map()
    assert list(fake.mapped) == [port]
    await mapper.unmap()
    assert fake.mapped == {}


async def test_a_gateway_without_leases_is_asked_without_one_and_renewed_all_the_same(fake: FakeUpnp) -> None:
    fake.refusals = [725]
    mapping = await mapper_of(fake).map()
    assert mapping.lifetime_s == 3600
    assert fake.mapped[PORT]["NewLeaseDuration"] == "0"


@pytest.mark.parametrize(("codes", "problem"), [([718] * 9, "no external port"), ([725] * 9, "725"), ([606], "606")])
async def test_refusals_have_an_end(fake: FakeUpnp, codes: list[int], problem: str) -> None:
    fake.refusals = codes
    with pytest.raises(MappingError, match=problem):
        await mapper_of(fake).map()
    assert fake.mapped == {}


@pytest.mark.parametrize("host", ["", "router.example.org", "::1", "20.0.0.1.1", "<b/>"])
async def test_an_external_address_that_is_none_is_refused(fake: FakeUpnp, host: str) -> None:
    fake.host = host
    with pytest.raises(MappingError):
        await mapper_of(fake).map()
    assert fake.mapped == {}


async def test_silence_has_an_end(hurry: None) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        with pytest.raises(MappingError, match="no gateway"):
            await UpnpMapper(GATEWAY, PORT, [silent.getsockname()]).map()
        silent.setblocking(False)
        assert [silent.recv(2048)[:8] for _ in range(2)] == [b"M-SEARCH"] * 2


async def test_an_answer_of_another_host_is_not_read(fake: FakeUpnp, hurry: None) -> None:
    """The fake stands at 127.0.0.1, and the gateway is another."""
    with pytest.raises(MappingError, match="no gateway"):
        await find_description(Gateway("127.0.0.2", "127.0.0.1"), [fake.search_at])
    assert await find_description(GATEWAY, [fake.search_at]) == fake.location


async def test_a_location_elsewhere_is_not_followed(fake: FakeUpnp, hurry: None) -> None:
    fake.location = fake.location.replace("127.0.0.1", "127.0.0.2")
    with pytest.raises(MappingError, match="no gateway"):
        await mapper_of(fake).map()
    assert fake.requests == []


async def test_a_redirect_is_not_followed(fake: FakeUpnp) -> None:
    async def redirect(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("/elsewhere")

    fake.before = redirect
    with pytest.raises(MappingError):
        await mapper_of(fake).map()
    assert fake.requests == ["/description.xml"]


async def test_a_control_address_elsewhere_is_not_used(fake: FakeUpnp) -> None:
    async with FakeUpnp.serve() as other:
        elsewhere = other.location.replace("127.0.0.1", "localhost").replace("/description.xml", "/control")
        fake.description = root_xml(device_xml(service_xml(control=elsewhere)))
        with pytest.raises(MappingError):
            await mapper_of(fake).map()
        assert other.requests == []


@pytest.mark.parametrize(
    "url", ["http://localhost:1/", "https://127.0.0.1:1/", "http://127.0.0.2:1/", "file:///etc/passwd"]
)
async def test_nobody_else_is_asked(url: str) -> None:
    with pytest.raises(MappingError, match="another host"):
        await BoundedRequester("127.0.0.1").async_http_request(HttpRequest("GET", url, {}, None))


async def test_a_description_without_end_is_cut_off(fake: FakeUpnp) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"<a>" * 10_000)
            sent += 30_000

    fake.before = endless
    with pytest.raises(MappingError, match="too much"):
        await mapper_of(fake).map()
    assert sent < 100 * MAX_BODY_BYTES


async def test_a_description_that_trickles_has_an_end(fake: FakeUpnp, monkeypatch: pytest.MonkeyPatch) -> None:
    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"a")
            await turns(1)

    monkeypatch.setattr(upnp, "CALL_LIMIT_S", 0.3)
    fake.before = trickle
    began = time.monotonic()
    with pytest.raises(MappingError, match="in time"):
        await mapper_of(fake).map()
    assert time.monotonic() - began < 2


async def test_a_description_of_many_services_is_not_followed(fake: FakeUpnp) -> None:
    fake.description = root_xml(device_xml("".join(service_xml(f"urn:x:service:x:{number}") for number in range(200))))
    with pytest.raises(MappingError, match="describes too much"):
        await mapper_of(fake).map()
    assert len(fake.requests) == MAX_REQUESTS


LAUGHS = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    "description",
    [
        "",
        "<root/>",
        "not XML",
        "\0",
        root_xml(""),
        root_xml(device_xml("")),
        root_xml(device_xml(service_xml("urn:schemas-upnp-org:service:Layer3Forwarding:1"))),
        root_xml(device_xml("<service/>")),
        root_xml("<device><iconList><icon><width>wide</width></icon></iconList></device>"),
        root_xml("<device>" + "<deviceList><device>" * 500 + "</device></deviceList>" * 500 + "</device>"),
        LAUGHS + root_xml(device_xml(service_xml())).replace("<friendlyName>x", "<friendlyName>&b;"),
    ],
)
async def test_a_description_that_is_none_is_refused(fake: FakeUpnp, description: str) -> None:
    fake.description = description.replace('<?xml version="1.0"?>', "") if LAUGHS in description else description
    with pytest.raises(MappingError):
        await mapper_of(fake).map()
    assert fake.calls == []


async def test_nothing_of_it_reaches_the_log(fake: FakeUpnp, caplog: pytest.LogCaptureFixture) -> None:
    fake.description = root_xml(device_xml(service_xml(control="http://127.0.0.2/control")))
    with pytest.raises(MappingError):
        await mapper_of(fake).map()
    assert caplog.text == ""
