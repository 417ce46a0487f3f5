"""What a network leaves behind: canaries go through it in every way, and then everything that it wrote is searched."""

from __future__ import annotations

import hashlib
import re
import socket
import subprocess
import time
import urllib.request
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from node.client import NodeClient
from tests.harness.associations import pysocks
from tests.harness.demo import Demo, udp_port, until
from tests.harness.money_secrets import MoneySecrets
from tests.harness.origin import DatagramEcho, NameServer, Origin

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.system

CANARY: Final = "canary-5e81d07b"
HOST: Final = f"www.{CANARY}.test"
DESTINATION: Final = "127.91.82.73"
"""Where the name server says that every name is."""
REFUSED: Final = "10.99.88.77"
"""What the client asks for, and exits refuse."""
AT_HOME: Final = "10.66.55.44"
"""What the client refuses itself."""
BROWSER: Final = "127.77.66.55"
"""Where the program that uses the proxy comes from."""
MAX_REQUEST_S: Final = 4.0

type Found = list[tuple[str, str]]
"""What holds a canary, and which."""


class Canaries:
    """What must be nowhere, in the forms in which it could be.

    Args:
        addresses: of destinations and clients.
        ports: of clients, which stand beside an address.
        seconds: since 1970, of the traffic.
    """

    def __init__(self, addresses: list[str], ports: list[int], seconds: range) -> None:
        names = [CANARY, HOST, f"user-{CANARY}"]
        self._needles = {f"{kind} of {name}": needle for name in names for kind, needle in _of_text(name)}
        self._needles |= {
            f"{kind} of {address}": needle for address in addresses for kind, needle in _of_address(address)
        }
        self._needles |= {f"port {port}": f":{port}".encode() for port in ports}
        self._needles |= {f"port {port} in a multiaddr": f"/udp/{port}".encode() for port in ports}
        self._needles |= {f"socket address with port {port}": _sockaddr(port) for port in ports}
        self._needles |= {f"second {second}": str(second).encode() for second in seconds}

    def within(self, data: bytes) -> list[str]:
        """Name those that some bytes hold, in upper or lower case."""
        lower = data.lower()
        return [what for what, needle in self._needles.items() if needle.lower() in lower]


def _of_text(text: str) -> Iterator[tuple[str, bytes]]:
    yield "text", text.encode()
    yield "text in two-byte characters", text.encode("utf-16-le")
    yield "hexadecimal digits", text.encode().hex().encode()
    for name in ("md5", "sha1", "sha256", "blake2b", "blake2s"):
        digest = hashlib.new(name, text.encode()).digest()
        yield name, digest
        yield f"{name} in digits", digest.hex().encode()


def _of_address(text: str) -> Iterator[tuple[str, bytes]]:
    address = IPv4Address(text)
    yield "text", text.encode()
    yield "bytes", address.packed
    yield "bytes backwards", address.packed[::-1]
    yield "number", str(int(address)).encode()
    yield "hexadecimal digits", address.packed.hex().encode()


def _sockaddr(port: int) -> bytes:
    return port.to_bytes(2, "big") + bytes([127, 0, 0, 1])


CLOCK: Final = re.compile(rb"\b[0-2]?[0-9]:[0-5][0-9](:[0-5][0-9])?\b")
"""A time of day, as a log could have it."""


def search(canaries: Canaries, folder: Path) -> Found:
    """Search the names and contents of all files below a folder."""
    found = [(str(path), what) for path in folder.rglob("*") for what in canaries.within(str(path.name).encode())]
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            found += [(str(path), what) for what in canaries.within(data)]
            found += [(str(path), "a time of day") for _ in CLOCK.findall(data) if path.suffix == ".log"]
    return found


def answers(homes: list[Path]) -> Iterator[tuple[str, bytes]]:
    """Everything that the nodes of some homes tell whoever may ask."""
    for home in homes:
        client = NodeClient(home)
        for name in ("status", "route", "explain", "peers", "pac"):
            if name != "pac" or home == homes[-1]:
                yield f"{home.name}: {name}", client.call("GET", name)
        if metrics := client.status().get("sharing", {}).get("metrics"):
            with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=10) as answer:
                yield f"{home.name}: metrics", answer.read()


def browse(demo: Demo, origin: Origin, upload: Path) -> None:
    """Use the network in every way that works, and in every way that does not."""
    url, secure = f"http://{HOST}:{origin.http}", f"https://{HOST}:{origin.https}"
    user = ["--proxy-user", f"user-{CANARY}:pass-{CANARY}"]
    come = ["--interface", BROWSER, "--max-time", str(MAX_REQUEST_S), "-A", f"agent-{CANARY}", "-o", "/dev/null"]
    well: list[list[str]] = [
        [f"{url}/path-{CANARY}"],
        [*user, f"{url}/bytes/3000000"],
        ["--data-binary", f"@{upload}", f"{url}/"],
        ["-k", f"{secure}/bytes/100000"],
        [f"http://{DESTINATION}:{origin.http}/"],
    ]
    for arguments in well:
        for way in ("--socks5-hostname", "--proxy"):
            done = demo.curl(*come, *arguments, way=way)
            assert done.returncode == 0, (arguments, done.stderr)
    ill = [
        f"http://{REFUSED}/",
        f"http://{AT_HOME}/",
        f"http://{DESTINATION}:1/",
        f"http://missing.{CANARY}.test/",
        f"http://{CANARY}.internal/",
        f"http://{CANARY}/",
        f"http://held.{CANARY}.test/",
        f"http://[::ffff:{REFUSED}]/",
        f"http://{HOST}:25/",
    ]
    ways = (("--socks5-hostname", demo.proxy), ("--proxy", f"http://{demo.proxy}"))
    asking = [
        subprocess.Popen(["curl", "-s", "-f", "--noproxy", "", *come, *way, target]) for target in ill for way in ways
    ]
    assert all(one.wait(4 * MAX_REQUEST_S) != 0 for one in asking), "all of these fail"
    NodeClient(demo.home).hop()
    assert demo.curl(*come, f"{url}/bytes/100000").returncode == 0


def send(demo: Demo, echo: DatagramEcho, homes: list[Path]) -> int:
    """Send datagrams to whoever answers, and to whoever does not; returns the port from which they came."""
    data = f"datagram-{CANARY}".encode()
    with pysocks(demo.proxy, f"user-{CANARY}") as sock:
        for host in (REFUSED, AT_HOME, f"missing.{CANARY}.test", f"{CANARY}.internal", f"held.{CANARY}.test", CANARY):
            sock.sendto(data, (host, echo.port))
        sock.settimeout(1.0)  # on a busy machine, one may be lost

        def comes_back(host: str) -> bool:
            to_host = data + host.encode()
            sock.sendto(to_host, (host, echo.port))
            with suppress(TimeoutError):
                return bool(sock.recvfrom(2048) == (to_host, (DESTINATION, echo.port)))
            return False

        for host in (DESTINATION, HOST):
            until(f"an echo of {host}", partial(comes_back, host))
        until("refusals", lambda: {"datagram not_allowed", "datagram no_name"} <= _counted_by_exits(homes))
        port: int = sock.getsockname()[1]
        return port


def disturb(endpoint: str) -> None:
    """Send what an HTTP server refuses, and may complain about in its log."""
    host, _, port = endpoint.rpartition(":")
    for what in (
        f"BAD-{CANARY} {CANARY}\r\n\r\n",
        f"GET /{CANARY} HTTP/1.1\r\nHost: {CANARY}\r\nA: {'y' * 70_000}\r\n\r\n",
    ):
        with socket.create_connection((host, int(port)), 10, (BROWSER, 0)) as connection, suppress(OSError):
            connection.sendall(what.encode())
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass


def test_nothing_is_kept(tmp_path: Path) -> None:
    home, elsewhere, upload = tmp_path / "network", tmp_path / "elsewhere", tmp_path / "upload"
    elsewhere.mkdir()
    upload.write_bytes(f"body-{CANARY}".encode() * 20_000)
    verbose = {"PYTHONASYNCIODEBUG": "1", "PYTHONWARNINGS": "default", "HOME": str(elsewhere), "TMPDIR": str(elsewhere)}
    with Origin(tmp_path, DESTINATION) as origin, DatagramEcho(DESTINATION) as echo, NameServer(DESTINATION) as names:
        options = ["--home", str(home), "--resolver", names.endpoint, "--allow-destination", "127.0.0.0/8"]
        options += ["--set", "client:tunnel.allow_destinations=127.0.0.0/8,10.99.0.0/16"]
        options += ["--log-level", "debug", "--metrics", "--tariff", "2"]
        with Demo(*options, log=elsewhere / "demo.log", environment=verbose) as demo:
            homes = [Path(entry["home"]) for entry in demo.facts["processes"]]
            client_port = udp_port(demo.pids("client")[0])
            begin = int(time.time())
            browse(demo, origin, upload)
            datagrams_port = send(demo, echo, homes)
            for home_of_one in homes:
                node = NodeClient(home_of_one)
                disturb(node.url.removeprefix("http://"))
                if metrics := node.status()["sharing"].get("metrics"):
                    disturb(metrics)
            disturb(demo.proxy)
            addresses, ports = [DESTINATION, REFUSED, AT_HOME, BROWSER], [client_port, datagrams_port]
            canaries = Canaries(addresses, ports, range(begin, int(time.time()) + 1))

            # It went through: the exits asked for the names and reached the destination.
            assert {HOST, f"missing.{CANARY}.test", f"held.{CANARY}.test"} <= set(names.asked)
            assert any(host.startswith(HOST) for _, host in origin.seen)
            assert echo.got
            assert {"not_allowed", "refused", "no_name", "done"} <= _counted_by_exits(homes)

            money = MoneySecrets(demo, tmp_path / "books").all
            told = list(answers(homes))
            assert sum(what.endswith("metrics") for what, _ in told) == len(homes) - 1
            assert [(what, held) for what, answer in told for held in canaries.within(answer)] == []
            assert search(canaries, home) == []
    # What is written as a node ends counts as well, and so does what it wrote outside its home.
    for folder in (home, elsewhere):
        assert search(canaries, folder) == []
    logs = [log.read_bytes().lower() for log in (*home.rglob("node.log"), elsewhere / "demo.log")]
    assert len(logs) == len(homes) + 1
    assert not any(needle in log or needle.hex().encode() in log for needle in money for log in logs)
    assert list(home.rglob("peers")), "there is something to search"


def _counted_by_exits(homes: list[Path]) -> set[str]:
    """The words for which exits ended flows or refused them."""
    return {word for home in homes for word in NodeClient(home).status()["counters"]["exit"]}


def test_a_canary_is_found_in_every_form(tmp_path: Path) -> None:
    canaries = Canaries([DESTINATION], [41234], range(1_780_000_000, 1_780_000_010))
    assert search(canaries, tmp_path) == []
    address = IPv4Address(DESTINATION)
    planted = {
        "name": b"asked for WWW." + CANARY.upper().encode(),
        "user": b"{user-%s}" % CANARY.encode(),
        "digest": hashlib.sha256(HOST.encode()).digest(),
        "wide": HOST.encode("utf-16-le"),
        "text": b"to " + DESTINATION.encode(),
        "packed": b"\xff\xff" + address.packed,
        "port": b"from 127.0.0.1:41234",
        "socket": bytes([2, 0]) + (41234).to_bytes(2, "big") + bytes([127, 0, 0, 1]),
        "second": b"at 1780000007",
        "clock.log": b"12:34 a link is up",
        f"{CANARY}.empty": b"",
    }
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name, data in planted.items():
        (tmp_path / "deep" / "er" / name).write_bytes(b"\0before " + data + b"after\n")
    assert {Path(path).name for path, _ in search(canaries, tmp_path)} == set(planted)
