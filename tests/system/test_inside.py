"""What a client reaches on its exits' machine, where the exits open nothing: nothing.

A client refuses such destinations itself. So these are asked for by one that was told to ask for everything, and every
refusal is the exit's, who counts it. One test is about a client as it should be, whose exits hear nothing.
"""

from __future__ import annotations

import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import pytest

from core.errors import FlowError, Reason
from exits.names import parse_destination
from node.client import NodeClient
from tests.harness.associations import pysocks
from tests.harness.demo import Demo, command, until
from tests.harness.origin import DatagramEcho, NameServer, Origin

if TYPE_CHECKING:
    from collections.abc import Iterator

    import socks

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
REFUSED: Final = (97, 56, 55)
"""Exit codes of curl: the proxy did not connect, or had let it begin, and ended it while it received or sent.
Source: curl(1)."""
TRIES: Final = 5
"""On a busy machine, exits first say that they are busy."""
DATAGRAM: Final = "datagram not_allowed"
"""Under which word an exit counts a datagram that it does not send on."""


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
    """A network whose exits open nothing, and ask a resolver whose names lead inside. Its client asks for anything."""
    log = tmp_path_factory.mktemp("strict") / "demo.log"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MACROVPN_BYPASS_PRESETS", "[]")  # else the client itself goes to private addresses
        anything = ("--set", "client:tunnel.allow_destinations=0.0.0.0/0,::/0")
        with Demo("--resolver", liar.endpoint, *anything, log=log) as running:
            yield running


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    with Origin(tmp_path_factory.mktemp("inside")) as server:
        yield server


@pytest.fixture(scope="module")
def sink() -> Iterator[list[DatagramEcho]]:
    """UDP servers on this machine, at one port of IPv4 and IPv6."""
    with DatagramEcho() as four, DatagramEcho("::1", four.port) as six:
        yield [four, six]


def fetch(demo: Demo, url: str, way: str) -> tuple[int, str]:
    done = demo.curl("-L", "--max-redirs", "3", "-o", "-", "--globoff", url, way=way, timeout=20)
    return done.returncode, done.stdout


def refusals(demo: Demo, word: str = "not_allowed") -> int:
    """How often the exits have refused to go somewhere."""
    homes = [Path(entry["home"]) for entry in demo.facts["processes"] if entry["role"] == "exit"]
    return sum(NodeClient(home).status()["counters"]["exit"].get(word, 0) for home in homes)


def refuse_datagram(demo: Demo, sock: socks.socksocket, target: tuple[str, int]) -> bool:
    """Whether the exits refuse a datagram within a second; on a busy machine one may be lost."""
    before = refusals(demo, DATAGRAM)
    sock.sendto(b"for nobody", target)
    with suppress(AssertionError):
        until("refusal", lambda: refusals(demo, DATAGRAM) > before, 1.0)
        return True
    return False


def ask_in_vain(demo: Demo, url: str, way: str = "--socks5-hostname") -> None:
    """Ask until an exit says, for itself, that it does not allow this."""
    before = refusals(demo)
    for _ in range(TRIES):
        code, text = fetch(demo, url, way)
        assert "origin" not in text, url
        assert code in REFUSED or way == "--proxy", (url, code)
        if refusals(demo) > before:
            return
    pytest.fail(f"no exit was asked for {url}")


def is_sent(host: str) -> bool:
    """Whether a client that was told to ask for anything sends a host: never a number in disguise, nor `0.0.0.0`."""
    try:
        found = parse_destination(host.strip("[]"), allow_special=True)
    except FlowError:
        return False
    return isinstance(found, str) or not found.is_unspecified


@pytest.mark.parametrize("way", ["--socks5-hostname", "--proxy"])
def test_loopback_is_not_reached_in_any_form(strict: Demo, inside: Origin, way: str) -> None:
    for host in LOOPBACK:
        url = f"http://{host}:{inside.http}/"
        if is_sent(host):
            ask_in_vain(strict, url, way)
        else:
            code, text = fetch(strict, url, way)
            assert "origin" not in text, host
            assert code != 0 or way == "--proxy", host
    assert inside.seen == []


def test_names_that_lead_inside_are_not_reached(strict: Demo, inside: Origin, liar: NameServer) -> None:
    for name in REBINDING:
        for _ in range(4):
            ask_in_vain(strict, f"http://{name}:{inside.http}/")
    assert set(REBINDING) <= set(liar.asked)
    assert not any(name.endswith(("test", "localhost", "lan", "local")) for name in liar.asked)
    assert inside.seen == []


def test_metadata_and_neighbours_are_not_reached(strict: Demo) -> None:
    for host in ELSEWHERE:
        ask_in_vain(strict, f"http://{host}/latest/meta-data/")


HERE: Final = ("127.0.0.1", "[::ffff:127.0.0.1]", "site.test")


def test_the_networks_own_ports_are_not_reached(strict: Demo) -> None:
    for home in [Path(entry["home"]) for entry in strict.facts["processes"] if entry["role"] != "client"]:
        for host in HERE:
            ask_in_vain(strict, f"http://{host}:{urlsplit(NodeClient(home).url).port}/")


def test_the_clients_own_ports_are_not_reached(strict: Demo) -> None:
    for port in (urlsplit(strict.facts["control"]).port, int(strict.proxy.rpartition(":")[2])):
        for host in HERE:
            assert fetch(strict, f"http://{host}:{port}/", "--socks5-hostname")[0] in REFUSED, (host, port)


def own_addresses() -> set[str]:
    return {str(entry[4][0]) for entry in socket.getaddrinfo(socket.gethostname(), None)}


def test_own_addresses_of_this_machine_are_not_reached(strict: Demo, inside: Origin) -> None:
    for host in own_addresses():
        ask_in_vain(strict, f"http://{f'[{host}]' if ':' in host else host}:{inside.http}/")
    assert inside.seen == []


def links(demo: Demo) -> list[tuple[str, int]]:
    """Where the nodes take links."""
    found = [entry["address"].split("/") for entry in demo.facts["processes"] if entry["role"] != "client"]
    return [(parts[2], int(parts[4])) for parts in found]


def test_no_datagram_gets_inside(strict: Demo, sink: list[DatagramEcho]) -> None:
    hosts = [host.strip("[]") for host in (*LOOPBACK, *ELSEWHERE) if is_sent(host)]
    targets = [(host, sink[0].port) for host in (*hosts, *REBINDING, *own_addresses())]
    with pysocks(strict.proxy, "datagrams") as sock:
        for target in (*targets, *links(strict)):
            assert any(refuse_datagram(strict, sock, target) for _ in range(TRIES)), target
    assert [server.got for server in sink] == [[], []]


def test_a_client_asks_no_exit_for_it(
    strict: Demo, sink: list[DatagramEcho], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = strict.facts["processes"][0]
    monkeypatch.setenv("MACROVPN_BYPASS_PRESETS", "[]")
    bootstrap = ("--bootstrap", f"{first['address']}/p2p/{first['peer_id']}")
    proxy = command("up", *bootstrap, "--allow-address", "127.0.0.0/8", "--port", "0", home=tmp_path)["proxy"]
    before = refusals(strict), refusals(strict, DATAGRAM)
    try:
        with pysocks(proxy) as sock:
            for host in (*LOOPBACK, *ELSEWHERE):
                sock.sendto(b"for nobody", (host.strip("[]"), sink[0].port))
            for host in (*LOOPBACK, *ELSEWHERE):
                done = subprocess.run(
                    ["curl", "-s", "--globoff", "--noproxy", "", "--proxy", f"http://{proxy}", f"http://{host}/"],
                    capture_output=True,
                    text=True,
                    timeout=20,
                    check=False,
                )
                assert Reason.INSIDE.sentence in done.stdout, host
    finally:
        command("down", home=tmp_path)
    assert (refusals(strict), refusals(strict, DATAGRAM)) == before
