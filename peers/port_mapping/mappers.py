"""PCP and NAT-PMP, one conversation with the gateway each. Both implement `mapping.Mapper`."""

from __future__ import annotations

import secrets
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from peers.port_mapping import nat_pmp, pcp
from peers.port_mapping.datagrams import Asker
from peers.port_mapping.epoch import NatPmpEpoch, PcpEpoch
from peers.port_mapping.mapping import LIFETIME_S, Mapping, MappingError

if TYPE_CHECKING:
    from peers.addresses import Address
    from peers.port_mapping.gateway import Gateway

_ANY_HOST: Final = "0.0.0.0"


class PcpMapper:
    """Ask by PCP.

    Args:
        gateway: whom to ask.
        port: own UDP port.
        server_port: where the gateway listens.
    """

    def __init__(self, gateway: Gateway, port: int, server_port: int = nat_pmp.PORT) -> None:
        self._server: Address = (gateway.host, server_port)
        self._port = port
        self._nonce = secrets.token_bytes(pcp.NONCE_BYTES)
        self._wanted: Address = (_ANY_HOST, port)
        self._epoch = PcpEpoch()
        self._asker: Asker | None = None

    async def map(self) -> Mapping:
        answer = await self._ask(LIFETIME_S)
        if answer.address is None or not answer.lifetime_s:
            raise MappingError("PCP", f"refused with code {answer.result}")
        self._epoch.goes_on(answer.epoch_s, time.time())
        self._wanted = answer.address
        return Mapping(answer.address, answer.lifetime_s)

    async def stands(self) -> bool:
        asker = await self._open()
        answer = await asker.ask(pcp.encode_announce(asker.own_host), pcp.decode_announce)
        return not answer.result and self._epoch.goes_on(answer.epoch_s, time.time())

    async def unmap(self) -> None:
        answer = await self._ask(0)
        if answer.result:
            raise MappingError("PCP", f"refused with code {answer.result}")

    async def _ask(self, lifetime_s: int) -> pcp.Answer:
        asker = await self._open()
        request = pcp.MapRequest(asker.own_host, self._nonce, self._port, self._wanted, lifetime_s)
        return await asker.ask(request.encode(), partial(pcp.decode_map, request=request))

    async def _open(self) -> Asker:
        if self._asker is None:
            self._asker = await Asker.open("PCP", self._server)
        return self._asker

    def close(self) -> None:
        if self._asker is not None:
            self._asker.close()


class NatPmpMapper:
    """Ask by NAT-PMP.

    Args:
        gateway: whom to ask.
        port: own UDP port.
        server_port: where the gateway listens.
    """

    def __init__(self, gateway: Gateway, port: int, server_port: int = nat_pmp.PORT) -> None:
        self._server: Address = (gateway.host, server_port)
        self._port = port
        self._wanted = port
        self._host = ""
        self._epoch = NatPmpEpoch()
        self._asker: Asker | None = None

    async def map(self) -> Mapping:
        address = await self._ask_address()
        answer = await self._ask(self._wanted, LIFETIME_S)
        if answer.result:
            raise MappingError("NAT-PMP", f"refused with code {answer.result}")
        self._host = address.host
        self._wanted = answer.port
        self._epoch.goes_on(answer.epoch_s, time.time())
        return Mapping((address.host, answer.port), answer.lifetime_s)

    async def stands(self) -> bool:
        address = await self._ask_address()
        return self._epoch.goes_on(address.epoch_s, time.time()) and address.host == self._host

    async def unmap(self) -> None:
        answer = await self._ask(0, 0)
        if answer.result:
            raise MappingError("NAT-PMP", f"refused with code {answer.result}")

    async def _ask_address(self) -> nat_pmp.AddressAnswer:
        asker = await self._open()
        answer = await asker.ask(nat_pmp.ADDRESS_REQUEST, nat_pmp.decode_address)
        if answer.result:
            raise MappingError("NAT-PMP", f"refused with code {answer.result}")
        return answer

    async def _ask(self, wanted: int, lifetime_s: int) -> nat_pmp.MapAnswer:
        asker = await self._open()
        read = partial(nat_pmp.decode_map, port=self._port, lifetime_s=lifetime_s)
        return await asker.ask(nat_pmp.encode_map(self._port, wanted, lifetime_s), read)

    async def _open(self) -> Asker:
        if self._asker is None:
            self._asker = await Asker.open("NAT-PMP", self._server)
        return self._asker

    def close(self) -> None:
        if self._asker is not None:
            self._asker.close()
