"""What the wire and the peers get to know."""

from __future__ import annotations

import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.harness.demo import udp_port, until
from tests.harness.process_memory import holders

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.demo import Demo
    from tests.harness.origin import NameServer, Origin

pytestmark = pytest.mark.system

NAME = b"canary-7f3a9c51"


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="Debian's package tcpdump is not installed")
def test_nothing_of_host_or_body_is_on_the_wire(demo: Demo, origin: Origin, names: NameServer, tmp_path: Path) -> None:
    capture = tmp_path / "capture.pcap"
    # Everything but the exit's questions to its name server, which are in the clear by their nature.
    what = f"udp and not port {names.endpoint.rpartition(':')[2]}"
    dump = subprocess.Popen(
        ["tcpdump", "-i", "lo", "-B", "65536", "-s", "0", "-w", str(capture), what],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert dump.stderr is not None
    try:
        assert any("listening" in line for line in iter(dump.stderr.readline, ""))
        host = NAME.decode()
        url = f"http://{host}.test:{origin.http}/bytes/20000000"
        done = demo.curl("--limit-rate", "10M", "-o", "/dev/null", url)
        assert done.returncode == 0, done.stderr
        until("the last packets", lambda: capture.stat().st_size > 3 * 20_000_000)
    finally:
        dump.send_signal(signal.SIGINT)
        dump.wait(10)
        dump.stderr.close()
    caught = capture.read_bytes()
    assert len(caught) > 3 * 20_000_000  # the download crossed three links
    assert NAME not in caught
    assert bytes(range(256)) not in caught  # the body's period


def test_only_the_client_and_the_exit_know_the_destination(demo: Demo, names: NameServer) -> None:
    host = b"held.%s-memory.test" % NAME
    relays, exits, client = demo.pids("relay"), demo.pids("exit"), demo.pids("client")
    waiting = subprocess.Popen(
        ["curl", "-s", "--noproxy", "", "--socks5-hostname", demo.proxy, f"http://{host.decode()}/"]
    )
    try:
        # The exit waits for its name server, so it has the name in use now.
        until("the question", lambda: host.decode() in names.asked)
        # Reading memory works at all: those who must know, know.
        assert len(holders(exits, host)) == 1
        assert holders(client, host) == client
        assert holders(relays, host) == []
    finally:
        waiting.kill()
        waiting.wait()


def test_the_exit_never_learns_the_client_address(demo: Demo, origin: Origin) -> None:
    assert demo.curl(f"http://127.0.0.1:{origin.http}/bytes/1000000", "-o", "/dev/null").returncode == 0
    # The client's UDP port, as it stands in a socket address: its guards have it, no exit has.
    port = udp_port(demo.pids("client")[0]).to_bytes(2, "big")
    needles = [b"\x02\x00" + port + bytes([127, 0, 0, 1]), port + bytes(14) + b"\xff\xff\x7f\0\0\x01"]
    assert any(holders(demo.pids("relay"), needle) for needle in needles)
    assert not any(holders(demo.pids("exit"), needle) for needle in needles)
