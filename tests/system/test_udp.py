"""UDP through the whole network, by programs that nobody here wrote, and by a stream whose losses are counted."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import dns.message
import dns.query
import dns.rdatatype
import pytest
import socks

from bench.datagram_ends import near
from bench.datagrams import far_end
from tests.harness.associations import LIMIT_S, pysocks
from tests.harness.demo import Demo, until
from tests.harness.origin import DatagramEcho

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.origin import NameServer

pytestmark = pytest.mark.system

LOST = 0.01
TRIES = 4
"""Whoever else uses the machine makes a stream lose datagrams; a network that loses them does so every time."""


@pytest.fixture(scope="module")
def echo() -> Iterator[DatagramEcho]:
    with DatagramEcho() as server:
        yield server


def test_dns_over_udp(demo: Demo, names: NameServer) -> None:
    host, _, port = names.endpoint.rpartition(":")
    with pysocks(demo.proxy) as sock:
        for name in ("udp-one.test.", "udp-two.test."):
            query = dns.message.make_query(name, dns.rdatatype.A)
            answer = dns.query.udp(query, host, LIMIT_S, int(port), sock=sock)
            assert [record.address for record in answer.answer[0]] == ["127.0.0.1"]
            assert name.rstrip(".") in names.asked


@pytest.mark.parametrize("user", [None, "work"])
def test_a_program_of_others_hears_its_echo(demo: Demo, echo: DatagramEcho, user: str | None) -> None:
    with pysocks(demo.proxy, user) as sock:
        for payload in (b"one", bytes(1200), bytes(9000)):
            sock.sendto(payload, ("127.0.0.1", echo.port))
            assert sock.recvfrom(1 << 16) == (payload, ("127.0.0.1", echo.port))
    assert all(address.startswith("127.22.0.") for address, _ in echo.got), "an exit's, never the client's"


def test_a_name_is_resolved_at_the_exit(demo: Demo, echo: DatagramEcho, names: NameServer) -> None:
    with pysocks(demo.proxy) as sock:
        sock.sendto(b"by name", ("udp-name.test", echo.port))
        assert sock.recvfrom(1 << 16) == (b"by name", ("127.0.0.1", echo.port))
    assert "udp-name.test" in names.asked


def test_what_a_bypass_rule_names_is_not_sent(demo: Demo, echo: DatagramEcho) -> None:
    with pysocks(demo.proxy) as sock:
        sock.sendto(b"past the tunnel", ("direct.test", echo.port))
        sock.sendto(b"through the tunnel", ("127.0.0.1", echo.port))
        assert sock.recvfrom(1 << 16)[0] == b"through the tunnel"
    assert b"past the tunnel" not in {data for _, data in echo.got}


@pytest.mark.alone
@pytest.mark.parametrize(("engine", "mbit"), [("aiopquic", 10.0), ("aioquic", 4.0)])
def test_a_stream_each_way_arrives(engine: str, mbit: float, tmp_path: Path) -> None:
    """A short `python -m bench datagrams`. At 10 Mbit/s the engine in Python needs all of a machine with two cores."""
    with (
        Demo("--engine", engine, "--allow-destination", "127.0.0.0/8", log=tmp_path / "log") as demo,
        far_end("127.0.0.1") as port,
    ):
        lost = [_worst(demo, port, mbit)]
        while lost[-1] >= LOST and len(lost) < TRIES:
            lost.append(_worst(demo, port, mbit))
    assert lost[-1] < LOST, lost


def _worst(demo: Demo, port: int, mbit: float) -> float:
    """Stream for two seconds; returns the larger share that was lost of both ways."""
    reports = asyncio.run(near(demo.proxy, "127.0.0.1", port, mbit, 2.0))
    assert [report["sent"] for report in reports.values()] == [round(mbit * 1e6 / 8 / 1200 * 2)] * 2
    return max(float(report["lost"]) for report in reports.values())


def test_when_all_exits_die_the_association_ends_and_nothing_goes_directly(echo: DatagramEcho, tmp_path: Path) -> None:
    with Demo("--allow-destination", "127.0.0.0/8", log=tmp_path / "log") as demo, pysocks(demo.proxy) as sock:
        sock.sendto(b"alive", ("127.0.0.1", echo.port))
        assert sock.recvfrom(1 << 16)[0] == b"alive"
        for pid in demo.pids("exit"):
            os.kill(pid, signal.SIGKILL)
        before = len(echo.got)
        sock.settimeout(0)

        def refused() -> bool:
            try:
                sock.sendto(b"to nobody", ("127.0.0.1", echo.port))
            except ConnectionRefusedError:  # nobody is at the association's port any more
                return True
            return False

        until("the end of the association", refused)
        until("blocked", lambda: demo.status()["state"] == "blocked")
        with pysocks(demo.proxy) as late, pytest.raises(socks.SOCKS5Error, match="General SOCKS server failure"):
            late.sendto(b"to nobody", ("127.0.0.1", echo.port))
        assert len(echo.got) == before
