"""Has the gateway started anew, and forgotten its mappings? Its own seconds tell."""

from __future__ import annotations


class PcpEpoch:
    """The epoch of a PCP server. Source: RFC 6887, section 8.5."""

    def __init__(self) -> None:
        self._last: tuple[int, float] | None = None

    def goes_on(self, epoch_s: int, now: float) -> bool:
        """Note an epoch.

        Args:
            epoch_s: what the server said.
            now: seconds of a clock that also runs while the machine sleeps.

        Returns:
            False when the server has lost its state, or its clock runs in another way than ours.
        """
        last, self._last = self._last, (epoch_s, now)
        if last is None:
            return True
        server_s, client_s = epoch_s - last[0], now - last[1]
        if server_s < -1:
            return False
        return client_s + 2 >= server_s - server_s / 16 and server_s + 2 >= client_s - client_s / 16


class NatPmpEpoch:
    """The epoch of a NAT-PMP gateway, whose clock may be slower by an eighth. Source: RFC 6886, section 3.6."""

    def __init__(self) -> None:
        self._last: tuple[int, float] | None = None

    def goes_on(self, epoch_s: int, now: float) -> bool:
        """Note an epoch; see `PcpEpoch.goes_on`."""
        last, self._last = self._last, (epoch_s, now)
        return last is None or epoch_s >= last[0] + (now - last[1]) * 7 / 8 - 2
