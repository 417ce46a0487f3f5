"""Ask the gateway by datagram, and wait for the answer that fits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from core.errors import DecodeError
from peers.port_mapping.mapping import MappingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from peers.addresses import Address

PAUSES_S: Final = (0.25, 0.5, 1.0)
"""An answer is waited for so long after each attempt: NAT-PMP's first timers (RFC 6886, section 3.1). For PCP too: its
own begin at 3 s and would leave no second attempt."""

MAX_WAITING: Final = 16
"""Datagrams that are kept until they are looked at; more are dropped."""


class Asker(asyncio.DatagramProtocol):
    """A UDP socket that is connected to the gateway, so the system drops what comes from any other address or port.

    One question at a time. `open` makes one.

    Args:
        protocol: its name, for errors.
    """

    def __init__(self, protocol: str) -> None:
        self.own_host = ""
        """Own address, as the system chose it for this socket."""
        self.dropped = 0
        self._protocol = protocol
        self._transport: asyncio.DatagramTransport | None = None
        self._arrived: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_WAITING)

    @classmethod
    async def open(cls, protocol: str, gateway: Address) -> Asker:
        """Make the socket.

        Raises:
            MappingError: there is no way to the gateway.
        """
        loop = asyncio.get_running_loop()
        try:
            transport, asker = await loop.create_datagram_endpoint(lambda: cls(protocol), remote_addr=gateway)
        except OSError as error:
            raise MappingError(protocol, "no way to the gateway") from error
        asker._transport = transport
        asker.own_host = transport.get_extra_info("sockname")[0]
        return asker

    async def ask[Answer](self, request: bytes, read: Callable[[bytes], Answer]) -> Answer:
        """Send a request, up to three times, until an answer fits it.

        Args:
            request: the datagram.
            read: makes an answer of a datagram, or raises DecodeError: then it is dropped.

        Raises:
            MappingError: nobody answers, within 1.75 s, or the gateway says that nobody listens there.
        """
        assert self._transport is not None
        while not self._arrived.empty():  # late answers to the last question
            self._arrived.get_nowait()
        for pause_s in PAUSES_S:
            self._transport.sendto(request)
            try:
                async with asyncio.timeout(pause_s):
                    return await self._answer(read)
            except TimeoutError:
                continue
        raise MappingError(self._protocol, "no answer")

    async def _answer[Answer](self, read: Callable[[bytes], Answer]) -> Answer:
        while True:
            data = await self._arrived.get()
            if data is None:
                raise MappingError(self._protocol, "nobody listens at the gateway")
            try:
                return read(data)
            except DecodeError:
                self.dropped += 1

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # -- asyncio.DatagramProtocol

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._put(data)

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, ConnectionRefusedError):
            self._put(None)

    def _put(self, item: bytes | None) -> None:
        if self._arrived.full():
            self.dropped += 1
        else:
            self._arrived.put_nowait(item)
