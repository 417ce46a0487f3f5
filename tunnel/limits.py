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

PAID_WINDOW: Final = 256 * 1024
"""The same of what comes from the exit of a circuit that costs something. Hops owe each other all that is under way,
and the first window of a payer covers that of four circuits; whoever has paid more says more at once."""

MAX_CIRCUIT_WINDOW: Final = 16 * 1024 * 1024
"""What one end ever sends on a circuit, in DATA, ahead of what has arrived. So much may wait at a hop."""

STEP_BYTES: Final = 1024
"""Messages on a lane of shape STEPS have multiples of this much plaintext."""

LANE_BYTES: Final = 8 * 1024
"""Plaintext of each message on a lane of shape EVEN."""

MAX_LANES: Final = 8
"""Lanes that a circuit may have."""

# -- how this implementation gives credit

CIRCUIT_GROWTH: Final = 16 * 1024 * 1024
"""What the flows of a circuit may be given beyond `FLOW_WINDOW` each, all together."""

CIRCUIT_KEPT: Final = 16 * 1024 * 1024
"""What the flows of a circuit may keep beyond `FLOW_WINDOW` each, all together, of what they sent."""

PROVEN_BYTES: Final = 2 * 1024 * 1024
"""A flow of which so much has been dealt with is read, and not just put into somebody's buffer."""

PROVEN_WINDOW: Final = 512 * 1024
"""The least window of such a flow, so that links, which are fair, divide the rate among flows, and not windows."""

LEAST_CIRCUIT_WINDOW: Final = 128 * 1024
"""What a circuit's window never falls below, on a path that carries less than that in `QUEUE_S`."""

QUEUE_S: Final = 1.0
"""Seconds of what a slow path carries that a circuit's window covers. What is beyond a round trip waits at the
narrowest place, and small flows wait behind it."""

LEAST_TURN: Final = 2 * 1024
"""Bytes that a flow may send at least when its circuit's credit is shared out."""

LEAST_RTT_S: Final = 0.01
"""Shorter round trips are reckoned as this, since the programs at the ends need time as well."""

GUESSED_RATE: Final = 12_000_000
"""Bytes for each second of round trip in a first window, until the path was measured: two round trips at 6 MB/s."""

NODE_BYTES: Final = 256 * 1024 * 1024
CLIENT_BYTES: Final = 72 * 1024 * 1024
"""What the flows that end at a node may take of its memory, at one that is an exit for others and at one that is not;
beyond, flows are ended (`tunnel/memory.py`). The process grows by a tenth more: docs/design/0029-local-port.md."""

FLOW_COST: Final = 10 * 1024
"""What a flow is counted as beside the bytes that it holds: the objects on both of its sides take 9 kB at a client."""

# -- how this implementation uses lanes

APART_BYTES: Final = 512 * 1024
"""A flow of which so much has been dealt with leaves its lane, unless that is EVEN, for a stream of its own. About
twice what two TCP sockets on one machine take in of a connection that nobody reads."""

HELD_EXTRA: Final = 64 * 1024
"""What is kept, beyond a flow's credit, of what came on such a stream while more may come on the lane."""

LANE_QUEUE: Final = 64 * 1024
"""Bytes of one flow that may wait for its lane before the flow is stopped."""

COVER_SHARE: Final = 0.1
COVER_RATE: Final = 4000
"""Messages of padding, in each direction of a circuit that carries flows: this share of what its lanes carry, and so
many bytes per second."""

# -- what this implementation accepts

DATAGRAM_QUEUE: Final = 128 * 1024
"""Bytes that may wait on a stream before datagrams that must go there are dropped instead."""

CIRCUIT_QUEUE: Final = MAX_CIRCUIT_WINDOW * 2 + 1024 * 1024
"""Bytes a hop queues for one circuit, both ways; honest ends never get there, their credit is smaller."""

UNPAID_QUEUE: Final = CIRCUIT_QUEUE
"""The same at a client, of what waits until it has paid."""

RELAY_BYTES: Final = 128 * 1024 * 1024
"""Bytes a hop queues in all; beyond, the link that holds most loses the circuit that is held up longest."""

BEGUN_BYTES: Final = 64 * 1024 * 1024
"""Bytes that may be begun on all streams of all links: honest ends have a part of one record on a stream at a time, so
two thousand large flows may stand in the middle of one."""

BLANK_BYTES: Final = 6 * 1024
"""What a stream without a record counts for it: `aiopquic` takes 4.6 kB for one (8,000 streams of a byte each)."""

UNREAD_LINK_BYTES: Final = 64 * MAX_CONTROL
"""Bytes that may wait on the control stream of one link for its neighbour to read, QUIC's own buffer included."""

UNREAD_BYTES: Final = 32 * 1024 * 1024
"""The same of all links: two answers to creations on each, were there `MAX_LINKS`."""

QUEUE_STEP: Final = 512 * 1024
"""What is queued is counted anew after so many bytes."""

MAX_LINKS: Final = 2048
MAX_LINKS_PER_HOST: Final = 256
"""Of these, links that one host has made, an IPv4 address or an IPv6 /64: one machine shall not take all places. Many
clients may share an address at their provider's router."""

MAX_INITIATIONS: Final = 1 << 14
"""First messages of links' handshakes that are remembered, so that none is answered twice."""
MAX_CIRCUITS_PER_LINK: Final = 1024
MAX_CREATIONS_PER_LINK: Final = 64
"""Creations that a link may have under way at once."""

CREATION_BURST: Final = 1024
CREATIONS_PER_S: Final = 200
"""Creations that come from one host and that a hop works for: so many at once, and so many a second. One takes it
0.7 ms, so one machine takes a seventh of a core. A client makes two a second at most (`BUILDS_PER_MINUTE`), and a relay
passes on what clients make over it."""

MAX_CREATING_HOSTS: Final = 4096
"""Hosts of which that is remembered."""

MAX_FLOWS_PER_CIRCUIT: Final = 1024
CLIENT_FLOWS_PER_CIRCUIT: Final = 768
"""No client puts more on a circuit. With one more than the exit takes, the lane ends and all of them lose their path,
and of those that are over the exit may not know yet."""
MAX_REPLAY_MEMORY: Final = 1 << 17
"""Creations remembered per onion key, of those that are in time; when so many are, new ones are refused."""

LINK_HANDSHAKE_S: Final = 5.0
"""From the first byte of a connection to its first sealed message."""

FIRST_DIAL_S: Final = 2.0
"""Patience with QUIC's handshake when a node looks for its very first neighbour, which it has no choice of."""

LEFT_S: Final = 10.0
"""For so long what is under way on the streams of a circuit that has ended may come, and what QUIC has taken of them
may be sent: 64 first windows on a line of 7 MB/s."""

LEFT_EXTRA: Final = CIRCUIT_WINDOW // 4
"""What may be under way on a circuit, at most, beside the DATA that its credit covers: padding, pings, credit."""

LINK_IDLE_S: Final = 8.0
LINK_KEEPALIVE_S: Final = 2.0

# -- who is silent. Each wait is longer than the ones inside it, so that whoever is nearest to the trouble names it:
#    WATCH_EVERY_S < NEIGHBOUR_S < LINK_SILENT_S < LINK_IDLE_S       a neighbour
#    DIAL_S + PAYING_S + 2 * NEIGHBOUR_S < CREATION_S < BUILD_S      a creation
#    PING_EVERY_S < UNEASY_S, UNEASY_S + NEIGHBOUR_S < SUSPECT_S     a circuit
#    UNEASY_S < DOUBTED_S < SUSPECT_S                                the same, for flows that are still to begin

WATCH_EVERY_S: Final = 0.2
"""Between two PINGs to a neighbour that somebody waits for."""

PONGS_PER_S: Final = 10
"""PINGs of a neighbour that are answered in a second; honest ones ask half as often."""

NEIGHBOUR_S: Final = 0.7
"""Silence on a link, while PING is open, after which its neighbour is said not to answer."""

LINK_SILENT_S: Final = 3.0
"""The same after which the link is closed, so that the next attempt dials anew."""

DIAL_S: Final = 0.8
"""Patience with QUIC's handshake at one address of a peer; the sealed handshake after it has NEIGHBOUR_S."""

PAYING_S: Final = 1.2
"""Patience with a next hop that is to be paid ahead and has not taken the money: three round trips, of 0.3 s from one
end of the world to the other, and a few writes to disk."""

CREATION_S: Final = 3.5
"""A hop's patience with a next hop that shows signs of life but does not answer a creation: room for that hop's own
dial, its sealed handshake, its first payment and its own wait for a silent neighbour."""

BUILD_S: Final = 4.0
"""A client's patience with a guard that shows signs of life; longer than CREATION_S, so that the guard's word comes."""

# -- dials at the word of others

UNANSWERED_BURST: Final = 16
UNANSWERED_PER_MINUTE: Final = 12
"""Dials on behalf of others' circuits into one network that nobody answered: so many at once, and so many a minute. One
costs whoever is there four packets, 5 kB, within `DIAL_S`."""

MAX_UNANSWERED: Final = 4096
"""Networks of which that is remembered."""

NEEDLESS_S: Final = 300.0
NEEDLESS_LOOK_S: Final = 30.0
NEEDLESS_LINKS: Final = 8
"""Links that were dialled for others' circuits, or for a question, and have carried no circuit for so long are closed
by the side that dialled; it is looked so often. So many stay, since news of peers come over them. One that is wanted
again costs a dial."""

# -- addresses that neighbours see

DIAL_BACK_S: Final = 1.0
"""Patience with QUIC's handshake when a neighbour's address is tried."""

DIAL_BACK_BURST: Final = 3
DIAL_BACKS_PER_MINUTE: Final = 6
"""Dial-backs for one neighbour."""

ALL_DIAL_BACKS_PER_MINUTE: Final = 30
"""Dial-backs for all neighbours together; as many at once."""

CHECKED_S: Final = 3.0
"""Patience with a neighbour that was asked for a dial-back."""

MEET_BURST: Final = 4
MEETS_PER_MINUTE: Final = 12
"""Meetings that one neighbour may ask for, and that one neighbour may be called to."""

ALL_KNOCKS_PER_MINUTE: Final = 60
"""Knocks at the word of all neighbours together; half as many at once."""

KNOCK_S: Final = 0.8
"""For so long a peer that was called to a meeting sends opening packets."""

MAX_MEETERS: Final = 3
"""Neighbours that are asked, one after the other, for a meeting with one peer."""

CLOCK_SKEW_S: Final = 300.0
"""How far an initiation's timestamp may be off (WireGuard's has no such limit; creation messages do)."""

OPEN_S: Final = 30.0
"""From OPEN to OPENED or RESET; longer than an exit's patience with a destination."""

PING_EVERY_S: Final = 0.5
"""Between pings of a circuit that carries flows."""

PING_IDLE_S: Final = 10.0
"""Between pings of a circuit that carries none."""

UNEASY_S: Final = 0.75
"""Silence on a circuit, while a ping is open, after which the guard is asked for a sign of life."""

DOUBTED_S: Final = 1.0
"""The same after which new flows take another circuit, if there is one."""

SUSPECT_S: Final = 1.6
"""The same after which the circuit is given up. Of the time before the ping at most PING_EVERY_S counts."""

CIRCUIT_AGE_S: Final = 600.0
"""Mean age at which a circuit takes no more new flows."""

READY_CIRCUITS: Final = 2
MAX_CIRCUITS: Final = 32
"""Circuits that one client holds at once."""

MAX_SITE_CIRCUITS: Final = 16
"""Of these, for sites for which the user wants something of its own: half, since pages choose to which sites flows go,
and what they choose must not leave all other sites without a circuit. Those that run may be moved beyond it."""

SITE_BUILD_BURST: Final = 15
SITE_BUILDS_PER_MINUTE: Final = 30
"""Builds that such sites may cause, for the same reason half of all; see `BUILD_BURST`."""

SITE_YIELDS_S: Final = 1.0
"""Such a circuit that has carried nothing for so long gives way to one that is needed more."""

SITE_IDLE_S: Final = 120.0
"""The same after which it is given up: longer than a reader pauses on a page, and far below a circuit's age."""

PATH_S: Final = 2.5
"""A new flow's patience with the network: until then a live circuit must have taken it, or it is refused."""

# -- blame: a weight per peer that halves again and again; see tunnel/blame.py

BLAME_HALF_S: Final = 15.0
"""Time in which blame halves."""

AVOID_FROM: Final = 0.25
"""Blame from which a peer is left out while there are others: 30 s after it was found silent once."""

MAX_BLAME: Final = 4.0
"""What blame adds up to at most, however often: one minute of being left out."""

PROVED_S: Final = 15.0
"""For so long a sign of life makes a peer preferred when a circuit is wanted at once."""

MAX_BLAMED: Final = 1024
"""Peers of whom blame or a sign of life is remembered."""

# -- building

BUILD_BURST: Final = 30
BUILDS_PER_MINUTE: Final = 120
"""Circuits that a client begins to build, for whatever purpose: so many at once, and so many a minute."""

BUILDS_KEPT: Final = 10
"""So many of those at once are for flows that wait, and for one circuit that is ready, and not for more of these."""

MAX_RACERS: Final = 4
"""Circuits under way at once to find a path for the same flows."""

STAGGER_S: Final = 0.3
"""After so long without a result the next one is begun, over other peers."""

# -- moving flows to another circuit

ORPHAN_S: Final = 30.0
"""How long both ends keep a flow whose path is gone."""

MAX_ORPHANS: Final = 1024
ORPHAN_BYTES: Final = 64 * 1024 * 1024
"""Flows without a path, and the bytes that wait in them, at one exit; beyond, the oldest is given up."""

MOVE_S: Final = 6.0
"""How long a circuit is looked for to replace one that still works, before there is a pause."""

MAX_REBUILDS: Final = 3
REBUILDS_WITHIN_S: Final = 600.0
"""How often circuits to one exit may end for no reason that is known, in how long, before its flows are given up and
it is left out until the first of these ends is as old as that: an exit that ends circuits must not make a client draw
relays again and again."""

EXIT_REPORTERS: Final = 2
EXIT_REPORTS: Final = 4
EXIT_REPORTS_WITHIN_S: Final = 15.0
"""An exit counts as dead when so many different hops before it, or one hop so many times, said within this time that
it does not answer."""

LEAVING_S: Final = 30.0
"""For so long a peer that is about to stop is left out: about what it takes until its descriptor says so everywhere."""

MAX_LEAVINGS: Final = 3
"""How often a peer may leave within `REBUILDS_WITHIN_S`, and how many guards and relays may leave from circuits to one
exit, before further words of it change nothing."""

MAX_LEAVERS: Final = 256
"""Peers, and exits, of which such words are remembered."""

MAX_EXITS: Final = 256
"""Exits whose circuits' ends are remembered."""

# -- exits that do not serve a flow; see docs/design/0026-asking-exits.md

MAX_ASKED: Final = 3
"""Exits that are asked for one flow: each further one learns where it was to go."""

FULL_S: Final = 30.0
"""For so long an exit that said `limit` or `leaving` is left out while there are others."""

BUSY_S: Final = 5.0
"""The same for one that said `busy`, which passes sooner."""

PORT_REFUSALS: Final = 2
PORT_REFUSED_S: Final = 300.0
"""An exit that did not allow so many flows to one port, and opened none to it between them, gets no new ones to that
port while there are others, until the last is as old as that."""

MAX_REFUSED_PORTS: Final = 16
"""Ports of one exit that are remembered for that."""

LATE_PORTS: Final = 8
LATE_PORTS_S: Final = 600.0
"""Ports that flows lately went to, and for how long a circuit to an exit that serves them is kept ready. As long as a
circuit lives, in the mean."""
