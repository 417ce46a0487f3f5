"""A UDP association: a flow whose bytes are datagrams.

Opening, resetting and going on over another circuit are those of any flow. Datagrams travel beside its stream and are
lost while its path changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import DecodeError
from tunnel.frames import encode_datagram

if TYPE_CHECKING:
    from core.errors import Reason
    from core.flow import Buffer, DatagramListener
    from tunnel.flow import FlowEnd
    from tunnel.frames import Datagram


class Datagrams[End: FlowEnd]:
    """A `core.flow.DatagramFlow`, and the listener of the flow beneath.

    Args:
        flow: one that nobody listens to yet.
    """

    def __init__(self, flow: End) -> None:
        self.flow = flow
        self._listener: DatagramListener | None = None
        flow.datagram_listener = self._came
        flow.attach(self)

    # -- core.flow.DatagramFlow

    def attach(self, listener: DatagramListener) -> None:
        self._listener = listener
        if self.flow.over:
            self.flow_closed(self.flow.reason)

    def send(self, host: str, port: int, data: Buffer) -> bool:
        try:
            frames = encode_datagram(host, port, data)
        except ValueError:
            return False
        return self.flow.send_datagram(frames)

    def close(self, reason: Reason) -> None:
        self._listener = None
        self.flow.reset(reason)

    # -- core.flow.FlowListener

    def flow_data(self, data: Buffer) -> None:
        raise DecodeError("DATA", "in an association")

    def flow_eof(self) -> None:
        self.flow.finish()

    def flow_writable(self) -> None:
        """Datagrams do not wait for room."""

    def flow_closed(self, reason: Reason) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.flow_closed(reason)

    def _came(self, datagram: Datagram) -> None:
        if self._listener is not None:
            self._listener.datagram_came(*datagram)
