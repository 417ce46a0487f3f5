"""The pump between a client and its flow."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from core.ends import mark_finished
from core.pump import Pump

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.errors import Reason
    from core.flow import Buffer, Flow
    from proxy.ask import Wrapped
    from proxy.traffic import Traffic


class ClientPump(Pump):
    """A pump that can give the connection back. One that was refused after its program was told "granted" is reset, as
    every pump does: a clean end would be an empty answer.

    Args:
        flow: an open flow.
        on_done: as for every pump. When `wrapped` has a rest, the connection is still open, and its owner's again.
        on_gone: called once, when the connection is gone as well, if it was not its owner's again before.
        wrapped: what stands before the flow, if anything does.
        traffic: counts the connection; None for one that goes past the tunnel.
        dial_s: how long it took to open the flow.

    Attributes:
        busy_at: when something last moved, either way; seconds of the event loop.
    """

    def __init__(
        self,
        flow: Flow,
        on_done: Callable[[Reason, int, int], None],
        on_gone: Callable[[], None],
        wrapped: Wrapped | None = None,
        traffic: Traffic | None = None,
        dial_s: float = 0.0,
    ) -> None:
        super().__init__(wrapped or flow, on_done)
        self._wrapped = wrapped
        self._on_gone = on_gone
        self._now = asyncio.get_running_loop().time
        self.busy_at = self._now()
        self._traffic = traffic
        self._dial_s = dial_s
        self._asked_at: float | None = None

    def join(self, transport: asyncio.Transport, early: bytes = b"", early_eof: bool = False) -> None:
        if early:
            self._asked_at = self.busy_at
        if self._traffic is not None:
            self._traffic.joined(self)
        super().join(transport, early, early_eof)

    def buffer_updated(self, nbytes: int) -> None:
        self.busy_at = self._now()
        if self._asked_at is None:
            self._asked_at = self.busy_at
        super().buffer_updated(nbytes)

    def flow_data(self, data: Buffer) -> None:
        self.busy_at = self._now()
        if not self.received_bytes and self._asked_at is not None and self._traffic is not None:
            self._traffic.first_byte(self._dial_s + self.busy_at - self._asked_at)
        super().flow_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._on_gone()

    def flow_closed(self, reason: Reason) -> None:
        if self._wrapped is not None and self._wrapped.rest is not None and not self._flow_over:
            self._flow_over = True
            self._write_held()
            if self._transport is not None:
                mark_finished(self._transport)
            self._done(reason)
            return
        super().flow_closed(reason)

    def _done(self, reason: Reason) -> None:
        if self._traffic is not None:
            self._traffic.ended(self)
        super()._done(reason)
