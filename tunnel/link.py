"""A link: one QUIC connection between two neighbours that proved their keys.

TLS is not trusted. Every record on a flow's stream ends in a link tag: an AEAD tag over an empty text, with the
message as associated data, the stream's number and the record's position as nonce, and a key of this link and
direction. It is checked before anything is counted or forwarded, and a wrong one ends the link.
"""

from __future__ import annotations

import asyncio
import logging
import math
import struct
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from core.errors import CircuitError, DecodeError, LinkError, Reason
from core.fault import place
from tunnel.assembler import Assembler
from tunnel.begun import Begun
from tunnel.control import (
    ControlMachine,
    GotControl,
    GotDescriptor,
    Kind,
    LinkUp,
    check_payment,
    decode_circuit,
    decode_hops,
    decode_reason,
    decode_token,
    encode_circuit,
    encode_token,
)
from tunnel.datagram_tags import DatagramTags
from tunnel.leftover import Leftovers
from tunnel.limits import MAX_CONTROL, PONGS_PER_S, UNREAD_LINK_BYTES
from tunnel.link_stream import LinkStream
from tunnel.rate import Rate
from tunnel.unread import Unread
from tunnel.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.ids import PeerKey
    from tunnel.engines.seam import Connection
    from tunnel.link_events import CircuitMaker, CircuitOwner, LinkEvents
    from tunnel.link_stream import StreamReceiver, Watcher
    from tunnel.tally import Tally
    from tunnel.wireguard.handshake import Keys

CONTROL_STREAM: Final = 0
_LABEL_TAGS: Final = b"Macro VPN v1 link tags"
_LABEL_BINDING: Final = b"Macro VPN v1 link binding"
MAX_CUT: Final = 8192
"""Streams of the other side that were cut off here and may still deliver: as many as it can have open at once."""

_LENGTH: Final = struct.Struct(">H")

_log = logging.getLogger(__name__)


class Link:
    """One neighbour.

    Args:
        connection: the QUIC connection.
        machine: this side of the control stream.
        events: whom to tell.
        on_closed: called once, when the connection is gone.
        dialled: whether this side opened the connection.
        verify: reads the descriptor that answers `want_descriptor`; returns its link key and the time as TAI64N.
        begun: counts what neighbours of this node have begun and not finished.
        unread: bounds what they do not read of what is said to them.

    Attributes:
        watch: whether the neighbour's event loop runs.
        binding: 32 bytes that both ends of this link know, and no other link has, once it is up.
        needed_at: loop time at which it was last seen to be needed; infinite if it stays as long as both ends live.
    """

    tag_sealer: ChaCha20Poly1305
    tag_opener: ChaCha20Poly1305
    datagram_tags: DatagramTags
    binding: bytes

    def __init__(
        self,
        connection: Connection,
        machine: ControlMachine,
        events: LinkEvents,
        on_closed: Callable[[Link], None],
        *,
        dialled: bool,
        verify: Callable[[bytes], tuple[bytes, bytes]] | None = None,
        begun: Begun | None = None,
        unread: Unread | None = None,
    ) -> None:
        self.connection = connection
        self.events = events
        self.dialled = dialled
        self._on_closed = on_closed
        self.peer: PeerKey | None = None
        self.static = b""
        self.up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed = False
        self.counters: Counter[str] = Counter()
        self._machine = machine
        self._verify = verify
        self._begun = begun or Begun()
        self._unread = unread or Unread([self])
        self._control_in = Assembler(MAX_CONTROL)
        self._streams: dict[int, LinkStream] = {}
        self._cut: dict[int, None] = {}
        self.leftovers = Leftovers(self)
        self._next_circuit = 0 if dialled else 1
        self._last_asked = -1
        self._asked: set[int] = set()
        self._answers: dict[int, asyncio.Future[bytes]] = {}
        self._owners: dict[int, CircuitOwner] = {}
        self._makers: dict[int, CircuitMaker] = {}
        self._time = asyncio.get_running_loop().time
        self.needed_at = math.inf
        self.watch = Watch(self._ping, partial(self.fail, "neighbour silent"))
        self._silence = self.watch.silence
        self._pongs = Rate(PONGS_PER_S, PONGS_PER_S, self._time())
        if dialled:
            connection.open_stream()

    # -- opening

    def initiate(self, peer_static: bytes, timestamp: bytes) -> None:
        """Begin the handshake with a neighbour whose link key is known."""
        self._machine.initiate(peer_static, timestamp)
        self._flush()

    def want_descriptor(self, proof: bytes = b"") -> None:
        """Ask a neighbour whose link key is not known for its descriptor; the handshake follows by itself."""
        self._machine.want_descriptor(proof)
        self._flush()

    def _is_up(self, static: bytes, keys: Keys) -> None:
        self.datagram_tags = DatagramTags(keys, dialled=self.dialled)
        first, second = (ChaCha20Poly1305(key) for key in keys.derive(_LABEL_TAGS, 2))
        self.tag_sealer, self.tag_opener = (first, second) if self.dialled else (second, first)
        (self.binding,) = keys.derive(_LABEL_BINDING, 1)
        self.static = static
        if not self.up.done():
            self.up.set_result(None)
        self.events.link_up(self)

    def keep(self) -> None:
        """Let it stay as long as both ends live."""
        self.needed_at = math.inf

    @property
    def chosen(self) -> bool:
        """Whether this node dialled it, and wants it for itself and for long."""
        return self.dialled and self.needed_at == math.inf

    @property
    def is_up(self) -> bool:
        return self.up.done() and not self.closed

    @property
    def carries_circuits(self) -> bool:
        """Whether a circuit goes over it, or is being created."""
        return bool(self._owners or self._asked)

    @property
    def heard_at(self) -> float:
        """Loop time of the last bytes."""
        return self._silence.heard_at

    # -- circuits on the control stream

    async def create(self, message: bytes, owner: CircuitMaker, timeout_s: float) -> tuple[int, bytes]:
        """Ask the neighbour to create a circuit, and watch it meanwhile.

        Returns:
            The circuit's number on this link, and the answer.

        Raises:
            CircuitError: `NEXT_HOP`, the neighbour is silent or the link ended; `TIMED_OUT`, it lives and did not
                answer in time.
        """
        circuit = self._next_circuit
        self._next_circuit += 2
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._answers[circuit] = answer
        self._owners[circuit] = self._makers[circuit] = owner
        try:
            self._send_control(Kind.CREATE, encode_circuit(circuit, message))
            return circuit, await self.watch.until(answer, timeout_s)
        except (TimeoutError, LinkError) as error:
            self.destroy(circuit, Reason.TIMED_OUT)
            silent = isinstance(error, LinkError)
            raise CircuitError(Reason.NEXT_HOP if silent else Reason.TIMED_OUT) from error
        except asyncio.CancelledError:
            self.destroy(circuit, Reason.CLOSED)
            raise
        finally:
            self._answers.pop(circuit, None)

    def answer(self, circuit: int, answer: bytes, owner: CircuitOwner) -> bool:
        """Answer the neighbour's creation; `owner` hears when the circuit is destroyed.

        Returns:
            False when the neighbour has destroyed it meanwhile, or the link is gone: nobody waits for the answer.
        """
        if circuit not in self._asked:
            return False
        self._asked.discard(circuit)
        self._owners[circuit] = owner
        self._send_control(Kind.CREATED, encode_circuit(circuit, answer))
        return True

    def destroy(self, circuit: int, reason: Reason) -> None:
        """Tell the neighbour that a circuit is over, and forget it. Its owner is not told."""
        self._makers.pop(circuit, None)
        if self._owners.pop(circuit, None) is not None:
            self._send_control(Kind.DESTROY, encode_circuit(circuit, bytes([reason])))

    def go_away(self, circuit: int, hops: int) -> None:
        """Tell the neighbour that made a circuit that this peer is about to stop, or a hop so many places after it."""
        if circuit in self._owners:
            self._send_control(Kind.GOAWAY, encode_circuit(circuit, bytes([hops])))

    def send_gossip(self, body: bytes) -> None:
        self._send_control(Kind.GOSSIP, body)

    def send_payment(self, body: bytes) -> None:
        """Send a message about money, at most `MAX_PAYMENT` bytes, if the link is up."""
        self._send_control(Kind.PAYMENT, body)

    def tell(self, kind: Kind, body: bytes) -> None:
        """Send a message about where peers are, if the link is up."""
        self._send_control(kind, body)

    def _ping(self, token: int) -> None:
        self._send_control(Kind.PING, encode_token(token))

    def _send_control(self, kind: Kind, body: bytes) -> None:
        if not self.closed and self.is_up:
            self._machine.send(kind, body)
            self._flush()

    @property
    def unread_bytes(self) -> int:
        """What was said on the control stream and has not left."""
        return self.connection.unsent(CONTROL_STREAM)

    def _flush(self) -> None:
        written = 0
        for record in self._machine.outgoing:
            self.connection.write(CONTROL_STREAM, _LENGTH.pack(len(record)) + record)
            written += len(record)
        self._machine.outgoing.clear()
        if self.unread_bytes > UNREAD_LINK_BYTES:
            self.fail("control queue")
        else:
            self._unread.wrote(written)

    def _control_received(self, data: memoryview) -> None:
        for record in self._control_in.feed(data):
            for event in self._machine.receive(bytes(record)):
                match event:
                    case LinkUp(static, keys):
                        self._flush()
                        self._is_up(static, keys)
                    case GotDescriptor(raw):
                        if self._verify is None:
                            raise DecodeError("control", "out of order")
                        link_key, timestamp = self._verify(raw)
                        self._machine.initiate(link_key, timestamp)
                    case GotControl(kind, body):
                        self._control(kind, body)
            self._flush()

    def _control(self, kind: int, body: bytes) -> None:
        match kind:
            case Kind.CREATE | Kind.CREATED | Kind.DESTROY | Kind.GOAWAY:
                circuit, rest = decode_circuit(kind, body)
                self._circuit_control(kind, circuit, rest)
            case Kind.GOSSIP:
                self.events.gossip(self, body)
            case Kind.PAYMENT:
                self.events.payment(self, check_payment(body))
            case Kind.PING:
                self._pinged(decode_token(body))
            case Kind.PONG:
                if not self.watch.answered(decode_token(body)):
                    self.counters["pong answers nothing"] += 1
            case Kind.OBSERVED | Kind.CHECK | Kind.CHECKED | Kind.MEET | Kind.KNOCK | Kind.MET | Kind.HOLD | Kind.HELD:
                self.events.whereabouts(self, Kind(kind), body)
            case _:
                self.counters["unknown control"] += 1

    def _pinged(self, token: int) -> None:
        if self._pongs.take(self._time()):
            self._send_control(Kind.PONG, encode_token(token))
        else:
            self.counters["ping too often"] += 1

    def _circuit_control(self, kind: int, circuit: int, rest: bytes) -> None:
        ours = circuit % 2 == (0 if self.dialled else 1)
        if kind == Kind.CREATE:
            if ours or circuit <= self._last_asked:
                raise DecodeError("control", "wrong circuit number")
            self._last_asked = circuit
            self._asked.add(circuit)
            self.events.creation(self, circuit, rest)
        elif kind == Kind.CREATED:
            answer = self._answers.pop(circuit, None)
            if answer is not None and not answer.done():
                answer.set_result(rest)
        elif kind == Kind.GOAWAY:
            hops = decode_hops(rest)
            if not ours:
                raise DecodeError("control", "wrong circuit number")
            if (maker := self._makers.pop(circuit, None)) is not None:
                maker.leaving(hops)
        else:
            self._destroyed(circuit, decode_reason(rest))

    def _destroyed(self, circuit: int, reason: Reason) -> None:
        self._asked.discard(circuit)
        self._makers.pop(circuit, None)
        owner = self._owners.pop(circuit, None)
        answer = self._answers.pop(circuit, None)
        if answer is not None and not answer.done():
            answer.set_exception(LinkError(reason))
        elif owner is not None:
            owner.destroyed(reason)

    # -- streams

    def open_stream(
        self, receiver: StreamReceiver, tally: Tally | None = None, watcher: Watcher | None = None
    ) -> LinkStream:
        """Open a stream of a circuit. The neighbour learns of it with the first record."""
        stream = LinkStream(self, self.connection.open_stream(), receiver)
        stream.tally, stream.watcher = tally, watcher
        self._streams[stream.id] = stream
        return stream

    def forget_stream(self, stream: LinkStream) -> None:
        """Take no more bytes of a stream that is over in both directions, or was cut off and may still get some."""
        if self._streams.pop(stream.id, None) is None:
            return
        self.has_begun(stream, 0)
        if stream.cut and self._theirs(stream.id):
            self._cut[stream.id] = None
            if len(self._cut) > MAX_CUT:
                del self._cut[next(iter(self._cut))]

    def has_begun(self, stream: LinkStream, size: int) -> None:
        """Note how much the other side has begun on a stream and not finished."""
        if not self.closed:
            change, stream.begun_bytes = size - stream.begun_bytes, size
            self._begun.count(self, change)

    def _theirs(self, number: int) -> bool:
        """Whether a stream of this number is one that the other side opens."""
        return number % 4 == (1 if self.dialled else 0)

    @property
    def stream_count(self) -> int:
        return len(self._streams)

    # -- called by the engine

    def stream_received(self, stream: int, data: memoryview, end: bool) -> None:
        if self.closed:
            return
        self._silence.heard_at = self._time()
        try:
            if stream == CONTROL_STREAM:
                self._control_received(data)
                if end:
                    self.fail("control stream ended")
                return
            self._flow_received(stream, data, end)
        except DecodeError as error:
            self.fail(str(error))
        except Exception as error:
            # The engine loses the event of a handler that raises; a link that lost bytes must not go on.
            _log.error("link dropped after an unexpected error: %s", place(error))
            self.fail("internal error")

    def _flow_received(self, number: int, data: memoryview, end: bool) -> None:
        stream = self._streams.get(number)
        if stream is None:
            if not self.is_up:
                raise DecodeError("link", "stream before the handshake")
            if not len(data) or number in self._cut or not self._theirs(number):
                # Cut off, or ours and forgotten already, or not one that the other side may open.
                if end:
                    self._cut.pop(number, None)
                return
            stream = self._streams[number] = LinkStream(self, number, None)
        if len(data):
            stream.received(data)
        if end:
            if stream.left or not stream.cut:
                stream.finished()
            self._cut.pop(number, None)

    def stream_reset(self, stream: int) -> None:
        self._cut.pop(stream, None)
        if stream == CONTROL_STREAM:
            self.fail("control stream reset")
        elif (found := self._streams.pop(stream, None)) is not None:
            self.has_begun(found, 0)
            self.guarded(found.broken)

    def datagram_received(self, data: memoryview) -> None:
        if self.closed:
            return
        try:
            if not self.is_up:
                raise DecodeError("datagram", "before the handshake")
            number, message = self.datagram_tags.open(data)
        except DecodeError as error:
            self.counters[str(error)] += 1
            return
        stream = self._streams.get(number)
        if stream is None or stream.cut:
            self.counters["datagram of no stream"] += 1
        else:
            self.guarded(partial(stream.datagram_came, message))

    def stream_drained(self, stream: int) -> None:
        if (found := self._streams.get(stream)) is not None:
            self.guarded(found.drained)

    def guarded(self, call: Callable[[], None]) -> None:
        """Call something that must not raise. If it does, the link is dropped."""
        try:
            call()
        except Exception as error:
            _log.error("link dropped after an unexpected error: %s", place(error))
            self.fail("internal error")

    def fail(self, why: str) -> None:
        """Drop the link because the other side broke the protocol; counted by a constant phrase."""
        if not self.closed:
            self.counters[why] += 1
            _log.info("link dropped: %s", why)
            self.connection.close()

    def close(self) -> None:
        """End the link and everything on it."""
        self.connection.close()

    def connection_closed(self) -> None:
        if self.closed:
            return
        was_up = self.is_up
        self.closed = True
        self._begun.gone(self)
        self.leftovers.close()
        self.watch.close()
        if not self.up.done():
            self.up.set_exception(LinkError(Reason.NEXT_HOP))
            self.up.exception()  # seen; whoever waits gets it all the same
        for answer in list(self._answers.values()):
            if not answer.done():
                answer.set_exception(LinkError(Reason.NEXT_HOP))
        self._asked.clear()
        self._makers.clear()
        owners, self._owners = self._owners, {}
        for owner in owners.values():
            self.guarded(partial(owner.destroyed, Reason.NEXT_HOP))
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            self.guarded(stream.broken)
        if was_up:
            self.events.link_down(self)
        self._on_closed(self)
