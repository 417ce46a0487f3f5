"""The pump between a client and its flow."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from core.errors import Reason
from core.pump import Pump

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from core.flow import Flow
    from proxy.ask import Wrapped

_NO_LINGER: Final = struct.pack("ii", 1, 0)


class ClientPump(Pump):
    """A pump that resets the connection of a client to whom nothing was sent: so a refused one looks to a program
    that was told "granted" before. A clean end would be an empty answer.

    Args:
        flow: an open flow.
        on_done: as for `Pump`. When `wrapped` has a rest, the connection is still open, and its owner's again.
        wrapped: what stands before the flow, if anything does.
    """

    def __init__(self, flow: Flow, on_done: Callable[[Reason, int, int], None], wrapped: Wrapped | None = None) -> None:
        super().__init__(wrapped or flow, on_done)
        self._wrapped = wrapped

    def flow_closed(self, reason: Reason) -> None:
        if self._wrapped is not None and self._wrapped.rest is not None and not self._flow_over:
            self._flow_over = True
            self._write_held()
            self._done(reason)
            return
        if reason is not Reason.DONE and not self.received_bytes and self._transport is not None:
            _reset_when_closed(self._transport)
        super().flow_closed(reason)


def _reset_when_closed(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")
    with suppress(OSError):  # it may be closed already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
