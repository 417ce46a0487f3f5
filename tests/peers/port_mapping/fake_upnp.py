"""A UPnP gateway on loopback: its answer to a search, its description, and the actions that map ports."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from aiohttp import web

from peers.port_mapping.ssdp import GATEWAY_DEVICE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from peers.addresses import Address

    type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SERVICE: Final = "urn:schemas-upnp-org:service:WANIPConnection:1"
_ACTIONS: Final = {
    "GetExternalIPAddress": ("", "NewExternalIPAddress"),
    "AddPortMapping": (
        "NewRemoteHost NewExternalPort NewProtocol NewInternalPort NewInternalClient NewEnabled "
        "NewPortMappingDescription NewLeaseDuration",
        "",
    ),
    "GetSpecificPortMappingEntry": (
        "NewRemoteHost NewExternalPort NewProtocol",
        "NewInternalPort NewInternalClient NewEnabled NewPortMappingDescription NewLeaseDuration",
    ),
    "DeletePortMapping": ("NewRemoteHost NewExternalPort NewProtocol", ""),
}
_TYPES: Final = {
    "NewExternalPort": "ui2",
    "NewInternalPort": "ui2",
    "NewEnabled": "boolean",
    "NewLeaseDuration": "ui4",
}


def service_xml(kind: str = SERVICE, control: str = "/control") -> str:
    return (
        f"<service><serviceType>{kind}</serviceType><serviceId>urn:upnp-org:serviceId:{kind[-20:]}</serviceId>"
        f"<SCPDURL>/actions.xml</SCPDURL><controlURL>{control}</controlURL><eventSubURL>/events</eventSubURL></service>"
    )


def device_xml(services: str, embedded: str = "", kind: str = GATEWAY_DEVICE) -> str:
    return (
        f"<device><deviceType>{kind}</deviceType><friendlyName>x</friendlyName><UDN>uuid:{kind[-9:]}</UDN>"
        f"<serviceList>{services}</serviceList><deviceList>{embedded}</deviceList></device>"
    )


def root_xml(device: str) -> str:
    return f'<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0">{device}</root>'


HONEST: Final = root_xml(
    device_xml(
        "", device_xml("", device_xml(service_xml(), kind="urn:x:device:WANConnectionDevice:1"), kind="urn:x:w:1")
    )
)


def actions_xml() -> str:
    actions = ""
    for name, (given, returned) in _ACTIONS.items():
        arguments = "".join(
            f"<argument><name>{argument}</name><direction>{way}</direction>"
            f"<relatedStateVariable>{argument}</relatedStateVariable></argument>"
            for way, names in (("in", given), ("out", returned))
            for argument in names.split()
        )
        actions += f"<action><name>{name}</name><argumentList>{arguments}</argumentList></action>"
    names = sorted({name for both in _ACTIONS.values() for names in both for name in names.split()})
    variables = "".join(
        f'<stateVariable sendEvents="no"><name>{name}</name><dataType>{_TYPES.get(name, "string")}</dataType>'
        "</stateVariable>"
        for name in names
    )
    return (
        '<?xml version="1.0"?><scpd xmlns="urn:schemas-upnp-org:service-1-0">'
        f"<actionList>{actions}</actionList><serviceStateTable>{variables}</serviceStateTable></scpd>"
    )


class FakeUpnp(asyncio.DatagramProtocol):
    """Serves at 127.0.0.1. What tests change: `description`, `location`, `host`, `refusals`, and `before`, which may
    answer a request in the place of the gateway."""

    def __init__(self) -> None:
        self.search_at: Address = ("127.0.0.1", 0)
        self.location = ""
        self.description = HONEST
        self.host = "20.0.0.1"
        self.refusals: list[int] = []
        self.requests: list[str] = []
        self.calls: list[tuple[str, dict[str, str]]] = []
        self.mapped: dict[int, dict[str, str]] = {}
        self.before: Handler | None = None
        self._transport: asyncio.DatagramTransport | None = None

    @classmethod
    @asynccontextmanager
    async def serve(cls) -> AsyncIterator[FakeUpnp]:
        loop = asyncio.get_running_loop()
        transport, fake = await loop.create_datagram_endpoint(cls, local_addr=("127.0.0.1", 0))
        fake._transport = transport
        fake.search_at = transport.get_extra_info("sockname")
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", fake._serve)
        runner = web.AppRunner(application, shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        fake.location = f"http://127.0.0.1:{runner.addresses[0][1]}/description.xml"
        try:
            yield fake
        finally:
            transport.close()
            await runner.cleanup()

    def datagram_received(self, data: bytes, addr: Address) -> None:
        assert self._transport is not None
        answer = f"HTTP/1.1 200 OK\r\nST: {GATEWAY_DEVICE}\r\nLOCATION: {self.location}\r\n\r\n"
        self._transport.sendto(answer.encode(), addr)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path)
        if self.before is not None:
            return await self.before(request)
        if request.path == "/description.xml":
            return web.Response(text=self.description, content_type="text/xml")
        if request.path == "/actions.xml":
            return web.Response(text=actions_xml(), content_type="text/xml")
        return self._call(request.headers["SOAPAction"].strip('"').rpartition("#")[2], await request.text())

    def _call(self, action: str, body: str) -> web.Response:
        arguments = dict(re.findall(r"<(New\w+)>(.*?)</\1>", body))
        self.calls.append((action, arguments))
        port = int(arguments.get("NewExternalPort", 0))
        if action == "AddPortMapping" and self.refusals:
            return _fault(self.refusals.pop(0))
        if action == "AddPortMapping":
            self.mapped[port] = arguments
        elif action != "GetExternalIPAddress" and port not in self.mapped:
            return _fault(714)
        elif action == "DeletePortMapping":
            del self.mapped[port]
        returned = {"NewExternalIPAddress": self.host, **self.mapped.get(port, {})}
        results = "".join(f"<{name}>{returned[name]}</{name}>" for name in _ACTIONS[action][1].split())
        return _soap(f'<u:{action}Response xmlns:u="{SERVICE}">{results}</u:{action}Response>', 200)


def _soap(text: str, status: int) -> web.Response:
    envelope = (
        '<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/">'
        f"<s:Body>{text}</s:Body></s:Envelope>"
    )
    return web.Response(text=envelope, status=status, content_type="text/xml")


def _fault(code: int) -> web.Response:
    detail = (
        f'<UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>{code}</errorCode>'
        "<errorDescription>no</errorDescription></UPnPError>"
    )
    code_and_text = "<faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring>"
    return _soap(f"<s:Fault>{code_and_text}<detail>{detail}</detail></s:Fault>", 500)
