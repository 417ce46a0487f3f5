"""A machine whose node goes through every state while programs and browsers ask for two sites; a rule names one.

    ip netns exec NAMESPACE python -m tests.harness.closed FOLDER

Prints JSON: for each state, for each client, how it reached the tunnelled and the bypassed site: `through` the tunnel,
`direct`, or `nothing`; and what it was told of the tunnelled one.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import socks
from playwright.async_api import Error, async_playwright

from node.client import NodeClient
from node.config import CONFIG_NAME
from node.config_edit import format_file
from node.demo_plan import LEDGER_NAME
from node.files import make_home, write_private
from pac.pac import build_pac, pac_data_url
from pac.rules import RuleSet, parse_rules
from tests.harness.associations import pysocks
from tests.harness.chromium import CHROMIUM, QUIET
from tests.harness.demo import ROOT, Demo, status_of, until
from tests.harness.namespaces import ip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from playwright.async_api import Browser, BrowserType

TUNNELLED, BYPASSED = "192.0.2.80", "192.0.2.81"
WEB_PORT: Final = 80
UDP_PORT: Final = 53
PROXY: Final = "127.0.0.1:1080"
EXITS: Final = "127.22.0."
PATIENCE_S: Final = 10.0
"""How long a client waits for an answer. A node that finds no path says so after 2.5 s, more on a busy machine."""
SILENT_S: Final = 4.0
"""How long where there is none to come, and for datagrams."""

RULES: Final = [BYPASSED]

PAID: Final = ("--tariff", "2")
"""What the peers ask, so that there is something that a spending cap can forbid."""
TOLD_BYTES: Final = 10_000
FILL_BYTES: Final = 8_000_000
"""What the path `/fill` has: more than a client pays ahead."""

type Seen = dict[str, dict[str, list[str]]]


class Site:
    """A web server and a UDP echo on one address, which remember who came.

    Args:
        address: one of this machine's own.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.came: list[tuple[str, str]] = []
        """(client's name, source address); the name is empty for a connection of which nothing was read yet."""

    async def start(self, stack: AsyncExitStack) -> None:
        await stack.enter_async_context(await asyncio.start_server(self._serve, self.address, WEB_PORT))
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(partial(_Echo, self), (self.address, UDP_PORT))
        stack.callback(transport.close)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        source = str(writer.get_extra_info("peername")[0])
        self.came.append(("", source))
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            name = head.split()[1].decode().rpartition("/")[2]
            self.came.append((name, source))
            body = bytes(FILL_BYTES) if name == "fill" else b"ok"
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
            await writer.drain()
        writer.close()

    def way(self, client: str) -> str:
        """How a client has come since `came` was emptied."""
        sources = {source for name, source in self.came if name == client}
        ways = {"through" if source.startswith(EXITS) else "direct" for source in sources}
        return " and ".join(sorted(ways)) or "nothing"


class _Echo(asyncio.DatagramProtocol):
    def __init__(self, site: Site) -> None:
        self._site = site
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._site.came.append((data.decode("ascii", "replace"), addr[0]))
        self._transport.sendto(data, addr)


class Client:
    """The user's node, always at the same port, with one home.

    Args:
        home: its folder.
        ledger: the file of test coins that its peers have.
        settings: by section, beside its own.
        group: the group id that it runs under; None for that of the test.
    """

    def __init__(
        self,
        home: Path,
        ledger: Path,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        group: int | None = None,
    ) -> None:
        self.home = make_home(home)
        self._ledger = ledger
        self._settings = settings or {}
        self._group = group
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *bootstrap: str) -> None:
        """Start it; without peers to begin with, none is ever found."""
        tables: dict[str, dict[str, Any]] = {
            "proxy": {"listen": PROXY},
            "bypass": {"rules": RULES},
            "tunnel": {"allow_destinations": ["192.0.2.0/24"], "hops": 2},
            "peers": {"bootstrap": list(bootstrap), "allow_addresses": ["127.0.0.0/8"], "dht": False},
            "payments": {"settlement": "local", "ledger": str(self._ledger)},
        }
        for section, values in self._settings.items():
            tables.setdefault(section, {}).update(values)
        write_private(self.home / CONFIG_NAME, format_file(tables))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "node", "up", "--foreground", "--home", str(self.home)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            group=self._group,
        )

    def tell(self, number: signal.Signals) -> None:
        if self._process is not None:
            os.kill(self._process.pid, number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self._process is not None:
            self.tell(number)
            self._process.wait(10)
            self._process = None

    def until(self, state: str) -> None:
        def reached() -> bool:
            return bool(status_of(self.home).get("state") == state)

        until(state, reached, 60)

    def reach_cap(self) -> None:
        """Allow no more than was paid, and use all of it."""
        node = NodeClient(self.home)
        node.wallet_do("cap", units=node.wallet()["paid"])

        def used_up() -> bool:
            curl(f"-x http://{PROXY}", TUNNELLED, "fill", SILENT_S)
            return bool(node.status()["state"] == "blocked")

        until("the cap", used_up, 60)

    def lift_cap(self) -> None:
        NodeClient(self.home).wallet_do("cap", units=None)
        self.until("up")

    def switch(self, *, on: bool) -> None:
        NodeClient(self.home).switch(on=on)

    @property
    def reason(self) -> str:
        """What `macrovpn status` says is wrong."""
        return str(NodeClient(self.home).status()["reason"])

    def find_pac(self) -> str:
        """Where the PAC lies, once that is known; the same at each start."""
        return str(until("the PAC", lambda: status_of(self.home).get("pac"), 60))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.tell(signal.SIGCONT)
        self.end()


def pac_data() -> str:
    return pac_data_url(build_pac(RuleSet(parse_rules(RULES)), PROXY))


def browser_options(pac_url: str) -> dict[str, list[str]]:
    """How each kind of browser is told of the proxy."""
    return {
        "pac-url": [f"--proxy-pac-url={pac_url}"],
        "pac-data": [f"--proxy-pac-url={pac_data()}"],
        "fixed": [f"--proxy-server=http://{PROXY}", f"--proxy-bypass-list={';'.join(RULES)}"],
    }


@asynccontextmanager
async def browsers(kind: BrowserType, pac_url: str, *names: str) -> AsyncIterator[dict[str, Browser]]:
    """Start browsers of these kinds, or of all."""
    options = {name: extra for name, extra in browser_options(pac_url).items() if not names or name in names}
    started = await asyncio.gather(
        *(kind.launch(executable_path=CHROMIUM, args=[*QUIET, *extra]) for extra in options.values())
    )
    try:
        yield dict(zip(options, started, strict=True))
    finally:
        await asyncio.gather(*(browser.close() for browser in started))


class Walk:
    """Asks for both sites in every way, in one state after the other."""

    def __init__(self, sites: tuple[Site, Site]) -> None:
        self._sites = sites
        self.seen: Seen = {}
        self.said: dict[str, dict[str, str]] = {}
        """For each state, for each client, what it was told of the tunnelled site, in words."""
        self.strays: dict[str, list[str]] = {}
        """States in which connections came to the tunnelled site past the tunnel, even without a word."""

    async def look(
        self, state: str, running: dict[str, Browser], *, programs: bool = True, patience_s: float = PATIENCE_S
    ) -> None:
        for site in self._sites:
            site.came.clear()
        names = [*running]
        tasks = [visit(browser, site, name, patience_s) for name, browser in running.items() for site in self._sites]
        if programs:
            for name, ask in PROGRAMS.items():
                names.append(name)
                tasks += [asyncio.to_thread(ask, site.address, name, patience_s) for site in self._sites]
        told = await asyncio.gather(*tasks)
        self.seen[state] = {name: [site.way(name) for site in self._sites] for name in names}
        self.said[state] = dict(zip(names, told[:: len(self._sites)], strict=True))
        past = [source for name, source in self._sites[0].came if not name and not source.startswith(EXITS)]
        self.strays[state] = past


async def visit(browser: Browser, site: Site, name: str, patience_s: float) -> str:
    page = await browser.new_page()
    try:
        await page.goto(f"http://{site.address}/{name}", timeout=1000 * patience_s, wait_until="commit")
        said = await page.inner_text("body", timeout=1000 * patience_s)
    except Error as exc:
        said = exc.message
    await page.close()
    return said


def curl(way: str, address: str, name: str, patience_s: float = PATIENCE_S) -> str:
    limits = ["--max-time", str(patience_s), "--noproxy", ""]
    command_line = ["curl", "-s", *limits, *way.split(), f"http://{address}/{name}"]
    done = subprocess.run(command_line, timeout=2 * patience_s, check=False, capture_output=True)
    return done.stdout[:TOLD_BYTES].decode("utf-8", "replace")


def datagram(address: str, name: str, _patience_s: float) -> str:
    with suppress(OSError, socks.ProxyError), pysocks(PROXY) as sock:
        sock.settimeout(SILENT_S / 2)
        sock.sendto(name.encode(), (address, UDP_PORT))
        sock.recvfrom(100)
    return ""


PROGRAMS: Final[dict[str, Callable[[str, str, float], str]]] = {
    "socks": partial(curl, f"--socks5-hostname {PROXY}"),
    "http": partial(curl, f"-x http://{PROXY}"),
    "udp": datagram,
}


@contextmanager
def pac_server(answer: bytes) -> Iterator[str]:
    """Something at the PAC's address that says this to everybody, or nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        serving = asyncio.get_running_loop().create_task(_answer(server, answer))
        try:
            yield f"http://{host}:{port}/x/proxy.pac"
        finally:
            serving.cancel()


async def _answer(server: socket.socket, answer: bytes) -> None:
    server.setblocking(False)
    loop, held = asyncio.get_running_loop(), []
    while True:
        connection, _ = await loop.sock_accept(server)
        held.append(connection)
        if answer:
            await loop.sock_recv(connection, 4096)
            await loop.sock_sendall(connection, answer)
            held.pop().close()


def change_network(number: int) -> None:
    """What a browser takes for a change of network, upon which it loads its PAC anew."""
    name = f"wire{number}"
    ip("link", "add", name, "type", "veth", "peer", "name", f"far{number}")
    ip("address", "add", f"198.51.100.{number}/24", "dev", name)
    ip("link", "set", name, "up")


async def walk(folder: Path) -> Walk:
    for address in (TUNNELLED, BYPASSED):
        ip("address", "add", f"{address}/32", "dev", "lo")
    sites = Site(TUNNELLED), Site(BYPASSED)
    walked = Walk(sites)
    options = ["--relays", "2", "--exits", "1", "--hops", "2", "--allow-destination", "192.0.2.0/24", *PAID]
    async with AsyncExitStack() as stack, async_playwright() as playwright:
        for site in sites:
            await site.start(stack)
        demo = stack.enter_context(Demo(*options, log=folder / "demo.log"))
        first = demo.facts["processes"][0]
        bootstrap = f"{first['address']}/p2p/{first['peer_id']}"
        node = stack.enter_context(Client(folder / "home", demo.home / LEDGER_NAME))
        kind = playwright.chromium

        node.start()
        pac_url = await asyncio.to_thread(node.find_pac)
        async with browsers(kind, pac_url) as running:
            await walked.look("no peers", running)
        node.end()
        async with browsers(kind, pac_url) as running:
            await walked.look("never started", running)

        node.start(bootstrap)
        await asyncio.to_thread(node.until, "up")
        async with browsers(kind, pac_url) as running:
            await walked.look("up", running)
            await asyncio.to_thread(node.switch, on=False)
            await walked.look("switched off", running)
            await asyncio.to_thread(node.switch, on=True)
            await asyncio.to_thread(node.until, "up")
            node.tell(signal.SIGSTOP)
            await walked.look("suspended", running, patience_s=SILENT_S)
            node.tell(signal.SIGCONT)
            await asyncio.to_thread(node.until, "up")
            await walked.look("resumed", running)
            node.end()
            await walked.look("crashed", running)
            node.start(bootstrap)
            await asyncio.to_thread(node.until, "up")
            await walked.look("restarted", running)
            await asyncio.to_thread(node.reach_cap)
            await walked.look("cap reached", running)
            walked.said["cap reached"]["status"] = node.reason
            await asyncio.to_thread(node.lift_cap)
            node.end(signal.SIGTERM)
            change_network(1)
            await walked.look("down, and another network", running, programs=False)
            node.start(bootstrap)
            await asyncio.to_thread(node.until, "up")
            for pid in demo.pids("exit"):
                os.kill(pid, signal.SIGKILL)
            await asyncio.to_thread(node.until, "blocked")
            await walked.look("no path", running)

        for state, answer in (
            ("PAC answers 404", b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
            ("PAC answers nothing", b""),
        ):
            with pac_server(answer) as url:
                async with browsers(kind, url, "pac-url") as running:
                    await walked.look(state, running, programs=False, patience_s=SILENT_S)
    return walked


if __name__ == "__main__":
    socket.setdefaulttimeout(SILENT_S)  # PySocks sets none for its own connection to a proxy
    found = asyncio.run(walk(Path(sys.argv[1])))
    print(json.dumps({"seen": found.seen, "said": found.said, "strays": found.strays}))
