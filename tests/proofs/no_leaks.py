"""Prove that nothing leaks: `python -m tests.proofs.no_leaks [browser …]` (`make prove-no-leaks`).

In a network of its own, a firewall counts every packet of some browsers and of the user's node, while the node goes
through all states. A browser may send to the proxy and, with the button, to the node's control interface; the node may
send to peers' links and to nodes of the DHT. First something is planted, and must be counted. It prints a table of what
was counted, and fails if anything went elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tomllib
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import click

from node.client import NodeClient
from node.config import CONFIG_NAME
from node.demo_plan import LEDGER_NAME
from tests.harness.closed import PROXY, TUNNELLED, Client, Site, change_network
from tests.harness.demo import Demo, command, status_of
from tests.harness.demo import until as until_it
from tests.harness.namespaces import ip, why_not
from tests.harness.origin import NameServer
from tests.harness.sealed import Sealed
from tests.harness.waiting import until
from tests.proofs.browsers import KINDS
from tests.proofs.counted import ELSEWHERE, Counts, Firewall, Watched
from tests.proofs.used import processes_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from contextlib import AbstractContextManager

    from tests.proofs.browsers import Kind

NODE_GROUP: Final = 61_200
FIRST_GROUP: Final = 61_201
CONTROL_PORT: Final = 1081
PROXY_PORT: Final = int(PROXY.rpartition(":")[2])
NODE: Final = "node"
KNOCKS: Final = 3
"""Attempts at the proxy which show that a browser has tried."""
LIMIT_S: Final = 120.0
NEEDED: Final = ("nft", "setpriv", "chromium", "firefox-esr", "curl")


class FailedError(Exception):
    """The proof proves nothing."""


class World:
    """A machine with browsers and a node, a network of peers, and a site.

    Args:
        folder: for files.
        kinds: of browsers.
    """

    def __init__(self, folder: Path, kinds: Iterable[Kind]) -> None:
        self.folder = folder
        self.kinds = list(kinds)
        self.groups = {kind.name: FIRST_GROUP + number for number, kind in enumerate(self.kinds)}
        self.site = Site(TUNNELLED)
        self.rows: dict[str, dict[str, Counts]] = {}
        self._runs: dict[str, AsyncExitStack] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> World:
        async with self._stack as stack:
            await self._build(stack.enter_context)
            self._stack = stack.pop_all()
        return self

    async def _build(self, enter: Callable[[AbstractContextManager[Any]], Any]) -> None:
        network = enter(Sealed())
        enter(network.entered())
        ip("address", "add", f"{TUNNELLED}/32", "dev", "lo")
        await self.site.start(self._stack)
        names = enter(NameServer(TUNNELLED))
        options = ["--relays", "3", "--exits", "2", "--hops", "2", "--allow-destination", "192.0.2.0/24"]
        self.demo = enter(Demo(*options, "--resolver", names.endpoint, log=self.folder / "demo.log", ready_s=LIMIT_S))
        peers = [one for one in self.demo.facts["processes"] if one["peer_id"]]
        self._bootstrap = [f"{one['address']}/p2p/{one['peer_id']}" for one in peers]
        settings = [
            tomllib.loads((Path(one["home"]) / CONFIG_NAME).read_text()) for one in self.demo.facts["processes"]
        ]
        in_dht = [one["peers"]["dht_listen"] for one in settings]
        own = f"127.18.0.1:{_free_udp_port('127.18.0.1')}"
        finds = {"dht": True, "dht_listen": own, "dht_nodes": in_dht[:1]}
        tables: dict[str, dict[str, Any]] = {"peers": finds, "control": {"port": CONTROL_PORT}, "bypass": {"rules": []}}
        self.node = enter(Client(self.folder / "home", self.demo.home / LEDGER_NAME, tables, NODE_GROUP))
        links = [one["peers"]["port"] for one in settings if one["node"]["roles"] != ["client"]]
        self.firewall = Firewall(network.name, "out", *self._watched(links, in_dht))

    async def __aexit__(self, *error: object) -> None:
        for run in self._runs.values():
            await run.aclose()
        await self._stack.aclose()

    def _watched(self, links: list[int], in_dht: list[str]) -> list[Watched]:
        """Who is looked at, and where each may send to."""
        to_proxy = {"proxy": f"ip daddr 127.0.0.1 tcp dport {PROXY_PORT}"}
        to_control = {"control": f"ip daddr 127.0.0.1 tcp dport {CONTROL_PORT}"}
        found = [
            Watched(kind.name, self.groups[kind.name], to_proxy | (to_control if kind.clicked else {}))
            for kind in self.kinds
        ]
        ports = ", ".join(address.rpartition(":")[2] for address in in_dht)
        places = {
            "links": f"ip daddr 127.0.0.0/8 udp dport {{ {', '.join(map(str, links))} }}",
            "itself": f"ip daddr 127.0.0.1 tcp dport {CONTROL_PORT}",
            "dht": f"ip daddr 127.0.0.0/8 udp dport {{ {ports} }}",
        }
        return [*found, Watched(NODE, NODE_GROUP, places)]

    # -- what happens

    async def start_node(self) -> None:
        self.node.start(*self._bootstrap)
        await self._until("up")

    async def _until(self, state: str) -> None:
        """Wait, with patience: peers that are gone are tried as well."""
        await asyncio.to_thread(until_it, state, lambda: status_of(self.node.home).get("state") == state, LIMIT_S)

    async def start(self, *, clicked: bool) -> None:
        """Start all browsers that have a button, or all that have none."""
        for kind in self.kinds:
            if kind.clicked == clicked:
                run = AsyncExitStack()
                self._runs[kind.name] = run
                await run.enter_async_context(kind.start(self.folder, self.groups[kind.name], self._code))

    async def close(self) -> None:
        """Have all browsers end."""
        for run in self._runs.values():
            await run.aclose()
        self._runs.clear()

    def _code(self) -> str:
        return str(command("pair", home=self.node.home)["code"])

    def kill_guard(self) -> None:
        hops = NodeClient(self.node.home).route()["circuits"][0]["hops"]
        os.kill(processes_of(self.demo)[hops[0]["peer_id"]]["pid"], signal.SIGKILL)

    def kill_exit(self) -> None:
        """End the exit over which the last request came, by the address from which exits leave."""
        sources = [source for name, source in self.site.came if name]
        os.kill(self.demo.pids("exit")[int(sources[-1].rpartition(".")[2]) - 1], signal.SIGKILL)

    async def end_exits(self) -> None:
        for pid in self.demo.pids("exit"):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        await self._until("blocked")

    # -- what is seen

    def forget(self) -> None:
        """Begin to count."""
        self.firewall.take()

    async def look(self, state: str, *, works: bool) -> None:
        """Wait until all browsers have reached the site, or have tried; note what was sent since the last look."""
        row = self.rows.setdefault(state, {})
        self.site.came.clear()
        self._note(row)
        before = {name: row[name].begun.get("proxy", 0) for name in self._runs}

        def done() -> bool:
            self._note(row)
            if works:
                return all(self.site.way(name) == "through" for name in self._runs)
            return all(row[name].begun["proxy"] - before[name] >= KNOCKS for name in self._runs)

        try:
            await until(done, LIMIT_S)
        except AssertionError as error:
            ways = {name: (self.site.way(name), row[name].begun) for name in self._runs}
            raise FailedError(f"{state}: not every browser has tried: {ways}") from error

    def note(self, state: str) -> dict[str, Counts]:
        """Note what was sent since the last look; returns what has been noted for that state."""
        row = self.rows.setdefault(state, {})
        self._note(row)
        return row

    def _note(self, row: dict[str, Counts]) -> None:
        for name, counts in self.firewall.take().items():
            row.setdefault(name, Counts()).add(counts)


def _free_udp_port(host: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


async def session(world: World, say: Callable[[str], None]) -> None:
    """The whole life of browsers and of their node."""

    async def step(state: str, act: Callable[[], Awaitable[object]], *, works: bool) -> None:
        await act()
        await world.look(state, works=works)
        say(state)

    def call(act: Callable[[], object]) -> Callable[[], Awaitable[object]]:
        return lambda: asyncio.to_thread(act)

    node = world.node
    world.forget()
    if any(not kind.clicked for kind in world.kinds):
        await step("browsers start, no node", partial(world.start, clicked=False), works=False)
    await step("the node starts", world.start_node, works=True)
    await world.start(clicked=True)  # they go direct until they are clicked
    world.forget()
    await step("works", partial(asyncio.sleep, 0), works=True)
    await step("another route", call(NodeClient(node.home).hop), works=True)
    await step("the guard is killed", call(world.kill_guard), works=True)
    await step("the exit is killed", call(world.kill_exit), works=True)
    await step("another network", call(partial(change_network, 1)), works=True)
    await step("switched off", call(partial(node.switch, on=False)), works=False)
    await step("switched on", call(partial(node.switch, on=True)), works=True)
    await step("the node hangs", call(partial(node.tell, signal.SIGSTOP)), works=False)
    await step("the node goes on", call(partial(node.tell, signal.SIGCONT)), works=True)
    await step("the node stops", call(partial(node.end, signal.SIGTERM)), works=False)
    await step("another network, no node", call(partial(change_network, 2)), works=False)
    await step("the node starts again", world.start_node, works=True)
    await step("the node is killed", call(node.end), works=False)
    await step("the node starts once more", world.start_node, works=True)
    await step("no path", world.end_exits, works=False)
    await world.close()
    world.note("browsers end")
    await asyncio.to_thread(node.end, signal.SIGTERM)
    world.note("the node ends")


# -- what comes of it


def plant(world: World) -> str:
    """Have each of the watched send something, and see that it is counted."""
    world.forget()
    program = "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'?', ('192.0.2.53', 53))"
    for group in (*world.groups.values(), NODE_GROUP):
        subprocess.run([sys.executable, "-c", program], group=group, extra_groups=(), check=False, capture_output=True)
        connecting = ["curl", "-s", "--max-time", "2", "http://198.51.100.7/"]
        subprocess.run(connecting, group=group, extra_groups=(), check=False)
    planted = {("192.0.2.53", "udp", 53), ("198.51.100.7", "tcp", 80)}
    found = world.firewall.take()
    if missed := [name for name, counts in found.items() if counts.strays.keys() != planted]:
        raise FailedError(f"what was planted is not counted: {missed}")
    return f"planted and counted: a question to a name server and a connection, of {len(found)} programs each"


def table(world: World) -> list[str]:
    """For each state and each browser, connections to the proxy and packets that went elsewhere."""
    names = [kind.name for kind in world.kinds]
    lines = [
        f"{'to the proxy / elsewhere':28}"
        + "".join(f"{name:>15}" for name in names)
        + "   node: links   dht   elsewhere"
    ]
    for state, row in world.rows.items():
        cells = "".join(f"{row[name].begun['proxy']:>10} / {row[name].elsewhere}".rjust(15) for name in names)
        node = row[NODE].packets
        lines.append(f"{state:28}{cells}{node['links']:>15,}{node['dht']:>6,}{node[ELSEWHERE]:>12,}")
    return lines


def leaks(world: World) -> list[str]:
    return [
        f"LEAK, {state}: {name} sent {counts.elsewhere} packets: {counts.strays}"
        for state, row in world.rows.items()
        for name, counts in row.items()
        if counts.elsewhere or counts.strays
    ]


async def prove(folder: Path, kinds: Iterable[Kind]) -> list[str]:
    """Print what was counted; returns the leaks."""
    async with World(folder, kinds) as world:
        click.echo(plant(world))
        await session(world, partial(click.echo, err=True))
        click.echo("\n".join(table(world)))
        return leaks(world)


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([kind.name for kind in KINDS]))
def main(names: tuple[str, ...]) -> None:
    """Prove that browsers and their node send nothing but what they may; all browsers, or those that are named."""
    if reason := why_not(*NEEDED):
        sys.exit(reason)
    with TemporaryDirectory(prefix="macrovpn-proof-") as folder:
        try:
            found = asyncio.run(prove(Path(folder), [kind for kind in KINDS if not names or kind.name in names]))
        except FailedError as error:
            sys.exit(f"This proves nothing: {error}")
    click.echo("\n".join(found) or "nothing went elsewhere")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
