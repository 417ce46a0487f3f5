"""The control stream of a link: handshake, then sealed control messages. Bytes in, events out.

Records before the handshake are in the clear:

    WANT_DESCRIPTOR 16 ‖ proof             a dialler without a link key asks for the descriptor; public: no proof
    DESCRIPTOR      17 ‖ descriptor
    initiation      type 1, 1,332 bytes
    response        type 2, 1,180 bytes

Everything after is a type-4 message whose plaintext is a kind (1 byte) and a body:

    HELLO    1   version (2), flags (1)    first sealed message of each side; confirms the keys
    CREATE   2   circuit (4), creation
    CREATED  3   circuit (4), answer
    DESTROY  4   circuit (4), reason (1)
    GOSSIP   5   opaque to this layer
    PING     6   token (8)                 whoever has an event loop that runs answers with
    PONG     7   token (8)                 the same token
    8 to 15                                see `address_messages` and the node's holds
    GOAWAY  18  circuit (4), hops (1)      a hop of the circuit is about to stop: 0, the sender, 1, the one after it, …
    PAYMENT 19  opaque to this layer, at most 256 bytes

The side that dialled gives even circuit numbers, the other one odd numbers; both count up. Kinds that a version does
not know are ignored, so that a later version may add some.
"""

from __future__ import annotations

import struct
from enum import Enum, IntEnum, auto
from typing import TYPE_CHECKING, Final, NamedTuple

from core.errors import DecodeError, Reason
from tunnel.creation import ANSWER_BYTES, CREATION_BYTES
from tunnel.limits import MAX_CONTROL, MAX_HOPS
from tunnel.wireguard.constants import LINK_IDENTIFIER, TYPE_INITIATION, TYPE_RESPONSE
from tunnel.wireguard.handshake import Initiator, Responder
from tunnel.wireguard.noise import NO_PSK
from tunnel.wireguard.session import Sequence, Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from tunnel.wireguard.handshake import Entropy, Keys

WANT_DESCRIPTOR: Final = 16
DESCRIPTOR: Final = 17
MAX_DESCRIPTOR: Final = 996
MAX_PROOF: Final = 32
MARK_BYTES: Final = 16
MAX_PAYMENT: Final = 256
VERSION: Final = 1

_HELLO: Final = struct.Struct(">HB")
_CIRCUIT: Final = struct.Struct(">I")
_TOKEN: Final = struct.Struct(">Q")


class Kind(IntEnum):
    HELLO = 1
    CREATE = 2
    CREATED = 3
    DESTROY = 4
    GOSSIP = 5
    PING = 6
    PONG = 7
    OBSERVED = 8
    CHECK = 9
    CHECKED = 10
    MEET = 11
    KNOCK = 12
    MET = 13
    HOLD = 14
    HELD = 15
    GOAWAY = 18
    PAYMENT = 19


class State(Enum):
    """Where a control stream stands."""

    START = auto()
    WANTING = auto()
    INITIATED = auto()
    RESPONDED = auto()
    UP = auto()


_LEGAL: Final = {
    (State.START, State.WANTING),
    (State.START, State.INITIATED),
    (State.WANTING, State.INITIATED),
    (State.START, State.RESPONDED),
    (State.INITIATED, State.UP),
    (State.RESPONDED, State.UP),
}


class LinkUp(NamedTuple):
    """The other side has proved its keys. `static` is its static key: a relay's link key, or a client's fresh one."""

    static: bytes
    keys: Keys


class GotDescriptor(NamedTuple):
    """The answer to `want_descriptor`. Verify it, then call `initiate`."""

    raw: bytes


class GotControl(NamedTuple):
    """A sealed control message other than HELLO."""

    kind: int
    body: bytes


type Event = LinkUp | GotDescriptor | GotControl


class ControlMachine:
    """One side of a control stream.

    Take what is to be sent from `outgoing` after every call.

    Args:
        static: own static key.
        local_index: own session index, 32 bits.
        entropy: returns as many random bytes as asked for.
        tell: what to tell whoever asks with a proof (at most 32 bytes), at most 996 bytes; None for nothing.
        preshared: the network's preshared key, 32 bytes.
        is_new: whether an initiation with this mark (16 bytes) has not come to this node before.
    """

    def __init__(
        self,
        static: X25519PrivateKey,
        local_index: int,
        entropy: Entropy,
        tell: Callable[[bytes], bytes | None],
        preshared: bytes = NO_PSK,
        is_new: Callable[[bytes], bool] = lambda mark: True,
    ) -> None:
        self._static = static
        self._local_index = local_index
        self._entropy = entropy
        self._tell = tell
        self._preshared = preshared
        self._is_new = is_new
        self._initiator: Initiator | None = None
        self._peer_static = b""
        self._told = False
        self._keys: Keys | None = None
        self._sealed: Sequence | None = None
        self.state = State.START
        self.outgoing: list[bytes] = []

    def _enter(self, state: State) -> None:
        if (self.state, state) not in _LEGAL:
            raise DecodeError("control", "out of order")
        self.state = state

    # -- the dialling side

    def want_descriptor(self, proof: bytes = b"") -> None:
        """Ask for the other side's descriptor.

        Args:
            proof: at most 32 bytes that show the right to ask; none in a public network.
        """
        self._enter(State.WANTING)
        self.outgoing.append(bytes([WANT_DESCRIPTOR]) + proof)

    def initiate(self, peer_static: bytes, timestamp: bytes) -> None:
        """Send the initiation to a side whose static key (32 bytes) is known.

        Raises:
            DecodeError: the key is not usable.
        """
        initiator = Initiator(
            LINK_IDENTIFIER, self._static, peer_static, self._local_index, self._entropy, self._preshared
        )
        try:
            message = initiator.create_initiation(timestamp)
        except ValueError as error:
            raise DecodeError("descriptor", "has an unusable link key") from error
        self._enter(State.INITIATED)
        self._initiator, self._peer_static = initiator, peer_static
        self.outgoing.append(message)

    # -- both sides

    def receive(self, record: bytes) -> list[Event]:
        """Take one record of the stream.

        Raises:
            DecodeError: the other side broke the protocol; drop the link.
        """
        if not record:
            raise DecodeError("control", "empty record")
        match self.state:
            case State.START:
                return self._first(record)
            case State.WANTING:
                return self._descriptor_came(record)
            case State.INITIATED if self._sealed is None:
                return self._response_came(record)
            case _:
                return self._sealed_came(record)

    def send(self, kind: Kind, body: bytes) -> None:
        """Seal a control message.

        Raises:
            RuntimeError: the link is not up.
        """
        if self.state is not State.UP:
            raise RuntimeError("the link is not up")
        self._send(kind, body)

    def _send(self, kind: Kind, body: bytes) -> None:
        assert self._sealed is not None
        self.outgoing.append(self._sealed.seal(bytes([kind]) + body))

    def _first(self, record: bytes) -> list[Event]:
        if record[0] == WANT_DESCRIPTOR and len(record) <= 1 + MAX_PROOF:
            own = None if self._told else self._tell(record[1:])
            if own is None:
                raise DecodeError("control", "asked twice" if self._told else "there is no descriptor for strangers")
            self._told = True
            self.outgoing.append(bytes([DESCRIPTOR]) + own)
            return []
        if record[0] != TYPE_INITIATION:
            raise DecodeError("control", "out of order")
        responder = Responder(LINK_IDENTIFIER, self._static, self._entropy, self._preshared)
        received = responder.consume_initiation(record)
        # The hash covers all but mac1 and mac2, which follow from the rest.
        if not self._is_new(received.state.hash[:MARK_BYTES]):
            raise DecodeError("control", "initiation repeated")
        response, keys = received.create_response(self._local_index)
        self._enter(State.RESPONDED)
        self._peer_static = received.static
        self._agreed(keys)
        self.outgoing.append(response)
        return []

    def _descriptor_came(self, record: bytes) -> list[Event]:
        if record[0] != DESCRIPTOR or len(record) > 1 + MAX_DESCRIPTOR:
            raise DecodeError("control", "out of order")
        return [GotDescriptor(record[1:])]

    def _response_came(self, record: bytes) -> list[Event]:
        if record[0] != TYPE_RESPONSE or self._initiator is None:
            raise DecodeError("control", "out of order")
        self._agreed(self._initiator.consume_response(record))
        self._initiator = None
        self._send(Kind.HELLO, _HELLO.pack(VERSION, 0))
        return []

    def _agreed(self, keys: Keys) -> None:
        self._keys = keys
        self._sealed = Sequence(Session(keys))

    def _sealed_came(self, record: bytes) -> list[Event]:
        assert self._sealed is not None
        assert self._keys is not None
        plaintext = self._sealed.open(record)
        if not plaintext:
            raise DecodeError("control", "empty message")
        kind, body = plaintext[0], plaintext[1:]
        if self.state is State.UP:
            if kind == Kind.HELLO:
                raise DecodeError("control", "out of order")
            return [GotControl(kind, body)]
        self._hello(kind, body)
        return [LinkUp(self._peer_static, self._keys)]

    def _hello(self, kind: int, body: bytes) -> None:
        if kind != Kind.HELLO or len(body) != _HELLO.size:
            raise DecodeError("control", "out of order")
        if _HELLO.unpack(body)[0] != VERSION:
            raise DecodeError("control", "another version")
        answering = self.state is State.RESPONDED
        self._enter(State.UP)
        if answering:
            self._send(Kind.HELLO, _HELLO.pack(VERSION, 0))


# -- bodies


def encode_circuit(circuit: int, rest: bytes) -> bytes:
    """Body of CREATE, CREATED, DESTROY and GOAWAY: a circuit number of 32 bits, then the rest."""
    return _CIRCUIT.pack(circuit) + rest


def decode_circuit(kind: int, body: bytes) -> tuple[int, bytes]:
    """Read the body of CREATE, CREATED, DESTROY or GOAWAY.

    Raises:
        DecodeError: wrong length for its kind.
    """
    sizes = {Kind.CREATE: CREATION_BYTES, Kind.CREATED: ANSWER_BYTES, Kind.DESTROY: 1, Kind.GOAWAY: 1}
    if len(body) != _CIRCUIT.size + sizes[Kind(kind)]:
        raise DecodeError("control", "wrong length")
    return _CIRCUIT.unpack_from(body)[0], body[_CIRCUIT.size :]


def decode_reason(rest: bytes) -> Reason:
    return Reason.from_wire(rest[0])


def decode_hops(rest: bytes) -> int:
    """Read what follows the circuit in GOAWAY. It never means an exit, which speaks for itself on flow 0.

    Raises:
        DecodeError: no path has so many relays.
    """
    if rest[0] > MAX_HOPS - 2:
        raise DecodeError("control", "too many hops")
    return rest[0]


def check_payment(body: bytes) -> bytes:
    """Return the body of PAYMENT.

    Raises:
        DecodeError: it is longer than one may be.
    """
    if len(body) > MAX_PAYMENT:
        raise DecodeError("control", "payment too long")
    return body


def encode_token(token: int) -> bytes:
    """Body of PING and PONG: 64 bits."""
    return _TOKEN.pack(token)


def decode_token(body: bytes) -> int:
    """Read the body of PING or PONG.

    Raises:
        DecodeError: wrong length.
    """
    if len(body) != _TOKEN.size:
        raise DecodeError("control", "wrong length")
    token: int = _TOKEN.unpack(body)[0]
    return token


assert CREATION_BYTES + 64 < MAX_CONTROL
