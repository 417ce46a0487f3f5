"""A network that is used in every way that works and in every way that does not, with canaries in all of them."""

from __future__ import annotations

import socket
import subprocess
import urllib.error
import urllib.request
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from node.client import NodeClient
from node.control.routes import TABLE
from tests.harness.associations import pysocks
from tests.harness.demo import Demo, until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.harness.origin import DatagramEcho, Origin

CANARY: Final = "canary-5e81d07b"
HOST: Final = f"www.{CANARY}.test"
HOSTS: Final = (HOST, *(f"{label}.{CANARY}.test" for label in ("missing", "held")), f"{CANARY}.internal", CANARY)
TEXTS: Final = (*HOSTS, f"user-{CANARY}", f"pass-{CANARY}")
DESTINATION: Final = "127.91.82.73"
"""Where the name server says that every name is."""
REFUSED: Final = "10.99.88.77"
"""What the client asks for, and exits refuse."""
REFUSED6: Final = "2001:db8:5e81::d07b"
AT_HOME: Final = "10.66.55.44"
"""What the client refuses itself."""
BROWSER: Final = "127.77.66.55"
"""Where the program that uses the proxy comes from."""
ADDRESSES: Final = (DESTINATION, REFUSED, REFUSED6, AT_HOME, BROWSER)
DOWN_BYTES: Final = 3_141_593
UP_BYTES: Final = 299_987
"""Sizes of flows which nothing else has."""
MAX_REQUEST_S: Final = 4.0
"""For what comes to nothing."""
COMES: Final = ("--interface", BROWSER, "-A", f"agent-{CANARY}", "-o", "/dev/null")
BRIEFLY: Final = ("--max-time", str(MAX_REQUEST_S))


def settings(resolver: str) -> list[str]:
    """Options of a demo whose nodes say all that they ever say."""
    return [
        *("--resolver", resolver, "--allow-destination", "127.0.0.0/8"),
        *("--set", "client:tunnel.allow_destinations=127.0.0.0/8,10.99.0.0/16,2001:db8::/32"),
        *("--log-level", "debug", "--metrics", "--tariff", "2"),
    ]


def talkative(folder: Path) -> dict[str, str]:
    """Variables with which Python says all that it ever says, and has that folder for all that it writes by itself."""
    return {
        "PYTHONASYNCIODEBUG": "1",
        "PYTHONWARNINGS": "default",
        "HOME": str(folder),
        "TMPDIR": str(folder),
    }


def browse(demo: Demo, origin: Origin, folder: Path) -> None:
    """Ask for pages, names and addresses, over SOCKS5 and HTTP.

    Args:
        demo: the network.
        origin: at `DESTINATION`.
        folder: for a file.
    """
    upload = folder / "upload"
    upload.write_bytes((f"body-{CANARY}".encode() * UP_BYTES)[:UP_BYTES])
    url, secure = f"http://{HOST}:{origin.http}", f"https://{HOST}:{origin.https}"
    user = ["--proxy-user", f"user-{CANARY}:pass-{CANARY}"]
    well: list[list[str]] = [
        [f"{url}/path-{CANARY}"],
        [*user, f"{url}/bytes/{DOWN_BYTES}"],
        ["--data-binary", f"@{upload}", f"{url}/"],
        ["-k", f"{secure}/bytes/100000"],
        [f"http://{DESTINATION}:{origin.http}/"],
    ]
    for arguments in well:
        for way in ("--socks5-hostname", "--proxy"):
            done = demo.curl(*COMES, *arguments, way=way)
            assert done.returncode == 0, (arguments, done.stderr)
    ask_in_vain(
        demo,
        *(f"http://{host}/" for host in (*HOSTS[1:], REFUSED, AT_HOME)),
        f"http://[{REFUSED6}]/",
        f"http://[::ffff:{REFUSED}]/",
        f"http://{DESTINATION}:1/",
        f"http://{HOST}:25/",
    )
    NodeClient(demo.home).hop()
    assert demo.curl(*COMES, f"{url}/bytes/100000").returncode == 0


def ask_in_vain(demo: Demo, *urls: str) -> None:
    """Ask at once, in both ways, for what comes to nothing."""
    ways = (("--socks5-hostname", demo.proxy), ("--proxy", f"http://{demo.proxy}"))
    asking = [
        subprocess.Popen(["curl", "-s", "-f", "--noproxy", "", *COMES, *BRIEFLY, *way, url])
        for url in urls
        for way in ways
    ]
    codes = [one.wait(4 * MAX_REQUEST_S) for one in asking]
    assert all(codes), dict(zip(urls, codes[::2], strict=True))


def send(demo: Demo, echo: DatagramEcho, homes: Iterable[Path]) -> int:
    """Send datagrams to whoever answers, and to whoever does not; returns the port from which they came."""
    data = f"datagram-{CANARY}".encode()
    with pysocks(demo.proxy, f"user-{CANARY}") as sock:
        sock.settimeout(1.0)  # on a busy machine, one may be lost

        def comes_back(host: str) -> bool:
            to_host = data + host.encode()
            sock.sendto(to_host, (host, echo.port))
            with suppress(TimeoutError):
                return bool(sock.recvfrom(2048) == (to_host, (DESTINATION, echo.port)))
            return False

        for host in (DESTINATION, HOST):
            until(f"an echo of {host}", partial(comes_back, host))

        def is_refused() -> bool:
            for host in (REFUSED, AT_HOME, *HOSTS[1:]):
                sock.sendto(data, (host, echo.port))
            return {"datagram not_allowed", "datagram no_name"} <= counted_by_exits(homes)

        until("refusals", is_refused, 30)
        port: int = sock.getsockname()[1]
        return port


def disturb(endpoint: str) -> None:
    """Send what an HTTP server refuses, and may complain about in its log."""
    host, _, port = endpoint.rpartition(":")
    for what in (
        f"BAD-{CANARY} {CANARY}\r\n\r\n",
        f"GET /{CANARY} HTTP/1.1\r\nHost: {CANARY}\r\nA: {'y' * 70_000}\r\n\r\n",
        f"GET /{CANARY}/proxy.pac?{CANARY} HTTP/1.1\r\nHost: {endpoint}\r\nConnection: close\r\n\r\n",
        f"CONNECT {CANARY}@{HOST}:99999 HTTP/1.1\r\nProxy-Authorization: Basic {CANARY}\r\n\r\n",
    ):
        with socket.create_connection((host, int(port)), 10, (BROWSER, 0)) as connection, suppress(OSError):
            connection.sendall(what.encode())
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass


def disturb_all(demo: Demo, homes: Iterable[Path]) -> None:
    """Send that to all ports of all nodes."""
    for home in homes:
        node = NodeClient(home)
        disturb(node.url.removeprefix("http://"))
        if metrics := node.status()["sharing"].get("metrics"):
            disturb(metrics)
    disturb(demo.proxy)


STREAM: Final = "events"
"""The answer that does not end."""


def answers(homes: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    """Everything that the nodes of some homes tell whoever may ask: all that can be asked without a change, and
    metrics."""
    names = [route.path.removeprefix("/v1/") for route in TABLE if route.method == "GET"]
    for home in homes:
        node = NodeClient(home)
        for name in names:
            if name != STREAM:
                yield f"{home.name}: {name}", _answer(node, name)
        if metrics := node.status().get("sharing", {}).get("metrics"):
            with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=10) as answer:
                yield f"{home.name}: metrics", answer.read()


def _answer(node: NodeClient, name: str) -> bytes:
    """An answer, or the words of the refusal: a relay has no PAC."""
    with open(node.token_file, encoding="ascii") as file:
        headers = {"Authorization": f"Bearer {file.read().strip()}"}
    request = urllib.request.Request(f"{node.url}/v1/{name}", headers=headers)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as refusal:
        return refusal.read()


def counted_by_exits(homes: Iterable[Path]) -> set[str]:
    """The words for which exits ended flows or refused them."""
    return {word for home in homes for word in NodeClient(home).status()["counters"]["exit"]}


def homes_of(demo: Demo) -> list[Path]:
    """The homes of a demo, the client's last, which has the others in it."""
    return [Path(entry["home"]) for entry in demo.facts["processes"]]


def processes_of(demo: Demo) -> dict[str, dict[str, Any]]:
    """The processes of a demo by their peers' names; the client's is empty."""
    return {entry["peer_id"]: entry for entry in demo.facts["processes"]}
