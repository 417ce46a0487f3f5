"""A UDP association at the local port: datagrams between one client and the tunnel, for as long as both want it.

The client's TCP connection stands for the association: when one of the two ends, so does the other (RFC 1928, section
7). Datagrams that cannot be passed on at once are dropped and counted, as on any network. None is sent from this
machine itself: a program would tell others both the exit's address and the user's, and so who the user is. So what a
bypass rule names is dropped, too, and so is what a rule blocks or wants on circuits of a kind: an association has one
circuit, chosen as the settings say.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Final

from core.errors import DecodeError, Reason
from proxy.datagrams import LARGEST_BYTES, read_datagram, write_header

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from core.flow import Buffer, DatagramFlow

BUFFER_BYTES: Final = 1 << 18
"""The system's buffers of the client's side, each way, so far as the system grants them: 0.1 s of 20 Mbit/s."""

BATCH: Final = 32
"""Datagrams that are read before other work gets its turn."""

_READ = memoryview(bytearray(LARGEST_BYTES + 1))
"""What every association of the process reads into; what does not fit is too large to be sent on."""


def open_socket(transport: asyncio.Transport) -> socket.socket:
    """Bind a UDP socket to the address at which a client has reached this machine.

    Args:
        transport: the client's connection.

    Raises:
        OSError: the system has no socket left, or the connection is gone.
    """
    stream = transport.get_extra_info("socket")
    host, _, *rest = transport.get_extra_info("sockname") or stream.getsockname()
    sock = socket.socket(stream.family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        sock.bind((host, 0, *rest))
    except BaseException:
        sock.close()
        raise
    return sock


class Association:
    """Implements `core.flow.DatagramListener`. Call `close` at the end, whatever ended it.

    Args:
        sock: where the client sends to; the association's from now on.
        flow: the association in the tunnel, likewise.
        client: the address of the client's TCP connection, and the port from which it will send, 0 for that of its
            first datagram.
        allows: whether a host and port may be sent to.
        counters: get `datagram_…` for every one that is dropped: `malformed`, fragments among them; `foreign`, from
            elsewhere than the client; `not_allowed`; `lost`, which the tunnel did not take; `unread`, which the client
            did not take.

    Attributes:
        over: done when the tunnel's end is over, with the reason.
    """

    def __init__(
        self,
        sock: socket.socket,
        flow: DatagramFlow,
        client: tuple[str, int],
        allows: Callable[[str, int], bool],
        counters: Counter[str],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._flow = flow
        self._client_host, self._client_port = client
        self._client: tuple[Any, ...] = ()
        self._allows = allows
        self._counters = counters
        self.over: asyncio.Future[Reason] = self._loop.create_future()
        self._loop.add_reader(sock, self._readable)
        flow.attach(self)

    def close(self) -> None:
        """End the association, if it has not ended."""
        self._loop.remove_reader(self._sock)
        self._sock.close()
        self._flow.close(Reason.LOCAL)

    # -- from the client

    def _readable(self) -> None:
        for _ in range(BATCH):
            try:
                size, source = self._sock.recvfrom_into(_READ)
            except OSError:  # mostly: nothing more has come
                return
            if dropped := self._take(_READ[:size], source):
                self._counters[f"datagram_{dropped}"] += 1

    def _take(self, data: memoryview, source: tuple[Any, ...]) -> str:
        """Pass a datagram on, or say under which word it is dropped."""
        if source != self._client and not self._may_be_client(source):
            return "foreign"
        try:
            host, port, start = read_datagram(data)
        except DecodeError:
            return "malformed"
        self._client = source
        if not self._allows(host, port):
            return "not_allowed"
        return "" if self._flow.send(host, port, data[start:]) else "lost"

    def _may_be_client(self, source: tuple[Any, ...]) -> bool:
        return not self._client and source[0] == self._client_host and self._client_port in (0, source[1])

    # -- core.flow.DatagramListener

    def datagram_came(self, host: str, port: int, data: Buffer) -> None:
        try:
            datagram = write_header(host, port) + data
        except DecodeError:
            self._counters["datagram_malformed"] += 1
            return
        try:
            if self._client:  # else the exit speaks before it was spoken to
                self._sock.sendto(datagram, self._client)
        except OSError:
            self._counters["datagram_unread"] += 1

    def flow_closed(self, reason: Reason) -> None:
        if not self.over.done():
            self.over.set_result(reason)
