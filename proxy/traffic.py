"""How much went through the tunnel for the clients of the local port, and how long they waited: sums and a few times,
in memory, of no flow in particular."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.client_pump import ClientPump

MAX_TIMES: Final = 256
"""Times that nobody has taken yet; older ones are forgotten."""


class Traffic:
    """Counts the connections that it is told of."""

    def __init__(self) -> None:
        self._live: set[ClientPump] = set()
        self._over = (0, 0)
        self._times_s: deque[float] = deque(maxlen=MAX_TIMES)

    def __len__(self) -> int:
        """How many connections run now."""
        return len(self._live)

    def joined(self, pump: ClientPump) -> None:
        """Count a connection through the tunnel from now on."""
        self._live.add(pump)

    def first_byte(self, wait_s: float) -> None:
        """Note how long a client waited: for its flow, and from its own first byte to the first that came back."""
        self._times_s.append(wait_s)

    def ended(self, pump: ClientPump) -> None:
        """Keep what it carried, and forget it."""
        if pump in self._live:
            self._live.remove(pump)
            sent, received = self._over
            self._over = sent + pump.sent_bytes, received + pump.received_bytes

    @property
    def carried_bytes(self) -> tuple[int, int]:
        """Bytes sent into the tunnel and received from it, since the start. Datagrams are not counted."""
        sent, received = self._over
        for pump in self._live:
            sent += pump.sent_bytes
            received += pump.received_bytes
        return sent, received

    def take_times(self) -> list[float]:
        """Return what `first_byte` noted since the last call, in seconds."""
        times = list(self._times_s)
        self._times_s.clear()
        return times
