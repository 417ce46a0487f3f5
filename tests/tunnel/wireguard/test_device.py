"""Two WireGuard devices in memory: sessions, timers, loss, replay, roaming, load, and what strangers send."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DecodeError
from tests.harness.entropy import flipped, seeded
from tests.tunnel.wireguard.pair import Pair, ipv4
from tunnel.wireguard.constants import MAX_COUNTER, REKEY_AFTER_MESSAGES
from tunnel.wireguard.device import Device
from tunnel.wireguard.primitives import private_key
from tunnel.wireguard.transport import padded, unpadded


def joined() -> Pair:
    """A pair with a session, one packet each way."""
    pair = Pair()
    pair.send(0, ipv4(b"to"))
    pair.run()
    pair.send(1, ipv4(b"back"))
    pair.run()
    assert pair.got == ([ipv4(b"back")], [ipv4(b"to")])
    return pair


def test_packets_wait_for_the_handshake() -> None:
    pair = joined()
    assert pair.kinds(0) == [1, 4]
    assert pair.kinds(1) == [2, 4]
    assert [len(message) for *_, message in pair.sent] == [148, 92, 64, 64]
    assert not pair.devices[0].dropped + pair.devices[1].dropped


def test_the_responder_waits_for_the_first_message() -> None:
    pair = Pair()
    pair.lose = lambda side, message: side == 0 and message[0] == 4
    pair.send(0, ipv4(b""))
    pair.run()
    assert pair.peers[0].current is not None
    assert pair.peers[1].current is None
    pair.send(1, ipv4(b"early"))
    assert 4 not in pair.kinds(1)
    pair.lose = lambda side, message: False
    pair.send(0, ipv4(b""))
    pair.run()
    assert pair.got[0] == [ipv4(b"early")]


@pytest.mark.parametrize("seed", range(5))
def test_with_loss_later_packets_arrive(seed: int) -> None:
    pair, source = Pair(), random.Random(seed)
    pair.lose = lambda side, message: source.random() < 0.3
    for number in range(400):
        pair.send(number % 2, ipv4(number.to_bytes(2)))
        pair.run(1)
    for packets in pair.got:
        assert len(packets) > 90
        assert len(set(packets)) == len(packets)
    assert int.from_bytes(pair.got[1][-1][20:]) > 380
    assert pair.kinds(0).count(1) + pair.kinds(1).count(1) >= 4


def test_the_initiator_renews_after_120_seconds() -> None:
    pair = joined()
    pair.run(119)
    pair.send(0, ipv4(b""))
    pair.run()
    assert pair.kinds(0).count(1) == 1
    pair.run(1)
    pair.send(1, ipv4(b""))
    pair.run()
    assert 1 not in pair.kinds(1)
    pair.send(0, ipv4(b""))
    pair.run()
    assert pair.kinds(0).count(1) == 2


def test_the_initiator_renews_after_many_messages() -> None:
    pair = joined()
    assert pair.peers[0].current is not None
    pair.run(6)
    pair.peers[0].current.sent = REKEY_AFTER_MESSAGES - 1
    pair.send(0, ipv4(b"last"))
    pair.run()
    assert pair.kinds(0).count(1) == 2
    assert pair.got[1][-1] == ipv4(b"last")


def test_a_used_up_session_sends_nothing() -> None:
    pair = joined()
    assert pair.peers[0].current is not None
    pair.run(6)
    pair.peers[0].current.sent = MAX_COUNTER
    pair.send(0, ipv4(b"after"))
    assert pair.kinds(0)[-1] == 1
    pair.run()
    assert pair.got[1][-1] == ipv4(b"after")


def test_nothing_is_accepted_after_180_seconds() -> None:
    pair = joined()
    pair.lose = lambda side, message: True
    pair.send(0, ipv4(b"late"))
    late = pair.sent[-1][2]
    pair.now += 181
    pair.deliver(1, late)
    assert pair.devices[1].dropped["message: session too old"] == 1
    pair.send(0, ipv4(b"later"))
    assert pair.kinds(0)[-1] == 1


def test_keys_are_forgotten() -> None:
    pair = joined()
    pair.run(541)
    assert pair.peers[0].current is None
    assert pair.peers[1].current is None
    assert pair.peers[1].deadline_s is None


def test_a_handshake_is_given_up_after_90_seconds() -> None:
    pair = Pair()
    pair.lose = lambda side, message: True
    pair.send(0, ipv4(b""))
    pair.run(300)
    times = [at - 1000 for at, *_ in pair.sent]
    assert all(5 <= later - sooner < 5.34 for sooner, later in pairwise(times))
    assert len({message[8:40] for *_, message in pair.sent}) == len(times)
    assert 85 < times[-1] < 90
    assert pair.peers[0].deadline_s is None


def test_a_keepalive_answers_data_after_10_seconds() -> None:
    pair = Pair()
    pair.send(0, ipv4(b""))
    pair.run(60)
    keepalives = [(at, side) for at, side, message in pair.sent if len(message) == 32]
    ((at, side),) = keepalives
    assert side == 1
    assert at == pytest.approx(1010.03)


def test_silence_after_data_begins_a_handshake() -> None:
    pair = joined()
    pair.lose = lambda side, message: side == 1
    pair.send(0, ipv4(b""))
    pair.run(14.8)
    assert pair.kinds(0).count(1) == 1
    pair.run(0.3)
    assert pair.kinds(0).count(1) == 2


def test_persistent_keepalives() -> None:
    pair = Pair(persistent_s=25)
    pair.send(0, ipv4(b""))
    pair.run(100)
    assert sum(len(message) == 32 for _, side, message in pair.sent if side == 0) == 3


def test_replayed_messages_change_nothing() -> None:
    pair = joined()
    before = [list(packets) for packets in pair.got]
    endpoint = pair.peers[1].endpoint
    pair.run(1)
    for _, side, message in list(pair.sent):
        pair.deliver(1 - side, message)
    assert [list(packets) for packets in pair.got] == before
    assert pair.peers[1].endpoint == endpoint
    assert pair.devices[1].dropped == {"initiation: replayed": 1, "message: replayed": 1}
    assert pair.devices[0].dropped == {"response: answers nothing": 1, "message: replayed": 1}


def test_initiations_may_not_come_too_fast() -> None:
    pair, other = Pair(), Pair()
    other.now += 0.5
    for one in (pair, other):
        one.lose = lambda side, message: True
        one.send(0, ipv4(b""))
    (_, _, first), (_, _, second) = pair.sent[0], other.sent[0]
    pair.deliver(1, first)
    pair.now += 0.019
    pair.deliver(1, second)
    assert pair.devices[1].dropped == {"initiation: too soon": 1}
    pair.now += 0.002
    pair.deliver(1, second)
    assert pair.kinds(1) == [2, 2]


def test_the_endpoint_follows_authenticated_messages_only() -> None:
    pair = joined()
    pair.endpoints[0] = ("192.0.2.7", 7)
    pair.send(0, ipv4(b"moved"))
    pair.run()
    assert pair.peers[1].endpoint == ("192.0.2.7", 7)
    pair.lose = lambda side, message: True
    pair.send(0, ipv4(b"forged"))
    pair.deliver(1, flipped(pair.sent[-1][2], 200), ("192.0.2.66", 66))
    assert pair.peers[1].endpoint == ("192.0.2.7", 7)


def test_under_load_a_cookie_is_asked_for() -> None:
    pair = Pair(handshakes_per_s=0)
    pair.send(0, ipv4(b"in spite of it"))
    pair.run(1)
    assert pair.kinds(1) == [3]
    pair.run(20)
    assert pair.got[1] == [ipv4(b"in spite of it")]
    assert pair.devices[1].dropped["handshake: under load"] == 1
    assert any(next(message for _, side, message in pair.sent[2:] if side == 0)[-16:])


def test_both_may_begin_at_once() -> None:
    pair = Pair()
    pair.peers[1].endpoint = pair.endpoints[0]
    for side in (0, 1):
        pair.send(side, ipv4(bytes([side])))
    pair.run(1)
    assert pair.got == ([ipv4(b"\1")], [ipv4(b"\0")])
    for side in (0, 1):
        pair.send(side, ipv4(b"again"))
    pair.run(1)
    assert pair.got[0][-1] == pair.got[1][-1] == ipv4(b"again")


def test_a_stranger_is_not_answered() -> None:
    pair = Pair()
    stranger = Device(private_key(bytes([7] * 32)), seeded("stranger"), 1.7e9)
    stranger.add_peer(pair.keys[1], endpoint=pair.endpoints[1])
    ((_, message),) = stranger.rekey(pair.keys[1], pair.now).datagrams
    pair.deliver(1, message)
    assert pair.devices[1].dropped == {"initiation: unknown peer": 1}
    assert not pair.sent


@settings(max_examples=200)
@given(st.binary(max_size=200), st.sampled_from([0, 32, 64, 92, 148]), st.integers(0, 5))
def test_arbitrary_bytes_never_raise(data: bytes, size: int, kind: int) -> None:
    pair = FUZZED
    before = list(pair.sent)
    for side in (0, 1):
        index = pair.peers[side].current
        assert index is not None
        for middle in (b"", index.local_index.to_bytes(4, "little")):
            pair.deliver(side, (bytes([kind, 0, 0, 0]) + middle + data).ljust(size, b"\0"))
        pair.deliver(side, data)
    assert pair.sent == before


FUZZED = joined()


@given(st.binary(max_size=100))
def test_padding(data: bytes) -> None:
    packet = ipv4(data)
    assert len(padded(packet)) % 16 == 0
    assert unpadded(padded(packet)) == packet
    six = b"\x60\0\0\0" + len(data).to_bytes(2) + bytes(34) + data
    assert unpadded(padded(six)) == six


@pytest.mark.parametrize("packet", [b"", b"\x45", bytes(20), b"\x45\0\0\x13" + bytes(16), b"\x45\0\0\x15" + bytes(16)])
def test_what_is_no_packet_is_refused(packet: bytes) -> None:
    with pytest.raises(DecodeError):
        unpadded(packet)
