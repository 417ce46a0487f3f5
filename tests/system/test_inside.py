"""What a client reaches on its exits' machine, where the exits open nothing: nothing."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import pytest

from tests.harness.demo import Demo
from tests.harness.origin import NameServer, Origin

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.system

LOOPBACK: Final = (
    "127.0.0.1",
    "127.22.0.1",
    "127.1",
    "0",
    "0.0.0.0",
    "0x7f.1",
    "0x7f000001",
    "2130706433",
    "017700000001",
    "0177.0.0.1",
    "127.0.0.1.",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::1]",
    "[2a00:1450:1:2:0:5efe:127.0.0.1]",
    "localhost",
    "localhost.",
    "site.test",
    "www.localhost",
)
ELSEWHERE: Final = (
    "169.254.169.254",
    "[fd00:ec2::254]",
    "100.100.100.200",
    "192.0.0.192",
    "metadata.google.internal",
    "10.0.0.1",
    "192.168.1.1",
    "[fe80::1]",
    "router.lan",
    "printer.local",
    "wpad",
)
REFUSED: Final = (97, 56)
"""Exit codes of curl: the proxy did not connect, or had let it begin, and then ended it. Source: curl(1)."""


REBINDING: Final = {
    "loopback.example.org": ["127.0.0.1"],
    "own.example.org": ["127.22.0.1"],
    "metadata.example.org": ["169.254.169.254"],
    "turning.example.org": ["192.0.2.1", "127.0.0.1", "169.254.169.254", "127.0.0.1"],
}


@pytest.fixture(scope="module")
def liar() -> Iterator[NameServer]:
    with NameServer(others=REBINDING) as server:
        yield server


@pytest.fixture(scope="module")
def strict(liar: NameServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A network whose exits open nothing, and ask a resolver whose names lead inside."""
    log = tmp_path_factory.mktemp("strict") / "demo.log"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MACROVPN_BYPASS_PRESETS", "[]")  # else the client itself goes to private addresses
        with Demo("--resolver", liar.endpoint, log=log) as running:
            yield running


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    with Origin(tmp_path_factory.mktemp("inside")) as server:
        yield server


def fetch(demo: Demo, url: str, way: str) -> tuple[int, str]:
    done = demo.curl("-L", "--max-redirs", "3", "-o", "-", "--globoff", url, way=way, timeout=20)
    return done.returncode, done.stdout


@pytest.mark.parametrize("way", ["--socks5-hostname", "--proxy"])
def test_loopback_is_not_reached_in_any_form(strict: Demo, inside: Origin, way: str) -> None:
    for host in LOOPBACK:
        code, text = fetch(strict, f"http://{host}:{inside.http}/", way)
        assert "origin" not in text, host
        assert code != 0 or way == "--proxy", host
    assert inside.seen == []


def test_names_that_lead_inside_are_not_reached(strict: Demo, inside: Origin, liar: NameServer) -> None:
    for name in REBINDING:
        for _ in range(4):
            assert fetch(strict, f"http://{name}:{inside.http}/", "--socks5-hostname")[0] in REFUSED, name
    assert set(REBINDING) <= set(liar.asked)
    assert not any(name.endswith(("test", "localhost", "lan", "local")) for name in liar.asked)
    assert inside.seen == []


def test_metadata_and_neighbours_are_not_reached(strict: Demo) -> None:
    for host in ELSEWHERE:
        assert fetch(strict, f"http://{host}/latest/meta-data/", "--socks5-hostname")[0] in REFUSED, host


def test_the_networks_own_ports_are_not_reached(strict: Demo) -> None:
    control = urlsplit(strict.facts["control"]).port
    ports = [control, int(strict.proxy.rpartition(":")[2])]
    for port in ports:
        for host in ("127.0.0.1", "[::ffff:127.0.0.1]", "site.test"):
            assert fetch(strict, f"http://{host}:{port}/", "--socks5-hostname")[0] in REFUSED, (host, port)


def test_own_addresses_of_this_machine_are_not_reached(strict: Demo, inside: Origin) -> None:
    found = {str(entry[4][0]) for entry in socket.getaddrinfo(socket.gethostname(), None)}
    for host in found:
        literal = f"[{host}]" if ":" in host else host
        assert fetch(strict, f"http://{literal}:{inside.http}/", "--socks5-hostname")[0] in REFUSED, host
    assert inside.seen == []
