"""What WireGuard's sections 5.4.6 and 6 limit, at the edges: age, counters, order, keepalives, timestamps, cookies."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.harness.entropy import flipped
from tests.tunnel.wireguard.pair import Pair, ipv4
from tunnel.wireguard.constants import MAX_COUNTER, REKEY_AFTER_MESSAGES, WINDOW_COUNTERS
from tunnel.wireguard.cookies import without_mac2
from tunnel.wireguard.session import OVERHEAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from tunnel.wireguard.transport import Transport


def joined() -> Pair:
    """A pair with a session that side 0 began, one packet each way."""
    pair = Pair()
    pair.send(0, ipv4(b"to"))
    pair.run()
    pair.send(1, ipv4(b"back"))
    pair.run()
    return pair


def session(pair: Pair, side: int) -> Transport:
    current = pair.peers[side].current
    assert current is not None
    return current


def held_back(pair: Pair, side: int, *packets: bytes) -> list[bytes]:
    """Send packets that do not arrive; gives the messages, to be delivered by hand."""
    lose, pair.lose = pair.lose, lambda side, message: True
    before = len(pair.sent)
    for packet in packets:
        pair.send(side, packet)
    pair.lose = lose
    return [message for *_, message in pair.sent[before:]]


# -- age


@pytest.mark.parametrize(("age_s", "renews"), [(164.5, False), (165.5, True)])
def test_who_only_receives_renews_just_before_the_end(age_s: float, renews: bool) -> None:
    """Section 6.2: the initiator renews on receipt when less is left than a keepalive and a retry need."""
    pair = joined()
    pair.run(age_s - 0.2)
    pair.send(1, ipv4(b"more"))
    pair.run(0.05)
    assert pair.got[0][-1] == ipv4(b"more")
    assert pair.kinds(0).count(1) == (2 if renews else 1)


def test_who_answered_never_renews_because_of_age() -> None:
    pair = joined()
    for _ in range(17):
        pair.run(10)
        pair.send(1, ipv4(b""))
        (message,) = held_back(pair, 0, ipv4(b""))[:1]
        pair.deliver(1, message, pair.endpoints[0])
    assert 1 not in pair.kinds(1)


@pytest.mark.parametrize(("age_s", "accepted"), [(179.5, True), (180.5, False)])
@pytest.mark.parametrize("side", [0, 1])
def test_a_session_is_over_after_180_seconds(side: int, age_s: float, accepted: bool) -> None:
    """In both directions, on both sides: what was sealed in time arrives too late."""
    pair = joined()
    (message,) = held_back(pair, 1 - side, ipv4(b"late"))
    pair.now = 1000 + age_s
    pair.deliver(side, message)
    assert (pair.got[side][-1] == ipv4(b"late")) is accepted
    assert pair.devices[side].dropped["message: session too old"] == (not accepted)
    before = pair.kinds(side).count(4)
    held_back(pair, side, ipv4(b"own"))
    assert (pair.kinds(side).count(4) > before) is accepted


def test_messages_under_way_survive_the_renewal() -> None:
    """The session before stays good for what is still under way, and for that alone."""
    pair = joined()
    pair.run(119)
    old = [*held_back(pair, 0, ipv4(b"from 0")), *held_back(pair, 1, ipv4(b"from 1"))]
    pair.run(1)
    pair.send(0, ipv4(b"renew"))
    pair.run()
    assert pair.kinds(0).count(1) == 2
    for side, message in zip((1, 0), old, strict=True):
        pair.deliver(side, message, pair.endpoints[1 - side])
    assert (pair.got[1][-1], pair.got[0][-1]) == (ipv4(b"from 0"), ipv4(b"from 1"))
    # The third session pushes the first one out.
    again = held_back(pair, 0, ipv4(b"x"))
    for _ in range(2):
        pair.run(121)
        pair.send(0, ipv4(b"renew"))
        pair.run()
    pair.deliver(1, again[0], pair.endpoints[0])
    assert pair.devices[1].dropped == {"message: unknown index": 1}


# -- counters


@pytest.mark.parametrize("side", [0, 1])
def test_both_sides_renew_after_many_messages(side: int) -> None:
    pair = joined()
    pair.run(6)
    session(pair, side).sent = REKEY_AFTER_MESSAGES - 2
    pair.send(side, ipv4(b"last but one"))
    pair.run()
    before = pair.kinds(side).count(1)
    pair.send(side, ipv4(b"last"))
    pair.run()
    assert pair.kinds(side).count(1) == before + 1
    assert pair.got[1 - side][-1] == ipv4(b"last")


def test_the_last_counter_is_sealed_and_none_after_it() -> None:
    pair = joined()
    session(pair, 0).sent = MAX_COUNTER - 1
    (message,) = (one for one in held_back(pair, 0, ipv4(b"last"), ipv4(b"waits")) if one[0] == 4)
    assert int.from_bytes(message[8:16], "little") == MAX_COUNTER - 1
    pair.deliver(1, message, pair.endpoints[0])
    assert pair.got[1][-1] == ipv4(b"last")


def test_a_counter_beyond_the_limit_is_refused_although_it_verifies() -> None:
    pair = joined()
    over = session(pair, 0)
    over.sent = MAX_COUNTER
    pair.deliver(1, over.seal(ipv4(b"over")), pair.endpoints[0])
    assert pair.devices[1].dropped == {"message: replayed": 1}


def test_any_order_within_the_window_and_each_once() -> None:
    pair = joined()
    packets = [ipv4(number.to_bytes(2)) for number in range(300)]
    messages = held_back(pair, 0, *packets)
    random.Random(1).shuffle(messages)
    for message in [*messages, *messages]:
        pair.deliver(1, message, pair.endpoints[0])
    assert sorted(pair.got[1][1:]) == packets
    assert pair.devices[1].dropped == {"message: replayed": 300}


def test_the_window_has_its_edge() -> None:
    """Source: RFC 6479, section 3: what falls out of the window is refused unseen."""
    pair = joined()
    old = held_back(pair, 0, ipv4(b"out"), ipv4(b"in"))
    session(pair, 0).sent = 1 + WINDOW_COUNTERS
    for message in (*held_back(pair, 0, ipv4(b"new")), *old):
        pair.deliver(1, message, pair.endpoints[0])
    assert pair.got[1][1:] == [ipv4(b"new"), ipv4(b"in")]
    assert pair.devices[1].dropped == {"message: replayed": 1}


def test_a_forged_counter_does_not_move_the_window() -> None:
    pair = joined()
    first, second = held_back(pair, 0, ipv4(b"one"), ipv4(b"two"))
    for counter in (second[8:16], (MAX_COUNTER - 1).to_bytes(8, "little")):
        pair.deliver(1, first[:8] + counter + first[16:])
    for message in (first, second):
        pair.deliver(1, message, pair.endpoints[0])
    assert pair.got[1][1:] == [ipv4(b"one"), ipv4(b"two")]
    assert pair.devices[1].dropped == {"message: does not verify": 2}


# -- keepalives


def keepalives(pair: Pair, side: int) -> list[float]:
    """When a side sent them, in seconds from the beginning."""
    return [at - 1000 for at, sender, message in pair.sent if sender == side and len(message) == OVERHEAD_BYTES]


def test_an_answer_in_time_makes_a_keepalive_needless() -> None:
    pair = joined()
    for _ in range(5):
        pair.send(0, ipv4(b"ask"))
        pair.run(9)
        pair.send(1, ipv4(b"answer"))
        pair.run(1)
    assert not keepalives(pair, 1)
    assert pair.kinds(0).count(1) == 1


def test_a_keepalive_is_not_answered() -> None:
    pair = joined()
    pair.run(100)
    assert [len(keepalives(pair, side)) for side in (0, 1)] == [1, 0]
    assert 10 < keepalives(pair, 0)[0] < 10.3


# -- what moves the endpoint


def test_a_response_from_elsewhere_moves_the_endpoint() -> None:
    pair = Pair()
    pair.endpoints[1] = ("192.0.2.8", 8)
    pair.send(0, ipv4(b""))
    pair.run()
    assert pair.peers[0].endpoint == ("192.0.2.8", 8)


@pytest.mark.parametrize("kind", [1, 2, 4])
def test_replays_from_elsewhere_do_not_move_it(kind: int) -> None:
    pair = joined()
    pair.run(1)
    ends = [peer.endpoint for peer in pair.peers]
    for _, side, message in list(pair.sent):
        if message[0] == kind:
            pair.deliver(1 - side, message, ("192.0.2.66", 66))
    assert [peer.endpoint for peer in pair.peers] == ends


# -- timestamps


def test_an_older_initiation_is_refused() -> None:
    """Section 5.1: also one that was never seen, if a later one was."""
    older, pair = Pair(), Pair()
    pair.now += 1
    for one in (older, pair):
        one.lose = lambda side, message: True
        one.send(0, ipv4(b""))
    pair.deliver(1, pair.sent[0][2], pair.endpoints[0])
    pair.run(1)
    pair.deliver(1, older.sent[0][2], ("192.0.2.66", 66))
    assert pair.devices[1].dropped == {"initiation: replayed": 1}
    assert pair.peers[1].endpoint == pair.endpoints[0]


# -- cookies


def test_a_response_under_load_needs_a_cookie_too() -> None:
    """Both sides are under load: each asks for a cookie, and each gets its own."""
    pair = Pair(handshakes_per_s=0)
    pair.send(0, ipv4(b"in spite of it"))
    pair.run(30)
    assert pair.got[1] == [ipv4(b"in spite of it")]
    assert pair.kinds(0)[:4] == [1, 1, 3, 1]
    assert pair.kinds(1)[:3] == [3, 2, 2]
    closed = [any(message[-16:]) for *_, message in pair.sent if message[0] in (1, 2)]
    assert closed == [False, True, False, True, True]


@pytest.mark.parametrize(
    "change",
    [lambda message: flipped(message, 8 * 140), without_mac2],
    ids=["another mac2", "no mac2"],
)
def test_under_load_nothing_is_worked_for_without_the_cookie(change: Callable[[bytes], bytes]) -> None:
    pair = Pair(handshakes_per_s=0)
    pair.send(0, ipv4(b""))
    pair.run(1)
    pair.lose = lambda side, message: True
    pair.run(5)
    (second,) = (message for at, side, message in pair.sent if side == 0 and at > 1001)
    before = len(pair.sent)
    pair.deliver(1, change(second), pair.endpoints[0])
    assert [message[0] for *_, message in pair.sent[before:]] == [3]
    pair.deliver(1, second, ("192.0.2.66", 66))
    assert [message[0] for *_, message in pair.sent[before:]] == [3, 3]
    pair.deliver(1, second, pair.endpoints[0])
    assert pair.kinds(1)[-1] == 2


def test_a_cookie_reply_from_a_stranger_is_refused() -> None:
    """It is sealed for the mac1 of the last message, which only who saw that message knows."""
    pair, other = Pair(handshakes_per_s=0), Pair(handshakes_per_s=0)
    other.now += 0.5
    for one in (pair, other):
        one.send(0, ipv4(b""))
        one.run(0.015)
    ((_, _, reply),) = (one for one in other.sent if one[1] == 1)
    index = pair.sent[0][2][4:8]
    pair.deliver(0, reply[:4] + index + reply[8:])
    assert pair.devices[0].dropped == {"cookie reply: does not verify": 1}
