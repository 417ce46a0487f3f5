"""Our WireGuard and the real wireguard-go understand each other, over UDP, in both roles."""

from __future__ import annotations

import itertools
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.harness.namespaces import run
from tests.interop.namespace import (
    OUR_INNER,
    THEIR_INNER,
    THEIR_PORT,
    Beside,
    icmp,
    why_not,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    type Lose = Callable[[str, bytes], bool]

pytestmark = pytest.mark.system

_numbers = itertools.count()


@pytest.fixture(scope="module", autouse=True)
def _needed() -> None:
    if reason := why_not():
        pytest.skip(reason)


@pytest.fixture
def we_begin() -> Iterator[Beside]:
    with Beside(next(_numbers), they_know_us=False) as beside:
        yield beside


@pytest.fixture
def they_begin() -> Iterator[Beside]:
    with Beside(next(_numbers), they_know_us=True) as beside:
        yield beside


def first(direction: str, kind: int) -> Lose:
    """Lose the first message of this type."""
    lost: list[bytes] = []

    def lose(way: str, message: bytes) -> bool:
        if way != direction or message[0] != kind or lost:
            return False
        lost.append(message)
        return True

    return lose


def ping(beside: Beside, count: int = 3) -> str:
    """Let the kernel in the namespace ping us, and answer it."""
    command = beside.inside("ping", "-c", str(count), "-i", "0.2", "-W", "8", OUR_INNER)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:

            def over() -> bool:
                beside.answer_echo()
                return process.poll() is not None

            beside.until(over, limit_s=20)
        finally:
            process.kill()
        assert process.stdout is not None
        return process.stdout.read()


def test_we_begin_and_data_goes_both_ways(we_begin: Beside) -> None:
    for number, size in enumerate((56, 0, 2, 14, 256)):
        we_begin.echo(number, size)
    assert we_begin.kinds("out")[:2] == [1, 4]
    assert we_begin.kinds("in")[:2] == [2, 4]
    assert " 0% packet loss" in ping(we_begin)
    assert not we_begin.device.dropped


def test_they_begin_and_data_goes_both_ways(they_begin: Beside) -> None:
    assert " 0% packet loss" in ping(they_begin)
    assert they_begin.kinds("in")[:2] == [1, 4]
    assert they_begin.kinds("out")[:2] == [2, 4]
    they_begin.echo(1)
    assert they_begin.peer.endpoint == (they_begin.their_host, THEIR_PORT)
    assert not they_begin.device.dropped


def test_we_renew_the_session(we_begin: Beside) -> None:
    we_begin.echo(1)
    we_begin.later(0.05)
    before = we_begin.peer.current
    we_begin.shift_s += 121
    we_begin.echo(2)
    we_begin.until(lambda: we_begin.peer.current is not before)
    assert we_begin.kinds("out").count(1) == 2
    assert " 0% packet loss" in ping(we_begin)


def test_a_lost_response_is_asked_for_again(we_begin: Beside) -> None:
    lose_response = first("in", 2)

    def lose(way: str, message: bytes) -> bool:
        if not lose_response(way, message):
            return False
        we_begin.shift_s += 4.9
        return True

    we_begin.lose = lose
    we_begin.echo(1)
    assert we_begin.kinds("out")[:3] == [1, 1, 4]
    assert we_begin.kinds("in")[:2] == [2, 2]


def test_a_lost_packet_does_not_stop_the_next(we_begin: Beside) -> None:
    we_begin.echo(1)
    we_begin.lose = first("out", 4)
    we_begin.send(icmp(8, OUR_INNER, THEIR_INNER, bytes(8)))
    we_begin.echo(2)
    assert len(we_begin.packets) == 2


def test_they_follow_us_to_another_port(we_begin: Beside) -> None:
    we_begin.echo(1)
    old = we_begin.socket
    we_begin.socket = type(old)(old.family, old.type)
    old.close()
    we_begin.socket.bind((we_begin.our_host, 0))
    we_begin.echo(2)
    assert we_begin.kinds("out").count(1) == 1


def test_a_cookie_is_taken_and_brought_back(we_begin: Beside) -> None:
    """Under load it answers with cookies. Copies of our own first message are the load."""
    cookies: list[bytes] = []

    def lose(way: str, message: bytes) -> bool:
        if way == "in" and message[0] == 3:
            cookies.append(message)
        return way == "in" and message[0] == 2 and len(we_begin.kinds("out")) < 2

    we_begin.lose = lose
    we_begin.send(b"")
    (_, initiation), *_ = we_begin.seen
    for _ in range(20_000):
        we_begin.socket.sendto(initiation, (we_begin.their_host, THEIR_PORT))
    we_begin.until(lambda: cookies)
    we_begin.shift_s += 6
    we_begin.until(lambda: we_begin.peer.current is not None, limit_s=30)
    again = [message for way, message in we_begin.seen if way == "out" and message[0] == 1][1]
    assert not any(initiation[-16:])
    assert any(again[-16:])
    we_begin.echo(1)


def test_we_follow_them_to_another_port(we_begin: Beside) -> None:
    we_begin.echo(1)
    run(*we_begin.inside("wg", "set", we_begin.interface, "listen-port", str(THEIR_PORT + 1)))
    assert " 0% packet loss" in ping(we_begin)
    assert we_begin.peer.endpoint == (we_begin.their_host, THEIR_PORT + 1)
    we_begin.echo(2)
    assert we_begin.kinds("out").count(1) == 1
