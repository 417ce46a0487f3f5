"""What the front needs from the tunnel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from core.flow import DatagramFlow, Flow, FlowRequest


class Dialer(Protocol):
    """Open flows and UDP associations through the tunnel."""

    async def dial(self, request: FlowRequest, *, early: bool) -> Flow:
        """Open a flow, and wait until the exit has connected it to its destination.

        Bytes of the destination may already wait in the flow; `Flow.attach` delivers them. When the call is
        cancelled, no flow stays behind.

        Args:
            request: where to.
            early: return as soon as the request is on its way. What is written follows it at once; the flow ends with
                the reason if it is not opened.

        Raises:
            core.errors.FlowError: the flow could not be opened, with the reason.
        """

    async def dial_datagrams(self, isolation: str) -> DatagramFlow:
        """Open a UDP association, and wait until the exit has one. When the call is cancelled, none stays behind.

        Args:
            isolation: as in a `FlowRequest`.

        Raises:
            core.errors.FlowError: it could not be opened, with the reason.
        """
