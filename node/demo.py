"""`macrovpn demo`: a whole private network on this machine, each node a process with a home of its own.

It starts the processes, waits until the network can be used, says so, and leaves nothing behind at its end.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from core.errors import MacroVpnError
from node.background import last_line, program
from node.children import Child, Children
from node.client import NodeClient, ask_status
from node.config import CONFIG_NAME
from node.demo_plan import FIRST_ADDRESS, DemoOptions, Member, plan, settings_text
from node.files import KEYS_NAME, make_home, write_private
from node.ports import free_udp_ports, require_loopback_network
from node.starters import Forks, Programs, can_fork
from peers.identity import Identity

if TYPE_CHECKING:
    from collections.abc import Callable

    from node.starters import Starter

__all__ = ["Demo", "DemoOptions", "run"]

READY_LIMIT_S: Final = 90.0
"""How long the whole network may take to be ready."""
_STEP_S: Final = 0.2
_MARKER: Final = ".macrovpn-demo"
_IMPORTED: Final = (
    "node.app",
    "node.exit_parts",
    "tunnel.engines.aiopquic",
    "uvloop",
    "libtorrent",
    "multiaddr.codecs.cid",
    "multiaddr.codecs.ip4",
    "multiaddr.codecs.uint16be",
    "cryptography.hazmat.backends.openssl.backend",
)
"""What most of its nodes need, and take long to import: once, before they are forked."""


class Demo:
    """The network, from its start to its end.

    Args:
        options: what it shall be.
        folder: an existing folder.
        say: told lines of progress.
        starter: brings up its nodes.
    """

    def __init__(self, options: DemoOptions, folder: Path, say: Callable[[str], None], starter: Starter) -> None:
        self._options = options
        self._folder = folder
        self._say = say
        self._members = plan(options, folder, free_udp_ports(2 * options.nodes - 1))
        self._children = Children(starter, self._child_ended)
        self._ready = False
        self._fatal = asyncio.Event()
        self._failure = ""

    async def start(self) -> dict[str, Any]:
        """Start every node and wait until the network is ready.

        Returns:
            What scripts need: proxy, pac, control, token_file, home, engine and processes.

        Raises:
            MacroVpnError: a node ended, or the network was not ready in time.
        """
        options, deadline = self._options, time.monotonic() + READY_LIMIT_S
        self._say(f"Starting {options.relays} relays, {options.exits} exits and a client …")
        first = self._members[0]
        # Its keys are made here, so that the others know its name before it runs and all can start at once.
        bootstrap = f"{first.multiaddr}/p2p/{Identity.load(make_home(first.home) / KEYS_NAME).peer_id}"
        for member in self._members:
            await self._launch(member, "" if member is first or options.find == "dht" else bootstrap)
        await self._wait(self._members, self._is_ready, deadline)
        self._ready = True
        return self._facts()

    async def run(self) -> None:
        """Wait for what ends the network from within.

        Raises:
            MacroVpnError: the client ended.
        """
        await self._fatal.wait()
        raise MacroVpnError(self._failure)

    async def stop(self) -> None:
        """End every process, within 5 seconds."""
        await self._children.stop()

    async def _launch(self, member: Member, bootstrap: str) -> None:
        make_home(member.home)
        first = self._members[0].dht_endpoint
        write_private(member.home / CONFIG_NAME, settings_text(member, self._options, bootstrap, first))
        command = "up" if member.role == "client" else "share"
        dht = "--no-dht" if self._options.find == "gossip" else "--dht"
        arguments = [command, "--foreground", dht, "--home", str(member.home)]
        member.child = await self._children.start(member.name, arguments, member.home)

    async def _wait(self, members: list[Member], done: Callable[[Member], bool], deadline: float) -> None:
        waiting, shown = list(members), len(members)
        while waiting:
            await asyncio.gather(*(self._ask(member) for member in waiting))
            if self._fatal.is_set():
                raise MacroVpnError(self._failure)
            waiting = [member for member in waiting if not done(member)]
            if len(waiting) != shown and len(members) > 1:
                shown = len(waiting)
                self._say(f"{len(members) - shown} of {len(members)} nodes are ready …")
            if waiting and time.monotonic() > deadline:
                raise MacroVpnError(f"The network is not ready after {READY_LIMIT_S:.0f} s: {_missing(waiting)}.")
            if waiting:
                await asyncio.sleep(_STEP_S)

    @staticmethod
    async def _ask(member: Member) -> None:
        assert member.child is not None
        status = await asyncio.to_thread(ask_status, member.home, member.child.pid)
        member.status = status or {}

    def _is_ready(self, member: Member) -> bool:
        if member.role == "client":
            return bool(member.status.get("state") == "up")
        return bool(member.status.get("peers") == len(self._members) - 2)

    def _child_ended(self, child: Child) -> None:
        code = child.status or 0
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit status {code}"
        self._say(f"{child.name} (process {child.pid}) {how}.")
        if not self._ready or child.home == self._folder:
            self._failure = f"{child.name} {how}. {last_line(child.home)}".rstrip()
            self._fatal.set()

    def _facts(self) -> dict[str, Any]:
        client = self._members[-1]
        control = NodeClient(client.home)
        return {
            "proxy": client.status.get("proxy", ""),
            "pac": client.status.get("pac", ""),
            "control": control.url,
            "token_file": control.token_file,
            "home": str(client.home),
            "tariff": self._options.tariff,
            "engine": "mixed" if self._options.engine == "mixed" else client.status.get("engine") or client.engine,
            "processes": [
                {
                    "role": member.role,
                    "pid": member.child.pid if member.child else 0,
                    "peer_id": member.status.get("peer_id", ""),
                    "address": member.multiaddr,
                    "home": str(member.home),
                    "engine": member.status.get("engine") or member.engine,
                }
                for member in self._members
            ],
        }


def _missing(waiting: list[Member]) -> str:
    def describe(member: Member) -> str:
        if not member.status:
            return f"{member.name} does not answer"
        if member.role == "client":
            reason = member.status.get("reason")
            return f"{member.name} is {member.status.get('state')}" + (f" ({reason})" if reason else "")
        return f"{member.name} knows {member.status.get('peers')} peers"

    return ", ".join(map(describe, waiting))


def run(
    options: DemoOptions,
    announce: Callable[[dict[str, Any]], None],
    say: Callable[[str], None],
    starter: Starter | None = None,
) -> None:
    """Run the network until SIGINT or SIGTERM; then leave nothing behind.

    Args:
        options: what it shall be.
        announce: called once, when every circuit can be built.
        say: told lines of progress.
        starter: brings up its nodes; None for what is best here.

    Raises:
        MacroVpnError: it did not become ready, was stopped before, or its client ended.
    """
    asyncio.run(_run(options, announce, say, starter or _starter(options)))


def _starter(options: DemoOptions) -> Starter:
    if not can_fork():
        return Programs(*program())
    for name in _IMPORTED:
        with suppress(ImportError):
            import_module(name)
    from node.cli import cli

    try:
        return Forks(options.nodes, partial(cli.main, prog_name="macrovpn"), program()[1])
    except OSError as error:
        raise MacroVpnError(f"The nodes cannot be started: {error.strerror}.") from error


async def _run(
    options: DemoOptions, announce: Callable[[dict[str, Any]], None], say: Callable[[str], None], starter: Starter
) -> None:
    require_loopback_network(FIRST_ADDRESS)
    folder = _claim(options.home) if options.home else Path(tempfile.mkdtemp(prefix="macrovpn-demo-"))
    interrupt = _Interrupt()
    ready = False
    try:
        demo = Demo(options, folder, say, starter)
        try:
            announce(await demo.start())
            ready = True
            await demo.run()
        except asyncio.CancelledError:
            if not interrupt.seen:
                raise
            say("Stopping …")
        finally:
            interrupt.disarm()
            await demo.stop()
    finally:
        if options.home is None:
            shutil.rmtree(folder, ignore_errors=True)
    if not ready:
        raise MacroVpnError("Stopped before the network was ready.")


class _Interrupt:
    """The first SIGINT or SIGTERM cancels the task that made this; later ones, and those after `disarm`, do not."""

    def __init__(self) -> None:
        self.seen = False
        self._task = asyncio.current_task()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._caught)

    def disarm(self) -> None:
        """Let what follows run to its end."""
        if self.seen and self._task is not None:
            self._task.uncancel()
        self._task = None

    def _caught(self) -> None:
        self.seen = True
        if self._task is not None and not self._task.cancelling():
            self._task.cancel()


def _claim(folder: Path) -> Path:
    """Take a folder for the network: one that is new or empty, or that an earlier network had."""
    folder = make_home(folder)
    if any(folder.iterdir()) and not (folder / _MARKER).exists():
        raise MacroVpnError(f"{folder} is not empty. Name a new folder, or one that `macrovpn demo` made.")
    write_private(folder / _MARKER, "")
    return folder
