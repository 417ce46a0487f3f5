"""The firewall of the proof counts what was planted, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from tests.harness.namespaces import why_not
from tests.harness.sealed import Sealed
from tests.proofs.counted import ANSWERS, ELSEWHERE, Firewall, Watched

if TYPE_CHECKING:
    from collections.abc import Iterator

MISSING = why_not("nft")
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

ONE: Final = Watched("one", 61_101, {"proxy": "ip daddr 127.0.0.1 tcp dport 1080"})
TWO: Final = Watched("two", 61_102, {"links": "ip daddr 127.0.0.0/8 udp dport { 4433 }"})

PLANTED: Final = """
import socket
def datagram(host, port, family=socket.AF_INET):
    try:
        socket.socket(family, socket.SOCK_DGRAM).sendto(b"query", (host, port))
    except OSError:
        pass
def connect(host, port, family=socket.AF_INET):
    socket.socket(family, socket.SOCK_STREAM).connect_ex((host, port))
"""
LEAKS: Final = {
    "a direct connection": ("connect('198.51.100.7', 443)", ("198.51.100.7", "tcp", 443)),
    "the same over IPv6": ("connect('2001:db8::7', 443, socket.AF_INET6)", ("2001:db8::7", "tcp", 443)),
    "a question to a name server": ("datagram('192.0.2.53', 53)", ("192.0.2.53", "udp", 53)),
    "one on this machine": ("datagram('127.0.0.53', 53)", ("127.0.0.53", "udp", 53)),
    "a search for printers": ("datagram('239.255.255.250', 1900)", ("239.255.255.250", "udp", 1900)),
    "a name of the LAN": ("datagram('224.0.0.251', 5353)", ("224.0.0.251", "udp", 5353)),
    "QUIC": ("datagram('2001:db8::7', 443, socket.AF_INET6)", ("2001:db8::7", "udp", 443)),
    "a ping": (
        "socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).sendto(bytes(8), ('198.51.100.7', 0))",
        ("198.51.100.7", "icmp", 0),
    ),
    "another port of the proxy's address": ("connect('127.0.0.1', 1081)", ("127.0.0.1", "tcp", 1081)),
}


def run_as(watched: Watched, program: str) -> None:
    subprocess.run([sys.executable, "-c", PLANTED + program], group=watched.group, extra_groups=(), check=False)


@pytest.fixture(scope="module")
def firewall() -> Iterator[Firewall]:
    with Sealed() as network, network.entered():
        yield Firewall(network.name, "out", ONE, TWO)


@pytest.mark.parametrize("leak", LEAKS)
def test_what_was_planted_is_counted(firewall: Firewall, leak: str) -> None:
    program, place = LEAKS[leak]
    firewall.take()
    run_as(ONE, program)
    found = firewall.take()
    assert found["one"].strays.keys() == {place}
    assert found["one"].elsewhere == sum(found["one"].strays.values()) > 0
    assert (found["two"].elsewhere, found["two"].strays) == (0, {})
    assert firewall.take()["one"].packets == {"proxy": 0, ELSEWHERE: 0, ANSWERS: 0}


def test_what_may_be_sent_is_no_leak(firewall: Firewall) -> None:
    firewall.take()
    listens = "server = socket.create_server(('127.0.0.1', 1080)); connect('127.0.0.1', 1080); server.accept()"
    run_as(ONE, listens)
    run_as(TWO, "datagram('127.20.0.1', 4433)")
    found = firewall.take()
    assert found["one"].begun == {"proxy": 1}
    assert found["one"].packets["proxy"] > 1
    assert found["two"].packets["links"] == 1
    assert not found["one"].strays
    assert not found["two"].strays
