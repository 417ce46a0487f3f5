"""Strangers at the ports: garbage, truncation, and connections that never say anything."""

from __future__ import annotations

import random
import resource
import socket
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness.demo import alive, until

if TYPE_CHECKING:
    from tests.harness.demo import Demo
    from tests.harness.origin import Origin

pytestmark = pytest.mark.system

SEED = 20261123


def _memory_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6


def _good(demo: Demo, origin: Origin) -> bool:
    return "127.22.0." in demo.curl(f"http://127.0.0.1:{origin.http}/page", timeout=10).stdout


def _endpoint(demo: Demo) -> tuple[str, int]:
    host, _, port = demo.proxy.rpartition(":")
    return host, int(port)


def _messages(source: random.Random) -> list[bytes]:
    """Beginnings of both protocols: cut off, too long, and plain noise."""
    socks = b"\x05\x01\x00\x05\x01\x00\x03\x09site.test\x00\x50"
    head = b"CONNECT site.test:443 HTTP/1.1\r\nHost: site.test:443\r\n\r\n"
    noise = [source.randbytes(source.randrange(1, 4000)) for _ in range(150)]
    marked = [b"\x05" + source.randbytes(source.randrange(1, 300)) for _ in range(50)]
    cut = [whole[:size] for whole in (socks, head) for size in range(1, len(whole), 3)]
    long = [
        b"GET /" + b"a" * 1_000_000,
        b"\x05\xff" + b"\x02" * 400,
        b"CONNECT " + b"h" * 100_000 + b":1 HTTP/1.1\r\n\r\n",
    ]
    return noise + marked + cut + long


def test_garbage_on_the_proxy_port(demo: Demo, origin: Origin) -> None:
    (client,) = demo.pids("client")
    for message in _messages(random.Random(SEED)):
        with socket.create_connection(_endpoint(demo), 5) as stranger:
            stranger.settimeout(0.02)
            try:
                stranger.sendall(message)
                stranger.recv(64)
            except OSError:
                pass
    assert alive(client)
    assert _good(demo, origin)


def test_garbage_on_the_udp_ports(demo: Demo, origin: Origin) -> None:
    source = random.Random(SEED)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for entry in demo.facts["processes"]:
            if not entry["address"]:
                continue
            target = ("127.0.0.1", int(entry["address"].split("/")[4]))
            for _ in range(500):
                packet = source.randbytes(source.randrange(1, 1500))
                stranger.sendto(packet, target)
                # The same with the first byte and version of a QUIC Initial.
                stranger.sendto(b"\xc3" + struct.pack(">I", 1) + packet[:1195].ljust(1195, b"\0"), target)
    assert all(alive(pid) for pid in demo.pids())
    assert _good(demo, origin)


def test_ten_thousand_silent_connections(demo: Demo, origin: Origin) -> None:
    (client,) = demo.pids("client")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    before, held = _memory_mb(client), []
    try:
        for number in range(10_000):
            stranger = socket.socket()
            stranger.settimeout(5)
            held.append(stranger)
            try:
                stranger.connect(_endpoint(demo))
                stranger.send(b"\x05" if number % 2 else b"G")
            except OSError:
                pass  # beyond the limit: closed at once
        assert _memory_mb(client) < before + 150
    finally:
        for stranger in held:
            stranger.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    started = time.monotonic()
    until("a good request", lambda: _good(demo, origin), 15)
    assert time.monotonic() - started < 15
    assert _memory_mb(client) < before + 150
