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


class _Conversation:
    """What is asked and answered in one protocol.

    Args:
        protocol: its name.
        gateway: whom to ask.
        server_port: where the gateway listens.
    """

    def __init__(self, protocol: str, gateway: Gateway, server_port: int) -> None:
        self._protocol = protocol
        self._server: Address = (gateway.host, server_port)
        self._asker: Asker | None = None

    async def _open(self) -> Asker:
        if self._asker is None:
            self._asker = await Asker.open(self._protocol, self._server)
        return self._asker

    def close(self) -> None:
        if self._asker is not None:
            self._asker.close()

    def _check(self, result: int) -> None:
        """Raise for a result that is not success.

        Args:
            result: the code in an answer; both protocols have 0 for success.

        Raises:
            MappingError: the gateway refused.
        """
        if result:
            raise MappingError(self._protocol, f"refused with code {result}")


class PcpMapper(_Conversation):
    """Ask by PCP.

    Args:
        gateway: whom to ask.
        port: own UDP port.
        server_port: where the gateway listens.
    """

    def __init__(self, gateway: Gateway, port: int, server_port: int = nat_pmp.PORT) -> None:
        super().__init__("PCP", gateway, server_port)
        self._port = port
        self._nonce = secrets.token_bytes(pcp.NONCE_BYTES)
        self._wanted: Address = (_ANY_HOST, port)
        self._epoch = PcpEpoch()

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
        self._check((await self._ask(0)).result)

    async def _ask(self, lifetime_s: int) -> pcp.Answer:
        asker = await self._open()
        request = pcp.MapRequest(asker.own_host, self._nonce, self._port, self._wanted, lifetime_s)
        return await asker.ask(request.encode(), partial(pcp.decode_map, request=request))


class NatPmpMapper(_Conversation):
    """Ask by NAT-PMP.

    Args:
        gateway: whom to ask.
        port: own UDP port.
        server_port: where the gateway listens.
    """

    def __init__(self, gateway: Gateway, port: int, server_port: int = nat_pmp.PORT) -> None:
        super().__init__("NAT-PMP", gateway, server_port)
        self._port = port
        self._wanted = port
        self._host = ""
        self._epoch = NatPmpEpoch()

    async def map(self) -> Mapping:
        address = await self._ask_address()
        answer = await self._ask(self._wanted, LIFETIME_S)
        self._check(answer.result)
        self._host = address.host
        self._wanted = answer.port
        self._epoch.goes_on(answer.epoch_s, time.time())
        return Mapping((address.host, answer.port), answer.lifetime_s)

    async def stands(self) -> bool:
        address = await self._ask_address()
        return self._epoch.goes_on(address.epoch_s, time.time()) and address.host == self._host

    async def unmap(self) -> None:
        self._check((await self._ask(0, 0)).result)

    async def _ask_address(self) -> nat_pmp.AddressAnswer:
        asker = await self._open()
        answer = await asker.ask(nat_pmp.ADDRESS_REQUEST, nat_pmp.decode_address)
        self._check(answer.result)
        return answer

    async def _ask(self, wanted: int, lifetime_s: int) -> nat_pmp.MapAnswer:
        asker = await self._open()
        read = partial(nat_pmp.decode_map, port=self._port, lifetime_s=lifetime_s)
        return await asker.ask(nat_pmp.encode_map(self._port, wanted, lifetime_s), read)
