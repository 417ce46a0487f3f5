"""The control stream's machine: two of them in memory, each state, each kind of record."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DecodeError, Reason
from tests.harness.entropy import flipped, seeded
from tests.harness.linked import told
from tests.tunnel.wireguard.reference import SMALL_ORDER, mac1
from tunnel.control import (
    DESCRIPTOR,
    MAX_DESCRIPTOR,
    WANT_DESCRIPTOR,
    ControlMachine,
    GotControl,
    GotDescriptor,
    Kind,
    LinkUp,
    State,
    decode_circuit,
    decode_reason,
    encode_circuit,
)
from tunnel.creation import ANSWER_BYTES, CREATION_BYTES
from tunnel.repeats import Repeats
from tunnel.wireguard.constants import HOP_IDENTIFIER, LINK_IDENTIFIER, WIREGUARD_IDENTIFIER
from tunnel.wireguard.handshake import Initiator, Responder, tai64n
from tunnel.wireguard.primitives import private_key, public_bytes

NOW = tai64n(1_700_000_000)
WANT = bytes([WANT_DESCRIPTOR])


class Two:
    """A dialling machine and a serving one."""

    def __init__(self) -> None:
        self.entropy = seeded("control")
        self.static, self.other_static = private_key(self.entropy(32)), private_key(self.entropy(32))
        self.near = ControlMachine(self.static, 1, self.entropy, lambda _: None)
        self.far = ControlMachine(self.other_static, 2, self.entropy, told)

    def initiate(self) -> bytes:
        self.near.initiate(public_bytes(self.other_static), NOW)
        return taken(self.near)

    def responded(self) -> bytes:
        """Up to the point where the initiator must confirm; gives the response."""
        assert self.far.receive(self.initiate()) == []
        return taken(self.far)

    def up(self) -> None:
        assert self.near.receive(self.responded()) == []
        (event,) = self.far.receive(taken(self.near))
        assert isinstance(event, LinkUp)
        (event,) = self.near.receive(taken(self.far))
        assert isinstance(event, LinkUp)


def test_an_initiation_is_answered_once() -> None:
    """By all machines of a node together."""
    two, seen = Two(), Repeats(8)
    again, other = (ControlMachine(two.other_static, 3, two.entropy, told, is_new=seen.is_new) for _ in range(2))
    two.far = ControlMachine(two.other_static, 2, two.entropy, told, is_new=seen.is_new)
    message = two.initiate()
    assert two.far.receive(message) == []
    assert taken(two.far)
    with pytest.raises(DecodeError, match="repeated"):
        again.receive(message)
    assert not again.outgoing
    two.near = ControlMachine(two.static, 1, two.entropy, lambda _: None)
    assert other.receive(two.initiate()) == [], "another one of the same peer, with the same time"


def taken(machine: ControlMachine) -> bytes:
    """The one record that waits to be sent."""
    (record,) = machine.outgoing
    machine.outgoing.clear()
    return record


def machine_in(state: State) -> tuple[ControlMachine, Two]:
    """A machine in a state, and those that brought it there."""
    two = Two()
    match state:
        case State.START:
            return two.far, two
        case State.WANTING:
            two.near.want_descriptor()
        case State.INITIATED:
            two.initiate()
        case State.RESPONDED:
            two.responded()
            return two.far, two
        case State.UP:
            two.up()
    two.near.outgoing.clear()
    return two.near, two


def test_both_sides_come_up_and_agree() -> None:
    two = Two()
    two.near.receive(two.responded())
    (mine,) = two.far.receive(taken(two.near))
    (theirs,) = two.near.receive(taken(two.far))
    assert isinstance(mine, LinkUp)
    assert isinstance(theirs, LinkUp)
    assert mine.static == public_bytes(two.static)
    assert theirs.static == public_bytes(two.other_static)
    assert mine.keys.derive(b"x", 1) == theirs.keys.derive(b"x", 1)
    assert two.near.state is two.far.state is State.UP


def test_the_responder_is_up_only_after_the_first_sealed_message() -> None:
    two = Two()
    two.responded()
    assert two.far.state is State.RESPONDED
    with pytest.raises(RuntimeError):
        two.far.send(Kind.GOSSIP, b"")


@pytest.mark.parametrize("state", [state for state in State if state is not State.UP])
def test_nothing_is_sent_before_the_link_is_up(state: State) -> None:
    machine, _ = machine_in(state)
    with pytest.raises(RuntimeError):
        machine.send(Kind.GOSSIP, b"hello")


def test_control_messages_pass_both_ways_in_order() -> None:
    two = Two()
    two.up()
    for number in range(3):
        two.near.send(Kind.GOSSIP, bytes([number]))
        assert two.far.receive(taken(two.near)) == [GotControl(Kind.GOSSIP, bytes([number]))]
        two.far.send(Kind.DESTROY, bytes([number]))
        assert two.near.receive(taken(two.far)) == [GotControl(Kind.DESTROY, bytes([number]))]


def test_unknown_kinds_are_handed_on() -> None:
    two = Two()
    two.up()
    assert two.near._sealed is not None
    assert two.far.receive(two.near._sealed.seal(b"\xffbody")) == [GotControl(255, b"body")]


def test_a_descriptor_is_given_to_who_asks_and_the_handshake_follows() -> None:
    two = Two()
    two.near.want_descriptor()
    assert two.far.receive(taken(two.near)) == []
    assert two.near.receive(taken(two.far)) == [GotDescriptor(b"descriptor")]
    two.up()


def test_a_descriptor_is_given_once() -> None:
    """Who asks costs nothing and gets much more than it said."""
    two = Two()
    two.far.receive(WANT)
    assert taken(two.far)
    with pytest.raises(DecodeError, match="twice"):
        two.far.receive(WANT)
    assert two.far.outgoing == []
    two.up()


@pytest.mark.parametrize("size", [32, 33])
def test_what_is_told_depends_on_the_proof(size: int) -> None:
    seen: list[bytes] = []

    def tell(proof: bytes) -> bytes | None:
        seen.append(proof)
        return b"sealed" if proof == b"proof" else None

    machine = ControlMachine(private_key(bytes([1] * 32)), 1, seeded(), tell)
    with pytest.raises(DecodeError):
        machine.receive(WANT + bytes(size))
    assert seen == ([bytes(size)] if size == 32 else [])
    asking = ControlMachine(private_key(bytes([2] * 32)), 2, seeded(), lambda _: None)
    asking.want_descriptor(b"proof")
    assert machine.receive(taken(asking)) == []
    assert asking.receive(taken(machine)) == [GotDescriptor(b"sealed")]


def test_a_client_has_no_descriptor() -> None:
    machine = ControlMachine(private_key(bytes([1] * 32)), 1, seeded(), lambda _: None)
    with pytest.raises(DecodeError, match="no descriptor"):
        machine.receive(WANT)


@pytest.mark.parametrize("size", [MAX_DESCRIPTOR, MAX_DESCRIPTOR + 1])
def test_a_descriptor_has_a_largest_size(size: int) -> None:
    machine, _ = machine_in(State.WANTING)
    if size <= MAX_DESCRIPTOR:
        assert machine.receive(bytes([DESCRIPTOR]) + bytes(size)) == [GotDescriptor(bytes(size))]
    else:
        with pytest.raises(DecodeError):
            machine.receive(bytes([DESCRIPTOR]) + bytes(size))


def record(name: str, two: Two) -> bytes:
    """A record that is well-formed by itself, made for the far side."""
    if name == "initiation":
        initiator = Initiator(LINK_IDENTIFIER, two.static, public_bytes(two.other_static), 9, two.entropy)
        return initiator.create_initiation(NOW)
    records = {
        "want": WANT,
        "want with more": WANT + b"\0",
        "descriptor": bytes([DESCRIPTOR]) + b"descriptor",
        "response": b"\2" + bytes(1179),
        "sealed": b"\4" + bytes(60),
        "empty": b"",
        "other": b"\x63",
    }
    return records[name]


LEGAL = {(State.START, "want"), (State.START, "initiation"), (State.WANTING, "descriptor")}
RECORDS = ("initiation", "want", "want with more", "descriptor", "response", "sealed", "empty", "other")


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("name", RECORDS)
def test_each_record_in_each_state(state: State, name: str) -> None:
    machine, two = machine_in(state)
    if (state, name) in LEGAL:
        machine.receive(record(name, two))
        return
    with pytest.raises(DecodeError):
        machine.receive(record(name, two))
    assert machine.state is state
    assert machine.outgoing == []


@pytest.mark.parametrize("state", [State.INITIATED, State.RESPONDED, State.UP])
def test_the_dialling_calls_come_once(state: State) -> None:
    machine, two = machine_in(state)
    with pytest.raises(DecodeError):
        machine.initiate(public_bytes(two.other_static), NOW)
    with pytest.raises(DecodeError):
        machine.want_descriptor()
    assert machine.outgoing == []


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_an_unusable_link_key_is_refused(point: str) -> None:
    machine = Two().near
    with pytest.raises(DecodeError, match="unusable"):
        machine.initiate(bytes.fromhex(point), NOW)
    assert (machine.state, machine.outgoing) == (State.START, [])


@pytest.mark.parametrize("identifier", [HOP_IDENTIFIER, WIREGUARD_IDENTIFIER])
def test_another_handshake_is_no_handshake_for_a_link(identifier: bytes) -> None:
    two = Two()
    initiator = Initiator(identifier, two.static, public_bytes(two.other_static), 1, two.entropy)
    with pytest.raises(DecodeError):
        two.far.receive(initiator.create_initiation(NOW))
    two.up()


def test_a_plain_response_is_refused() -> None:
    two = Two()
    initiation = two.initiate()
    plain = Initiator(WIREGUARD_IDENTIFIER, two.static, public_bytes(two.other_static), 1, two.entropy)
    received = Responder(WIREGUARD_IDENTIFIER, two.other_static, two.entropy).consume_initiation(
        plain.create_initiation(NOW)
    )
    with pytest.raises(DecodeError, match="length"):
        two.near.receive(received.create_response(2)[0])
    two.far.receive(initiation)
    assert two.near.receive(taken(two.far)) == []


def test_the_handshake_is_forgotten_when_it_is_over() -> None:
    two = Two()
    two.up()
    assert two.near._initiator is None


def test_sizes_of_the_handshake() -> None:
    two = Two()
    assert len(two.initiate()) == 1332
    assert len(Two().responded()) == 1180


def test_a_flipped_handshake_is_refused_and_the_good_one_still_works() -> None:
    two = Two()
    initiation = two.initiate()
    with pytest.raises(DecodeError):
        two.far.receive(flipped(initiation, 100))
    assert two.far.state is State.START
    two.far.receive(initiation)
    response = taken(two.far)
    with pytest.raises(DecodeError):
        two.near.receive(flipped(response, 200))
    assert two.near.receive(response) == []
    (event,) = two.far.receive(taken(two.near))
    assert isinstance(event, LinkUp)


def test_a_response_of_another_peer_is_refused() -> None:
    two, others = Two(), Two()
    others.far = ControlMachine(private_key(bytes([9] * 32)), 2, others.entropy, lambda _: None)
    with pytest.raises(DecodeError):
        others.far.receive(two.initiate())


def test_a_second_initiation_is_refused() -> None:
    two = Two()
    initiation = two.initiate()
    two.far.receive(initiation)
    two.far.outgoing.clear()
    with pytest.raises(DecodeError):
        two.far.receive(initiation)


@pytest.mark.parametrize(
    "plaintext",
    [b"", b"\1", b"\1\0\1", b"\1\0\1\0\0", b"\1\0\2\0", b"\1\0\0\0", b"\2\0\1\0", b"\5gossip"],
    ids=["empty", "no body", "short", "long", "version 2", "version 0", "create", "gossip"],
)
@pytest.mark.parametrize("side", ["near", "far"])
def test_the_first_sealed_message_is_hello(side: str, plaintext: bytes) -> None:
    two = Two()
    two.near.receive(two.responded())
    if side == "far":
        sender, receiver = two.near, two.far
        assert sender._sealed is not None
        sender._sealed._sent = 0
    else:
        two.far.receive(taken(two.near))
        sender, receiver = two.far, two.near
        assert sender._sealed is not None
        sender._sealed._sent = 0
    with pytest.raises(DecodeError):
        receiver.receive(sender._sealed.seal(plaintext))
    assert receiver.state is not State.UP


def test_a_second_hello_is_refused() -> None:
    two = Two()
    two.up()
    assert two.near._sealed is not None
    with pytest.raises(DecodeError, match="order"):
        two.far.receive(two.near._sealed.seal(b"\1\0\1\0"))


def test_an_empty_message_is_refused() -> None:
    two = Two()
    two.up()
    assert two.near._sealed is not None
    with pytest.raises(DecodeError, match="empty"):
        two.far.receive(two.near._sealed.seal(b""))


def test_a_replayed_or_moved_message_is_refused() -> None:
    two = Two()
    two.up()
    two.near.send(Kind.GOSSIP, b"one")
    two.near.send(Kind.GOSSIP, b"two")
    first, second = two.near.outgoing
    with pytest.raises(DecodeError):
        two.far.receive(second)
    two.far.receive(first)
    with pytest.raises(DecodeError):
        two.far.receive(first)
    assert two.far.receive(second) == [GotControl(Kind.GOSSIP, b"two")]


def test_every_flipped_bit_of_a_message_is_refused() -> None:
    two = Two()
    two.up()
    two.near.send(Kind.DESTROY, encode_circuit(3, b"\1"))
    message = taken(two.near)
    for bit in range(8 * len(message)):
        with pytest.raises(DecodeError):
            two.far.receive(flipped(message, bit))
    assert two.far.receive(message) == [GotControl(Kind.DESTROY, encode_circuit(3, b"\1"))]


@settings(deadline=None)
@given(st.sampled_from(State), st.binary(max_size=200), st.sampled_from([b"", b"\1", b"\2", b"\4", b"\x11"]))
def test_arbitrary_records_raise_only_decode_error(state: State, data: bytes, head: bytes) -> None:
    machine, _ = machine_in(state)
    try:
        events = machine.receive(head + data)
    except DecodeError:
        assert machine.state is state
        return
    assert (state is State.START and head + data == WANT) or isinstance(events[0], GotDescriptor)


# -- bodies


@pytest.mark.parametrize(
    ("kind", "size"), [(Kind.CREATE, CREATION_BYTES), (Kind.CREATED, ANSWER_BYTES), (Kind.DESTROY, 1)]
)
def test_circuit_bodies(kind: Kind, size: int) -> None:
    body = encode_circuit(0x01020304, bytes(size))
    assert body[:4].hex() == "01020304"
    assert decode_circuit(kind, body) == (0x01020304, bytes(size))
    for wrong in (body[:-1], body + b"\0", b"", body[:3]):
        with pytest.raises(DecodeError):
            decode_circuit(kind, wrong)


def test_reasons() -> None:
    assert decode_reason(b"\7") is Reason.BUSY
    assert decode_reason(b"\xee") is Reason.PROTOCOL


# -- networks


def networks(near: int, far: int) -> Two:
    """Two machines with the preshared keys of two networks."""
    two = Two()
    two.near = ControlMachine(two.static, 1, two.entropy, lambda _: None, bytes([near] * 32))
    two.far = ControlMachine(two.other_static, 2, two.entropy, told, bytes([far] * 32))
    return two


def test_the_peers_of_a_network_come_up() -> None:
    networks(1, 1).up()


def refusal(two: Two, message: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        two.far.receive(message)
    assert two.far.outgoing == []
    assert two.far.state is State.START
    return str(caught.value)


@pytest.mark.parametrize("near", [0, 2])
def test_a_wrong_network_is_refused_as_a_wrong_key_is(near: int) -> None:
    two, other = networks(near, 1), private_key(bytes([9] * 32))
    stranger = ControlMachine(two.static, 1, two.entropy, lambda _: None, bytes([1] * 32))
    stranger.initiate(public_bytes(other), NOW)
    assert refusal(two, two.initiate()) == refusal(two, taken(stranger))


def test_the_response_of_another_network_is_refused() -> None:
    """Not by its mac1 alone: the keys are others."""
    two = networks(1, 1)
    message = two.initiate()
    received = Responder(LINK_IDENTIFIER, two.other_static, two.entropy, bytes([1] * 32)).consume_initiation(message)
    response, _ = received._replace(psk=bytes([2] * 32)).create_response(2)
    closed = mac1(response, public_bytes(two.static), bytes([1] * 32))
    with pytest.raises(DecodeError, match="response: does not verify"):
        two.near.receive(closed)
