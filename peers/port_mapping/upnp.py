"""UPnP-IGD: find the gateway's description, and call the action that maps a port.

`async-upnp-client` reads descriptions and speaks SOAP. Every request it makes goes through `BoundedRequester`, which
asks nobody but the gateway and reads no more than a description needs.

Source: UPnP WANIPConnection:1, section 2.4; WANIPConnection:2, section 2.5.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from contextlib import asynccontextmanager, suppress
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from async_upnp_client.client import UpnpRequester
from async_upnp_client.client_factory import UpnpFactory
from async_upnp_client.const import HttpResponse
from async_upnp_client.exceptions import UpnpActionError
from yarl import URL

from core.errors import DecodeError
from peers.port_mapping import ssdp
from peers.port_mapping.mapping import LIFETIME_S, Mapping, MappingError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from async_upnp_client.client import UpnpService
    from async_upnp_client.const import HttpRequest

    from peers.addresses import Address
    from peers.port_mapping.gateway import Gateway

SEARCH_PAUSES_S: Final = (0.5, 1.5)
"""An answer is waited for so long after each search; a gateway may take a second (`MX: 1`)."""
REQUEST_LIMIT_S: Final = 3.0
CALL_LIMIT_S: Final = 4.0
MAX_BODY_BYTES: Final = 128 << 10
MAX_REQUESTS: Final = 24
"""Requests while a gateway is described: one for the device, one for each service."""
MAX_WAITING: Final = 16
OTHER_PORTS: Final = 3
"""So many other external ports are tried when another machine has the first."""

_SERVICES: Final = (
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
)
_CONFLICT: Final = 718
_ONLY_PERMANENT: Final = 725
_DYNAMIC_PORTS: Final = (49152, 65535)
_DESCRIPTION: Final = "macrovpn"

# Its warnings name addresses.
logging.getLogger("async_upnp_client").setLevel(logging.CRITICAL)


class UpnpMapper:
    """Ask by UPnP.

    Args:
        gateway: whom to ask.
        port: own UDP port.
        search_at: where searches are sent; None for the multicast group and the gateway itself.
    """

    def __init__(self, gateway: Gateway, port: int, search_at: Sequence[Address] | None = None) -> None:
        self._gateway = gateway
        self._port = port
        self._search_at = search_at or (ssdp.GROUP, (gateway.host, ssdp.GROUP[1]))
        self._external_port = port
        self._host = ""
        self._service: UpnpService | None = None

    async def map(self) -> Mapping:
        async with conversation():
            service = self._service or await self._find_service()
            self._service = service
            self._host = await ask_host(service)
            lifetime_s = await self._add(service)
            return Mapping((self._host, self._external_port), lifetime_s)

    async def stands(self) -> bool:
        async with conversation():
            assert self._service is not None
            if await ask_host(self._service) != self._host:
                return False
            with suppress(UpnpActionError):
                found = await self._call(self._service, "GetSpecificPortMappingEntry")
                return bool(found.get("NewInternalClient") == self._gateway.own_host)
            return False

    async def unmap(self) -> None:
        async with conversation():
            if self._service is not None:
                await self._call(self._service, "DeletePortMapping")

    def close(self) -> None:
        """See `Mapper.close`. Each request has a connection of its own."""

    async def _find_service(self) -> UpnpService:
        location = await find_description(self._gateway, self._search_at)
        requester = BoundedRequester(self._gateway.host)
        service = await describe(location, requester)
        requester.remaining = None
        return service

    async def _add(self, service: UpnpService) -> int:
        """Add the mapping, on another port if the first one is taken, and without an end if the gateway knows none.

        Returns:
            For how many seconds it is taken to last.
        """
        lease_s = LIFETIME_S
        for _ in range(OTHER_PORTS + 2):
            try:
                await self._call(
                    service,
                    "AddPortMapping",
                    NewInternalPort=self._port,
                    NewInternalClient=self._gateway.own_host,
                    NewEnabled=True,
                    NewPortMappingDescription=_DESCRIPTION,
                    NewLeaseDuration=lease_s,
                )
            except UpnpActionError as error:
                if error.error_code == _ONLY_PERMANENT and lease_s:
                    lease_s = 0
                elif error.error_code == _CONFLICT:
                    self._external_port = random.randint(*_DYNAMIC_PORTS)
                else:
                    raise
            else:
                return LIFETIME_S
        raise MappingError("UPnP", "no external port is free")

    async def _call(self, service: UpnpService, action: str, **arguments: object) -> Any:
        """Call an action on this mapping."""
        return await service.async_call_action(
            action, NewRemoteHost="", NewExternalPort=self._external_port, NewProtocol="UDP", **arguments
        )


async def describe(location: str, requester: UpnpRequester) -> UpnpService:
    """Read the description of a gateway, and find what maps ports in it.

    Raises:
        MappingError: nothing does. The library raises much else besides.
    """
    device = await UpnpFactory(requester, non_strict=True).async_create_device(location)
    service = next(filter(None, map(device.find_service, _SERVICES)), None)
    if service is None:
        raise MappingError("UPnP", "the gateway maps no ports")
    return service


async def ask_host(service: UpnpService) -> str:
    """Ask for the external address, an IPv4 literal.

    Raises:
        MappingError: there is none. The library raises much else besides.
    """
    result = await service.async_call_action("GetExternalIPAddress")
    try:
        return str(IPv4Address(result.get("NewExternalIPAddress")))
    except AddressValueError:
        raise MappingError("UPnP", "the gateway has no external address") from None


@asynccontextmanager
async def conversation() -> AsyncIterator[None]:
    """Bound a conversation, and turn whatever a gateway makes the library raise into a MappingError.

    The library reads XML of a stranger, and has many ways to say that it is wrong, `ValueError` among them.
    """
    try:
        async with asyncio.timeout(CALL_LIMIT_S):
            yield
    except MappingError:
        raise
    except TimeoutError as error:
        raise MappingError("UPnP", "no answer in time") from error
    except UpnpActionError as error:
        raise MappingError("UPnP", f"refused with code {error.error_code}") from error
    except Exception as error:
        raise MappingError("UPnP", f"no proper answer ({type(error).__name__})") from error


class BoundedRequester(UpnpRequester):
    """Ask the gateway over HTTP, and nobody else.

    Args:
        host: its IPv4 literal.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self.remaining: int | None = MAX_REQUESTS
        """So many more requests may be made; None for any number."""

    async def async_http_request(self, http_request: HttpRequest) -> HttpResponse:
        url = URL(http_request.url)
        if url.scheme != "http" or url.host != self._host:
            raise MappingError("UPnP", "the gateway names another host")
        if self.remaining is not None:
            if not self.remaining:
                raise MappingError("UPnP", "the gateway describes too much")
            self.remaining -= 1
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REQUEST_LIMIT_S), trust_env=False) as session,
            session.request(
                http_request.method,
                url,
                headers=http_request.headers,
                data=http_request.body,
                allow_redirects=False,
                auto_decompress=False,
            ) as response,
        ):
            body = await _read(response.content)
            return HttpResponse(response.status, dict(response.headers), body.decode("utf-8", "replace"))


async def _read(content: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    while chunk := await content.readany():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise MappingError("UPnP", "the gateway sends too much")
    return bytes(body)


async def find_description(gateway: Gateway, search_at: Sequence[Address]) -> str:
    """Search for the gateway.

    Returns:
        The URL of its description.

    Raises:
        MappingError: it does not answer.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        listening.bind((gateway.own_host, 0))
        listening.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(gateway.own_host))
        listening.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 2)
        loop = asyncio.get_running_loop()
        transport, search = await loop.create_datagram_endpoint(lambda: _Search(gateway.host), sock=listening)
    except OSError as error:
        listening.close()
        raise MappingError("UPnP", "no way to the gateway") from error
    try:
        for pause_s in SEARCH_PAUSES_S:
            for target in search_at:
                transport.sendto(ssdp.encode_search(target), target)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    return await asyncio.shield(search.found)
    finally:
        transport.close()
    raise MappingError("UPnP", "no gateway answers")


class _Search(asyncio.DatagramProtocol):
    """Takes the first answer of the gateway itself; from others nothing is read."""

    def __init__(self, host: str) -> None:
        self._host = host
        self.found: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if addr[0] == self._host and not self.found.done():
            with suppress(DecodeError):
                self.found.set_result(ssdp.decode_found(data, self._host))
