"""Every limit of an exit's connections in one place. Sizes are in bytes, times in seconds.

docs/design/0023-egress-limits.md has the measurements behind them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DatagramLimits:
    """What an exit takes on for UDP associations.

    Args:
        associations: open at once. A circuit has at most as many of them as are free, see `Shares`; each is one or two
            sockets.
        destinations: pairs of host and port that one association remembers.
        unanswered: new destinations of one circuit that may be silent. One that answers is not counted any more, so
            that this bounds who looks for hosts, or sends to those who never asked, and not who talks with many.
        unanswered_per_s: how fast such destinations are forgotten.
        idle_s: an association, or a destination of one, to which the client sent nothing for so long is closed. What
            comes in does not count, or strangers could keep it open (RFC 4787, REQ-5: not less than two minutes, five
            recommended; REQ-6).
        refused_s: for so long a destination that was refused, or had no address, is not looked at again.
        checked_s: after so long a destination is checked again, since routes and addresses of the machine change.
        lookups: names of one association that are looked up at once.
        waiting: datagrams of one association that wait for look-ups.
        waiting_bytes: bytes in them.
        receive_buffer_bytes: what the system shall keep for one socket until it is read. It grants at most
            `net.core.rmem_max`.
    """

    associations: int = 1024
    destinations: int = 256
    unanswered: int = 64
    unanswered_per_s: float = 1.0
    idle_s: float = 300.0
    refused_s: float = 5.0
    checked_s: float = 30.0
    lookups: int = 16
    waiting: int = 32
    waiting_bytes: int = 32 * 1024
    receive_buffer_bytes: int = 512 * 1024


@dataclass(frozen=True, slots=True)
class EgressLimits:
    """What an exit takes on at once.

    Args:
        flows: connections at once, with those being made.
        connecting: connections being made at once, with their look-ups.
        setup_s: time for look-up and connecting together, in seconds.
        linger_s: time that a destination has to take the last bytes of a flow that has ended, in seconds.
        datagrams: see there.
    """

    flows: int = 4096
    connecting: int = 512
    setup_s: float = 10.0
    linger_s: float = 60.0
    datagrams: DatagramLimits = DatagramLimits()
