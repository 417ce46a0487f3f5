"""A gateway on loopback that answers each datagram as a test wants."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from peers.port_mapping.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from peers.addresses import Address

GATEWAY: Final = Gateway("127.0.0.1", "127.0.0.1")
HOST: Final = "20.0.0.1"


class FakeGateway(asyncio.DatagramProtocol):
    """Serves PCP or NAT-PMP at a port of 127.0.0.1.

    `answer` makes the datagrams that go back, in that order. `epoch_s` and `host` are what honest answers say.
    """

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[bytes] = []
        self.epoch_s = 1000
        self.host = HOST
        self.lifetime_s = 3600
        self.answer: Callable[[bytes], Iterable[bytes]] = self.honest
        self._transport: asyncio.DatagramTransport | None = None

    @classmethod
    @asynccontextmanager
    async def serve(cls) -> AsyncIterator[FakeGateway]:
        loop = asyncio.get_running_loop()
        transport, fake = await loop.create_datagram_endpoint(cls, local_addr=("127.0.0.1", 0))
        fake._transport = transport
        fake.port = transport.get_extra_info("sockname")[1]
        try:
            yield fake
        finally:
            transport.close()

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self.requests.append(data)
        for answer in self.answer(data):
            self.send(answer, addr)

    def send(self, data: bytes, to: Address) -> None:
        assert self._transport is not None
        self._transport.sendto(data, to)

    # -- answers

    def honest(self, request: bytes) -> list[bytes]:
        return [self.pcp(request) if request[0] == 2 else self.nat_pmp(request)]

    def pcp(self, request: bytes, *, result: int = 0) -> bytes:
        """Answer as a PCP server does, on the external port that is proposed."""
        lifetime = min(int.from_bytes(request[4:8]), self.lifetime_s)
        head = bytes([2, request[1] | 0x80, 0, result]) + lifetime.to_bytes(4) + self.epoch_s.to_bytes(4) + bytes(12)
        if request[1] == 0:
            return head
        return head + request[24:44] + bytes(10) + b"\xff\xff" + packed(self.host)

    def nat_pmp(self, request: bytes, *, result: int = 0) -> bytes:
        """Answer as a NAT-PMP gateway does, on the external port that is proposed."""
        head = bytes([0, request[1] + 128]) + result.to_bytes(2) + self.epoch_s.to_bytes(4)
        if request[1] == 0:
            return head + packed(self.host)
        lifetime = min(int.from_bytes(request[8:12]), self.lifetime_s)
        return head + request[4:8] + lifetime.to_bytes(4)


def packed(host: str) -> bytes:
    return bytes(int(part) for part in host.split("."))
