"""Readers of what a home router answers, or whoever stands in its place."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Final

from async_upnp_client.client import UpnpRequester
from async_upnp_client.const import HttpResponse

from peers.port_mapping import nat_pmp, pcp, ssdp
from peers.port_mapping.mapping import MappingError
from peers.port_mapping.upnp import ask_host, conversation, describe
from tests.fuzz.target import Target, in_loop
from tests.peers.port_mapping.fake_upnp import HONEST, SERVICE, actions_xml

if TYPE_CHECKING:
    from async_upnp_client.const import HttpRequest

_ROUTER: Final = "192.168.77.1"
_REQUEST: Final = pcp.MapRequest("192.168.77.2", bytes(range(12)), 4444, ("0.0.0.0", 4444), 3600)
_GRANTED: Final = bytes.fromhex("0281000000000e10000000010000000000000000 00000000") + _REQUEST.encode()[24:]
_FOUND: Final = (
    f"HTTP/1.1 200 OK\r\nST: {ssdp.GATEWAY_DEVICE}\r\nLOCATION: http://{_ROUTER}:5000/rootDesc.xml\r\n\r\n".encode()
)
_ANSWER: Final = (
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
    f'<u:GetExternalIPAddressResponse xmlns:u="{SERVICE}"><NewExternalIPAddress>20.0.0.1</NewExternalIPAddress>'
    "</u:GetExternalIPAddressResponse></s:Body></s:Envelope>"
)


def read_pcp(data: bytes) -> None:
    answer = pcp.decode_map(data, _REQUEST)
    assert (answer.address is None) == bool(answer.result), "a refusal with an address, or a success without one"
    assert answer.address is None or 0 < answer.address[1] < 65536


def read_nat_pmp_mapping(data: bytes) -> None:
    answer = nat_pmp.decode_map(data, 4445, 3600)
    assert bool(answer.result) == (not answer.port) == (not answer.lifetime_s)


def read_nat_pmp_address(data: bytes) -> None:
    answer = nat_pmp.decode_address(data)
    assert bool(answer.result) == (not answer.host)


def read_found(data: bytes) -> None:
    location = ssdp.decode_found(data, _ROUTER)
    assert location.startswith((f"http://{_ROUTER}:", f"http://{_ROUTER}/")) or location == f"http://{_ROUTER}"


class _Saying(UpnpRequester):
    """Answers one request after the other."""

    def __init__(self, answers: list[bytes]) -> None:
        self._answers = answers

    async def async_http_request(self, http_request: HttpRequest) -> HttpResponse:
        if not self._answers:
            raise MappingError("UPnP", "no more answers")
        return HttpResponse(200, {}, self._answers.pop(0).decode("utf-8", "replace"))


async def _read_upnp(answers: list[bytes]) -> str:
    async with conversation():
        return await ask_host(await describe(f"http://{_ROUTER}/", _Saying(answers)))


def read_upnp(data: bytes) -> None:
    """Description, actions and answer, with a zero byte between them."""
    IPv4Address(in_loop(_read_upnp(data.split(b"\0"))))


TARGETS = (
    Target("pcp", read_pcp, (_GRANTED,), longest=pcp.MAX_BYTES + 8),
    Target("pcp-announce", pcp.decode_announce, (bytes.fromhex("028000000000000000000001") + bytes(12),), longest=80),
    Target("nat-pmp", read_nat_pmp_mapping, (bytes.fromhex("0081000000000001115d115d00000e10"),), longest=40),
    Target("nat-pmp-address", read_nat_pmp_address, (bytes.fromhex("008000000000000214000001"),), longest=40),
    Target("ssdp", read_found, (_FOUND,)),
    Target(
        "upnp", read_upnp, ("\0".join((HONEST, actions_xml(), _ANSWER)).encode(),), (MappingError,), longest=16 << 10
    ),
)
