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
class ScanLimits:
    """What counts as a search for hosts and ports, see `exits.scans`.

    Args:
        failed: different destinations of one circuit that failed within `window_s`.
        trying: different destinations of one circuit that are being tried, and have not answered it yet: twice what
            Chromium asks for at once on a page of 150 hosts.
        failed_in_network: different destinations of one network, over all circuits, likewise.
        window_s: for so long a failure counts.
        closed_s: for so long new destinations are refused.
        known: destinations that answered, remembered for each circuit; the eldest gives way.
        networks: networks of which failures are remembered; the eldest gives way.
    """

    failed: int = 100
    trying: int = 300
    failed_in_network: int = 32
    window_s: float = 60.0
    closed_s: float = 120.0
    known: int = 512
    networks: int = 4096


@dataclass(frozen=True, slots=True)
class DestinationLimits:
    """What one destination, an address and a port, gets from one exit over all circuits.

    Args:
        flows: connections at once, with those being made; of these, a circuit has at most as many as are free, see
            `Shares`.
        attempts: connections in a row, and
        attempts_per_s: how fast this fills up again. A closed connection keeps its local port for a minute, and Linux
            has 28,232 of them for each destination: half of these, and half of what a minute frees.
        silent: attempts that are not answered, or not yet, in a row, and
        silent_per_s: how fast these are forgotten. An answer takes the attempt off the count at once, so that this
            bounds who floods with openings of connections, and not who opens many.
        remembered: destinations of which anything is remembered; the one that was used least lately gives way. More
            than there can be flows, or one that is in use could be forgotten.
    """

    flows: int = 3072
    attempts: int = 14_000
    attempts_per_s: float = 230.0
    silent: int = 1024
    silent_per_s: float = 10.0
    remembered: int = 8192


@dataclass(frozen=True, slots=True)
class EgressLimits:
    """What an exit takes on at once. There is no limit to how long a connection lasts in all: what is in use harms
    nobody, and downloads and sessions do take days.

    Args:
        flows: connections at once, with those being made. A circuit has at most as many of them as are free.
        connecting: connections being made at once, with their look-ups; shared out likewise.
        attempts: flows asked for by one circuit in a row, and
        attempts_per_s: how fast this fills up again.
        all_attempts: the same for all circuits together, and
        all_attempts_per_s: how fast this fills up again.
        setup_s: time for look-up and connecting together, in seconds.
        linger_s: time that a destination has to take the last bytes of a flow that has ended, in seconds.
        idle_s: a connection on which no byte came from either side for so long is ended (RFC 5382, REQ-5: not less
            than two hours and four minutes).
        half_closed_s: the same once one side has finished (RFC 5382, REQ-5: not less than four minutes).
        destination: see there.
        scans: see there.
        datagrams: see there.
    """

    flows: int = 4096
    connecting: int = 2048
    attempts: int = 12_000
    attempts_per_s: float = 200.0
    all_attempts: int = 24_000
    all_attempts_per_s: float = 800.0
    setup_s: float = 10.0
    linger_s: float = 60.0
    idle_s: float = 7440.0
    half_closed_s: float = 240.0
    destination: DestinationLimits = DestinationLimits()
    scans: ScanLimits = ScanLimits()
    datagrams: DatagramLimits = DatagramLimits()
