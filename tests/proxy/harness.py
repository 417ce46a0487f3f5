"""Sites, dialers and clients around a front, all on loopback and all closed at the end."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Self

from core.errors import FlowError, Reason
from core.flow import MAX_DATAGRAM_BYTES
from proxy.direct import DirectFlow
from proxy.front import Front, FrontLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from core.flow import Buffer, DatagramFlow, DatagramListener, Flow, FlowListener, FlowRequest
    from pac.rules import RuleSet
    from proxy.dialer import Dialer
    from proxy.early import EarlyMode

LIMIT_S = 10.0

type Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Site:
    """A TCP server on loopback that counts its connections."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.connections = 0
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        async with asyncio.timeout(LIMIT_S):
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._handler(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send everything back, and finish when the client has finished."""
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


class TcpOnly:
    """The half of a dialer whose exits refuse UDP associations."""

    async def dial_datagrams(self, isolation: str) -> DatagramFlow:
        raise FlowError(Reason.NOT_ALLOWED)


class LoopbackDialer(TcpOnly):
    """Connects every request to one port on loopback, and remembers what was asked."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.requests: list[FlowRequest] = []
        self.early: list[bool] = []

    async def dial(self, request: FlowRequest, *, early: bool) -> Flow:
        self.requests.append(request)
        self.early.append(early)
        _, flow = await asyncio.get_running_loop().create_connection(DirectFlow, "127.0.0.1", self.port)
        return flow


class FailingDialer:
    """Refuses every request."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason

    async def dial(self, request: FlowRequest, *, early: bool) -> Flow:
        raise FlowError(self.reason)

    async def dial_datagrams(self, isolation: str) -> DatagramFlow:
        raise FlowError(self.reason)


class FarDialer(TcpOnly):
    """Plays an exit that refuses for a reason, or connects when there is none; who does not wait gets a flow."""

    def __init__(self, reason: Reason | None = None) -> None:
        self.reason = reason
        self.flows: list[MemoryFlow] = []

    async def dial(self, request: FlowRequest, *, early: bool) -> Flow:
        if not early and self.reason is not None:
            raise FlowError(self.reason)
        self.flows.append(MemoryFlow())
        return self.flows[-1]


class SilentDialer:
    """Never comes back, and tells whether it was cancelled."""

    def __init__(self) -> None:
        self.dialing = 0
        self.cancelled = asyncio.Event()

    async def dial(self, request: FlowRequest, *, early: bool) -> Flow:
        await self._wait()
        raise AssertionError

    async def dial_datagrams(self, isolation: str) -> DatagramFlow:
        await self._wait()
        raise AssertionError

    async def _wait(self) -> None:
        self.dialing += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


class DatagramDialer(FailingDialer):
    """Gives UDP associations without a network, and refuses all else."""

    def __init__(self) -> None:
        super().__init__(Reason.REFUSED)
        self.isolations: list[str] = []
        self.flows: list[MemoryDatagrams] = []

    async def dial_datagrams(self, isolation: str) -> DatagramFlow:
        self.isolations.append(isolation)
        self.flows.append(MemoryDatagrams())
        return self.flows[-1]


class MemoryDatagrams:
    """A UDP association without a network: what is sent is kept, what arrives is told by the test."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int, bytes]] = []
        self.listener: DatagramListener | None = None
        self.ended: Reason | None = None
        self.free = True

    def attach(self, listener: DatagramListener) -> None:
        self.listener = listener

    def send(self, host: str, port: int, data: Buffer) -> bool:
        if self.free and len(data) <= MAX_DATAGRAM_BYTES:
            self.sent.append((host, port, bytes(data)))
            return True
        return False

    def close(self, reason: Reason) -> None:
        self.ended = reason

    @property
    def heard(self) -> DatagramListener:
        """The listener, for a test to tell something."""
        assert self.listener is not None
        return self.listener


class MemoryFlow:
    """A flow without a network: what is written is kept, what arrives is told by the test."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.listener: FlowListener | None = None
        self.finished = False
        self.ended: Reason | None = None
        self.credit = 0
        self.free = True

    def attach(self, listener: FlowListener) -> None:
        self.listener = listener

    def write(self, data: Buffer) -> bool:
        self.written += data
        return self.free

    def finish(self) -> None:
        self.finished = True

    def reset(self, reason: Reason) -> None:
        self.ended = reason

    def consumed(self, count: int) -> None:
        self.credit += count

    @property
    def heard(self) -> FlowListener:
        """The listener, for a test to tell something."""
        assert self.listener is not None
        return self.listener


class Client:
    """A connection to the front."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def read(self, count: int) -> bytes:
        async with asyncio.timeout(LIMIT_S):
            return await self.reader.readexactly(count)

    async def read_all(self) -> bytes:
        """Everything until the end, which a reset also is."""
        data = bytearray()
        async with asyncio.timeout(LIMIT_S):
            with suppress(ConnectionError):
                while piece := await self.reader.read(1 << 16):
                    data += piece
        return bytes(data)

    async def asks(self, data: bytes) -> bytes:
        """Send everything and read everything."""
        with suppress(ConnectionError):
            self.send(data)
            await self.writer.drain()
        return await self.read_all()

    async def socks(self, host: str, port: int, user: str = "") -> int:
        """Ask for a connection by name. Returns the reply's code."""
        if user:
            self.send(b"\x05\x01\x02\x01" + bytes([len(user)]) + user.encode() + b"\x01x")
            assert await self.read(4) == b"\x05\x02\x01\x00"
        else:
            self.send(b"\x05\x01\x00")
            assert await self.read(2) == b"\x05\x00"
        self.send(b"\x05\x01\x00" + by_name(host, port))
        reply = await self.read(10)
        assert (reply[0], reply[2:]) == (5, b"\0\1\0\0\0\0\0\0"), "version, bound to 0.0.0.0:0"
        return reply[1]


def by_name(host: str, port: int) -> bytes:
    """The address part of a SOCKS5 request for a name."""
    return b"\x03" + bytes([len(host)]) + host.encode() + port.to_bytes(2, "big")


class Stage:
    """Makes fronts, sites and clients, and ends them all."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def site(self, handler: Handler = echo) -> Site:
        return await self._stack.enter_async_context(Site(handler))

    async def front(
        self,
        dialer: Dialer,
        rules: RuleSet | None = None,
        limits: FrontLimits | None = None,
        password: str | None = None,
        early: EarlyMode = "auto",
    ) -> Front:
        front = Front(dialer, rules, limits, password=password, early=early)
        await front.start("127.0.0.1", 0)
        self._stack.push_async_callback(front.stop)
        return front

    async def client(self, front: Front) -> Client:
        return await self._stack.enter_async_context(connect(front))


@asynccontextmanager
async def connect(front: Front, host: str = "") -> AsyncIterator[Client]:
    """A client, at an address of its own if one is given, that hangs up at the end."""
    reader, writer = await asyncio.open_connection(*front.address, local_addr=(host, 0) if host else None)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def until(true: Callable[[], bool]) -> None:
    """Wait for something that another task brings about."""
    async with asyncio.timeout(LIMIT_S):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.002)
