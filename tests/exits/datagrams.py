"""Both ends of a UDP association at an exit: one whose client sits in the test, and destinations."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Self

from core.errors import Reason
from tests.harness.waiting import until

if TYPE_CHECKING:
    from core.flow import Buffer, DatagramListener
    from exits.egress import Egress

LIMIT_S = 5.0


class FakeDatagrams:
    """An association as the tunnel gives it to an exit, with the client's end as methods of the test.

    Args:
        circuit: what stands for the circuit that carries it; None for one of its own.
    """

    def __init__(self, circuit: object = None) -> None:
        self.circuit = self if circuit is None else circuit
        self.accepted = False
        self.reason: Reason | None = None
        self.received: list[tuple[str, int, bytes]] = []
        self._listener: DatagramListener | None = None

    # -- the exit's end

    def attach(self, listener: DatagramListener) -> None:
        assert self._listener is None, "attached twice"
        self._listener = listener

    def accept(self) -> None:
        assert not self.accepted, "accepted twice"
        self.accepted = True

    def send(self, host: str, port: int, data: Buffer) -> bool:
        assert self.reason is None, "sent after closing"
        self.received.append((host, port, bytes(data)))
        return True

    def close(self, reason: Reason) -> None:
        self._listener = None
        self.reason = self.reason or reason

    # -- the client's end

    def to(self, host: str, port: int, data: bytes) -> None:
        """Send a datagram, unless the exit has closed the association."""
        if self._listener is not None:
            self._listener.datagram_came(host, port, data)

    def client_close(self, reason: Reason = Reason.LOCAL) -> None:
        listener, self._listener = self._listener, None
        self.reason = reason
        if listener is not None:
            listener.flow_closed(reason)

    async def wait_received(self, count: int) -> list[tuple[str, int, bytes]]:
        await until(lambda: len(self.received) >= count, LIMIT_S)
        return self.received

    async def wait_closed(self) -> Reason:
        await until(lambda: self.reason is not None, LIMIT_S)
        assert self.reason is not None
        return self.reason


class Target:
    """A UDP destination that keeps what comes, and sends it back if `echo` is set."""

    def __init__(self, *, echo: bool = True) -> None:
        self.echo = echo
        self.received: list[tuple[bytes, tuple[str, int]]] = []
        self._socket: socket.socket | None = None
        self.port = 0

    async def start(self, host: str = "127.0.0.1") -> Self:
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind((host, 0))
        self.port = self._socket.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._socket, self._readable)
        return self

    async def __aenter__(self) -> Self:
        return self if self._socket else await self.start()

    async def __aexit__(self, *_: object) -> None:
        assert self._socket is not None
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _readable(self) -> None:
        assert self._socket is not None
        data, sender = self._socket.recvfrom(65536)
        self.received.append((data, sender[:2]))
        if self.echo:
            self.send(data, sender[:2])

    def send(self, data: bytes, to: tuple[str, int]) -> None:
        assert self._socket is not None
        self._socket.sendto(data, to)

    async def wait_received(self, count: int) -> list[tuple[bytes, tuple[str, int]]]:
        await until(lambda: len(self.received) >= count, LIMIT_S)
        return self.received


def associate(egress: Egress, circuit: object = None) -> FakeDatagrams:
    """Open an association that shall be accepted."""
    flow = FakeDatagrams(circuit)
    egress.datagrams_requested(flow)
    assert flow.accepted
    return flow


def refused(egress: Egress, circuit: object = None) -> Reason:
    """Ask for an association that shall not be accepted, and tell the reason."""
    flow = FakeDatagrams(circuit)
    egress.datagrams_requested(flow)
    assert not flow.accepted
    assert flow.reason is not None
    return flow.reason
