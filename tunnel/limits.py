"""Every limit of the tunnel in one place. Sizes are in bytes, times in seconds."""

from __future__ import annotations

from typing import Final

# -- sizes that both ends must agree on (part of the protocol)

MAX_HOPS: Final = 5
MAX_PLAINTEXT: Final = 32 * 1024
"""Frames inside the innermost type-4 message."""

MAX_MESSAGE: Final = MAX_PLAINTEXT + MAX_HOPS * 32
"""A type-4 message on a flow stream: 16 bytes of header and 16 of authentication tag for each layer."""

MAX_CONTROL: Final = 16 * 1024
"""A control message, sealed."""

MAX_DATAGRAM: Final = 1400
"""What one QUIC datagram carries at most; a path may carry less."""

FLOW_WINDOW: Final = 64 * 1024
"""Bytes of DATA that one end of a flow may send before the other end has said anything."""

MAX_FLOW_WINDOW: Final = 8 * 1024 * 1024
"""Bytes of DATA that one end of a flow ever sends ahead of what the other end has dealt with."""

DATA_COST: Final = 256
"""What a circuit's credit counts for each DATA frame beside its bytes: more than layers and records add to it."""

CIRCUIT_WINDOW: Final = 1024 * 1024
"""What one end sends on a circuit, in DATA of all flows, before the other end has said what arrived."""

MAX_CIRCUIT_WINDOW: Final = 16 * 1024 * 1024
"""What one end ever sends on a circuit, in DATA, ahead of what has arrived. So much may wait at a hop."""

# -- how this implementation gives credit

CIRCUIT_GROWTH: Final = 16 * 1024 * 1024
"""What the flows of a circuit may be given beyond `FLOW_WINDOW` each, all together."""

CIRCUIT_KEPT: Final = 16 * 1024 * 1024
"""Bytes sent on a circuit and not dealt with, above which each of its flows may have `FLOW_WINDOW` under way."""

PROVEN_BYTES: Final = 2 * 1024 * 1024
"""A flow of which so much has been dealt with is read, and not just put into somebody's buffer."""

PROVEN_WINDOW: Final = 512 * 1024
"""The least window of such a flow, so that links, which are fair, divide the rate among flows, and not windows."""

LEAST_RTT_S: Final = 0.01
"""Shorter round trips are reckoned as this, since the programs at the ends need time as well."""

GUESSED_RATE: Final = 6_000_000
"""Bytes per second that a path is thought to carry until it was measured."""

NODE_BYTES: Final = 256 * 1024 * 1024
"""Bytes that a node holds for flows that end there; beyond, the one that holds most is ended."""

# -- what this implementation accepts

DATAGRAM_QUEUE: Final = 128 * 1024
"""Bytes that may wait on a stream before datagrams that must go there are dropped instead."""

CIRCUIT_QUEUE: Final = MAX_CIRCUIT_WINDOW * 2 + 1024 * 1024
"""Bytes a hop queues for one circuit, both ways; honest ends never get there, their credit is smaller."""

RELAY_BYTES: Final = 128 * 1024 * 1024
"""Bytes a hop queues in all; beyond, the link that holds most loses the circuit that is held up longest."""

QUEUE_STEP: Final = 512 * 1024
"""What is queued is counted anew after so many bytes."""

MAX_LINKS: Final = 2048
MAX_CIRCUITS_PER_LINK: Final = 1024
MAX_CREATIONS_PER_LINK: Final = 64
"""Creations that a link may have under way at once."""

MAX_FLOWS_PER_CIRCUIT: Final = 1024
MAX_REPLAY_MEMORY: Final = 1 << 17
"""Initiations remembered per onion key, so that none is accepted twice."""

LINK_HANDSHAKE_S: Final = 5.0
"""From the first byte of a connection to its first sealed message."""

DIAL_S: Final = 2.0
LINK_IDLE_S: Final = 8.0
LINK_KEEPALIVE_S: Final = 2.0
CREATION_S: Final = 2.5
"""A hop's patience with the hop after it."""

BUILD_S: Final = 4.0
"""A client's patience with a whole creation."""

CLOCK_SKEW_S: Final = 300.0
"""How far an initiation's timestamp may be off (WireGuard's has no such limit; creation messages do)."""

OPEN_S: Final = 30.0
"""From OPEN to OPENED or RESET; longer than an exit's patience with a destination."""

PING_EVERY_S: Final = 0.5
"""Between pings of a circuit that carries flows."""

PING_IDLE_S: Final = 10.0
"""Between pings of a circuit that carries none."""

SUSPECT_S: Final = 1.5
"""Silence after which a circuit that carries flows is given up."""

CIRCUIT_AGE_S: Final = 600.0
"""Mean age at which a circuit takes no more new flows."""

READY_CIRCUITS: Final = 2
MAX_CIRCUITS: Final = 32
"""Circuits that one client holds at once."""

PATH_S: Final = 2.5
"""A new flow's patience with the network: until then a live circuit must have taken it, or it is refused."""

AVOID_S: Final = 20.0
"""How long a peer whose circuit failed is left out while there are others."""

LONGEST_AVOID_S: Final = 60.0
"""The same for one that is blamed again and again."""

# -- moving flows to another circuit

ORPHAN_S: Final = 30.0
"""How long both ends keep a flow whose path is gone."""

MAX_ORPHANS: Final = 1024
ORPHAN_BYTES: Final = 64 * 1024 * 1024
"""Flows without a path, and the bytes that wait in them, at one exit; beyond, the oldest is given up."""

MOVE_TRIES: Final = 24
"""Circuits that are tried to the same exit for the flows of one that was lost, before they are given up."""

MOVE_BUILD_S: Final = 1.5
"""Patience with one of these."""

EXIT_FAILURES: Final = 1
"""How often a hop may say that it cannot reach the exit before its flows are given up."""
