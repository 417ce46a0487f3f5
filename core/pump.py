"""Join a TCP connection to a flow: bytes both ways, half-close, and no more in memory than the credit allows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from core.ends import mark_finished, mark_unfinished
from core.errors import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.flow import Buffer, Flow

READ_BYTES: Final = 32756
"""Bytes of one read at most: what one message of the tunnel carries. So much of each flow may wait for credit."""

_READ = memoryview(bytearray(READ_BYTES))
"""What every pump of the process reads into. The event loop fills it and has it emptied within one callback."""

WASTE: Final = 16
"""A view is copied where its buffer is larger by more than this part of it."""


class Pump(asyncio.BufferedProtocol):
    """The asyncio protocol of the TCP side and the listener of the flow side, in one object.

    Where the flow does not end as it should, or this process ends first, the connection is reset: a clean end would say
    that all has come.

    Use `join` once the flow is open; from then on the pump owns both ends and closes both.

    Args:
        flow: an open flow.
        on_done: called once, after both ends are closed, with the reason and the bytes sent into and received from
            the flow.
    """

    def __init__(self, flow: Flow, on_done: Callable[[Reason, int, int], None] | None = None) -> None:
        self._flow = flow
        self._on_done = on_done
        self._transport: asyncio.Transport | None = None
        self._owed = 0
        self._held = bytearray()
        self._tcp_full = False
        self._flow_over = False
        self._finished = False
        self._reading_paused = False
        self._room = _READ
        self.sent_bytes = 0
        self.received_bytes = 0

    def join(self, transport: asyncio.Transport, early: bytes = b"", early_eof: bool = False) -> None:
        """Take over a connected transport.

        Args:
            transport: the TCP side; its protocol becomes this pump.
            early: bytes that were read from it already and belong into the flow.
            early_eof: its end of stream was already seen.
        """
        self._transport = transport
        mark_unfinished(transport)
        # While anything waits there, no credit is returned, and what comes is kept here: an event loop holds on to each
        # buffer as a whole until its last byte is gone.
        transport.set_write_buffer_limits(high=0)
        transport.pause_reading()  # an event loop may not change from one kind of protocol to the other while it reads
        transport.set_protocol(self)
        if early:
            self._came(early)
        if early_eof:
            self.eof_received()
        self._flow.attach(self)
        if not self._reading_paused:
            self._read_on()

    # -- the TCP side

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        self._came(self._room[:nbytes])

    def _came(self, data: Buffer) -> None:
        self.sent_bytes += len(data)
        if not self._flow.write(data):
            self._reading_paused = True
            if self._transport is not None and not self._transport.is_closing():
                self._transport.pause_reading()

    def eof_received(self) -> bool:
        if not self._finished:
            self._finished = True
            self._flow.finish()
        return True

    def pause_writing(self) -> None:
        self._tcp_full = True

    def resume_writing(self) -> None:
        self._tcp_full = False
        owed, self._owed = self._owed, 0
        self._write_held()
        if owed:
            self._flow.consumed(owed)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._flow_over:
            self._flow_over = True
            self._flow.reset(Reason.RESET if exc else Reason.LOCAL)
            self._done(Reason.RESET if exc else Reason.LOCAL)

    # -- the flow side

    def flow_data(self, data: Buffer) -> None:
        self.received_bytes += len(data)
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._tcp_full:
            # Joined, so that small pieces which nobody reads cost no more than their bytes.
            self._held += data
        else:
            self._write(data)

    def _write(self, data: Buffer) -> None:
        assert self._transport is not None
        self._transport.write(_of_its_own(data))
        if self._tcp_full:
            self._owed += len(data)
        else:
            self._flow.consumed(len(data))

    def _write_held(self) -> None:
        held, self._held = self._held, bytearray()
        if held and self._transport is not None and not self._transport.is_closing():
            self._write(held)

    def flow_eof(self) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing():
            self._write_held()
            transport.write_eof()

    def flow_writable(self) -> None:
        self._reading_paused = False
        self._read_on()

    def flow_closed(self, reason: Reason) -> None:
        if self._flow_over:
            return
        self._flow_over = True
        if self._transport is not None:
            if reason is Reason.DONE:
                self._write_held()
                mark_finished(self._transport)
                self._transport.close()
            else:
                self._transport.abort()
        self._done(reason)

    def _read_on(self) -> None:
        # Some event loops tell the end of stream again when reading is resumed after it.
        transport = self._transport
        if transport is not None and not (self._flow_over or self._finished or transport.is_closing()):
            transport.resume_reading()

    def _done(self, reason: Reason) -> None:
        if self._on_done is not None:
            on_done, self._on_done = self._on_done, None
            on_done(reason, self.sent_bytes, self.received_bytes)


def _of_its_own(data: Buffer) -> Buffer:
    """Copy a view of a buffer that is much larger: how full a message is, a peer decides, and what may have to wait
    must take no more memory than is counted."""
    if isinstance(data, memoryview) and WASTE * (memoryview(data.obj).nbytes - data.nbytes) > data.nbytes:
        return bytes(data)
    return data
