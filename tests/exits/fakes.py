"""Both ends of an exit's work for tests: a flow whose client sits in the test, a DNS server, destinations."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from collections import Counter, deque
from ipaddress import ip_address
from typing import TYPE_CHECKING, Self

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from core.errors import Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from core.flow import Buffer, FlowListener
    from exits.addresses import Address

WINDOW_BYTES = 1 << 18
"""Credit of a `FakeFlow` in each direction."""

LIMIT_S = 10.0


class FakeFlow:
    """A flow as the tunnel gives it to an exit, with the client's end as methods of the test.

    It asserts what a real flow relies on: one `attach`, one `finish`, no more credit returned than was used, and no
    writing after `write` returned False.

    Args:
        circuit: what stands for the circuit that carries it; None for one of its own.
    """

    def __init__(self, circuit: object = None) -> None:
        self.circuit = self if circuit is None else circuit
        self.accepted = asyncio.Event()
        self.closed: asyncio.Future[Reason] = asyncio.get_running_loop().create_future()
        self.received = bytearray()
        self.received_eof = asyncio.Event()
        self.reading = True
        self._listener: FlowListener | None = None
        self._early: deque[bytes | None] = deque()
        self._credit = WINDOW_BYTES
        self._credit_returned = asyncio.Event()
        self._unread_bytes = 0
        self._blocked = False
        self._sent_eof = False
        self._news = asyncio.Event()

    # -- the exit's end

    def attach(self, listener: FlowListener) -> None:
        assert self._listener is None, "attached twice"
        self._listener = listener
        while self._early:
            self._deliver(self._early.popleft())
        if self.closed.done():
            listener.flow_closed(self.closed.result())

    def accept(self) -> None:
        assert not self.accepted.is_set(), "accepted twice"
        if not self.closed.done():
            self.accepted.set()

    def write(self, data: Buffer) -> bool:
        if self.closed.done():
            return True
        assert self.accepted.is_set(), "wrote before accepting"
        assert not self.received_eof.is_set(), "wrote after finishing"
        assert not self._blocked, "wrote although there was no room"
        self.received += data
        self._news.set()
        if not self.reading:
            self._unread_bytes += len(data)
            self._blocked = self._unread_bytes >= WINDOW_BYTES
        return not self._blocked

    def finish(self) -> None:
        if self.closed.done():
            return
        assert not self.received_eof.is_set(), "finished twice"
        self.received_eof.set()
        self._news.set()
        self._end_if_both_finished()

    def reset(self, reason: Reason) -> None:
        self._listener = None
        self._close(reason)

    def consumed(self, count: int) -> None:
        self._credit += count
        assert self._credit <= WINDOW_BYTES, "returned more credit than was used"
        self._credit_returned.set()

    # -- the client's end

    @property
    def used_credit(self) -> int:
        return WINDOW_BYTES - self._credit

    async def send(self, data: bytes) -> None:
        """Send all bytes, waiting for credit."""
        view = memoryview(data)
        while view:
            while not self._credit:
                self._credit_returned.clear()
                await asyncio.wait_for(self._credit_returned.wait(), LIMIT_S)
            count = self.send_within_credit(bytes(view[:65536]))
            view = view[count:]
            await asyncio.sleep(0)  # let the loop write

    def send_within_credit(self, data: bytes) -> int:
        """Send as much as the credit admits, and say how many bytes that was."""
        data = data[: self._credit]
        self._credit -= len(data)
        self._deliver(data)
        return len(data)

    def client_finish(self) -> None:
        self._sent_eof = True
        self._deliver(None)
        self._end_if_both_finished()

    def client_reset(self, reason: Reason = Reason.LOCAL) -> None:
        listener = self._listener
        self._close(reason)
        if listener is not None:
            listener.flow_closed(reason)

    def read_again(self) -> None:
        """Take everything that waited, and read on."""
        self.reading = True
        self._unread_bytes = 0
        if self._blocked:
            self._blocked = False
            assert self._listener is not None
            self._listener.flow_writable()

    async def wait_received(self, count: int) -> bytes:
        while len(self.received) < count:
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), LIMIT_S)
        return bytes(self.received)

    async def wait_accepted(self) -> None:
        await asyncio.wait_for(self.accepted.wait(), LIMIT_S)

    async def wait_eof(self) -> None:
        await asyncio.wait_for(self.received_eof.wait(), LIMIT_S)

    async def wait_closed(self) -> Reason:
        return await asyncio.wait_for(asyncio.shield(self.closed), LIMIT_S)

    def _deliver(self, data: bytes | None) -> None:
        if self._listener is None:
            self._early.append(data)
        elif data is None:
            self._listener.flow_eof()
        else:
            self._listener.flow_data(data)

    def _end_if_both_finished(self) -> None:
        if self._sent_eof and self.received_eof.is_set() and self._listener is not None:
            listener = self._listener
            self._close(Reason.DONE)
            listener.flow_closed(Reason.DONE)

    def _close(self, reason: Reason) -> None:
        if not self.closed.done():
            self.closed.set_result(reason)


class Origin:
    """A TCP destination. It counts its connections and remembers where they came from.

    Args:
        serve: what to do with each connection; by default it sends everything back.
    """

    def __init__(
        self, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] | None = None
    ) -> None:
        self._serve = serve or send_back
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._work: set[asyncio.Task[None]] = set()
        self._arrived = asyncio.Event()
        self.clients: list[str] = []
        self.port = 0

    @property
    def open_connections(self) -> int:
        return len(self._work)

    async def wait_clients(self, count: int) -> list[str]:
        """Wait until so many connections have come, and tell the addresses they came from."""
        while len(self.clients) < count:
            self._arrived.clear()
            await asyncio.wait_for(self._arrived.wait(), LIMIT_S)
        return self.clients

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> Self:
        self._server = await asyncio.start_server(self._connected, host, port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aenter__(self) -> Self:
        return self if self._server else await self.start()

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = writer.get_extra_info("peername")
        if name is None:  # it was reset before it was accepted
            writer.close()
            return
        self.clients.append(name[0])
        self._arrived.set()
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._work.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            writer.close()
            self._writers.discard(writer)
            self._work.discard(task)


async def send_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


class SilentListener:
    """An address that never answers a connection: a listening socket whose queue is full."""

    def __init__(self, host: str, port: int = 0) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family)
        self._socket.bind((host, port))
        self._socket.listen(0)
        self.port: int = self._socket.getsockname()[1]
        self._fillers = [socket.socket(family) for _ in range(4)]
        for filler in self._fillers:
            filler.setblocking(False)
            filler.connect_ex((host, self.port))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._socket, *self._fillers):
            sock.close()


def open_sockets_to(port: int) -> int:
    """Count the sockets of this process that are connected to a port."""
    count = 0
    for entry in os.listdir("/dev/fd"):
        if not os.path.exists(f"/dev/fd/{entry}") or not stat.S_ISSOCK(os.stat(f"/dev/fd/{entry}").st_mode):
            continue
        with socket.socket(fileno=os.dup(int(entry))) as sock, contextlib.suppress(OSError):
            peer = sock.getpeername()
            count += isinstance(peer, tuple) and peer[1] == port
    return count


class FixedResolver:
    """A resolver that knows the answer."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = [ip_address(address) for address in addresses]
        self.names: list[str] = []
        self.circuits: list[object] = []

    async def resolve(
        self, name: str, circuit: object = None, late: asyncio.Future[list[Address]] | None = None
    ) -> list[Address]:
        self.names.append(name)
        self.circuits.append(circuit)
        if late is not None:
            late.set_result([])
        return list(self._addresses)


SILENCE = "silence"
TRUNCATED = "truncated"
FORGED = "forged"
ALIAS = "alias"
FORGERIES = (b"", b"\0" * 11, b"\xff" * 40, "wrong id", "wrong name", "wrong kind")
NXDOMAIN = dns.rcode.NXDOMAIN
SERVFAIL = dns.rcode.SERVFAIL

type Reply = Sequence[str] | dns.rcode.Rcode | str


class DnsServer(asyncio.DatagramProtocol):
    """A DNS server on loopback, over UDP and TCP on one port.

    Args:
        script: the replies for each (name, type), one a query, the last one again and again: addresses, a code,
            `SILENCE`, `TRUNCATED` (over TCP the reply after it is given), `FORGED` or `ALIAS` (the reply after it is
            given, behind forged ones or under another name). What is not in it has no data.
        port: where; 0 for any free port.
    """

    def __init__(self, script: dict[tuple[str, str], list[Reply]], port: int = 0) -> None:
        self._script = script
        self._asked: Counter[tuple[str, str]] = Counter()
        self._transport: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None
        self.over_udp = 0
        self.over_tcp = 0
        self.forged = 0
        self.ids: list[int] = []
        self.client_ports: list[int] = []
        self.names: list[str] = []
        self.port = port

    async def __aenter__(self) -> Self:
        while self._transport is None:
            await self._bind()
        return self

    async def _bind(self) -> None:
        """Take one port for both. Where any will do, one that is free for TCP may be taken for UDP: then not."""
        server = await asyncio.start_server(self._tcp, "127.0.0.1", self.port)
        port = server.sockets[0].getsockname()[1]
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            datagrams.bind(("127.0.0.1", port))
        except OSError:
            datagrams.close()
            server.close()
            await server.wait_closed()
            if self.port:
                raise
            return
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, sock=datagrams)
        self._server, self.port = server, port

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        assert self._transport is not None
        self._transport.close()
        self._server.close()
        await self._server.wait_closed()

    @property
    def queries(self) -> int:
        return self.over_udp + self.over_tcp

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.over_udp += 1
        self.client_ports.append(addr[1])
        assert self._transport is not None
        for reply in self.answers(data):
            self._transport.sendto(reply, addr)

    async def _tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.over_tcp += 1
        length = int.from_bytes(await reader.readexactly(2), "big")
        for reply in self.answers(await reader.readexactly(length)):
            writer.write(len(reply).to_bytes(2, "big") + reply)
        await writer.drain()
        writer.close()

    def answers(self, data: bytes) -> list[bytes]:
        query = dns.message.from_wire(data)
        self.ids.append(query.id)
        self.names.append(query.question[0].name.to_text())
        reply = self._next_reply(query)
        if reply == SILENCE:
            return []
        if reply == FORGED:
            forgeries = [self._forge(query, how) for how in FORGERIES]
            self.forged += len(forgeries)
            return [*forgeries, _respond(query, self._next_reply(query))]
        if reply == ALIAS:
            return [_respond(query, self._next_reply(query), alias="alias.example.net.")]
        return [_respond(query, reply)]

    def _next_reply(self, query: dns.message.Message) -> Reply:
        question = query.question[0]
        key = (question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype))
        replies = self._script.get(key, [[]])
        reply = replies[min(self._asked[key], len(replies) - 1)]
        self._asked[key] += 1
        return reply

    def _forge(self, query: dns.message.Message, how: bytes | str) -> bytes:
        if isinstance(how, bytes):
            return how
        question = query.question[0]
        name = "other.example.net." if how == "wrong name" else question.name
        kind = dns.rdatatype.MX if how == "wrong kind" else question.rdtype
        other = dns.message.make_query(name, kind, id=query.id ^ 1 if how == "wrong id" else query.id)
        return _respond(other, [] if how == "wrong kind" else ["127.0.0.1"])


def _respond(query: dns.message.Message, reply: Reply, alias: str | None = None) -> bytes:
    question = query.question[0]
    response = dns.message.make_response(query)
    response.flags |= dns.flags.RA
    if reply == TRUNCATED:
        response.flags |= dns.flags.TC
    elif isinstance(reply, dns.rcode.Rcode):
        response.set_rcode(reply)
    elif reply:
        if alias:
            response.answer.append(dns.rrset.from_text(question.name, 0, "IN", "CNAME", alias))
        response.answer.append(dns.rrset.from_text(alias or question.name, 0, "IN", question.rdtype, *reply))
    return response.to_wire(max_size=65535)
