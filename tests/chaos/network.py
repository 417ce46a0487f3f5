"""The network of a run: twelve nodes as processes, the box between them, and the firewall of a namespace of its own."""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGTERM
from typing import TYPE_CHECKING, Any, Final

from core.errors import MacroVpnError
from node.client import NodeClient, ask_status
from node.config import CONFIG_NAME, PARENT_FD_ENV
from node.demo_plan import DemoOptions, Member, MemberSetting, plan, settings_text
from node.files import KEYS_NAME, make_home, write_private
from peers.identity import Identity
from tests.chaos.box import LOOPBACK, Treatment
from tests.chaos.member import CENSUS, PLANT
from tests.chaos.plan import EXITS, RELAYS, role_of
from tests.harness.asleep import compiled
from tests.harness.demo import ROOT
from tests.harness.namespaces import run

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Mapping
    from signal import Signals

_FIRST_PORT: Final = 41_000
_BOX_PORTS: Final = 1_000
"""A node's port at the box is so much above its own."""
_FIRST_PROXY: Final = 43_000
_MARK: Final = 7
DRAIN_S: Final = 3
READY_S: Final = 120.0
START_S: Final = 60.0
"""Within so long a node that was started again must answer."""
END_S: Final = DRAIN_S + 10.0
"""Within so long a node must have ended that was asked to."""
_STEP_S: Final = 0.1
_STARTING: Final = 10
"""The priority of a node that starts: each has a machine of its own in truth, so a start takes no other node's time."""
_BETWEEN: Final = -10
"""That of what lies between nodes: a line that stands still is a disturbance that no plan knows of."""
_BIT: Final = struct.Struct("qq")
_TABLE: Final = "inet chaos"
FAUCET_UNITS: Final = 1_000_000_000
"""What an account of the local ledger gets once."""


class Node:
    """A node, running or not.

    Args:
        member: what it is.
        folder: for files beside its home.
        environment: of its process.
        parent: a descriptor that comes to its end when this process ends, and the node with it.
    """

    def __init__(self, member: Member, folder: Path, environment: Mapping[str, str], parent: int) -> None:
        self.member = member
        self.name = member.name
        self.home = member.home
        self._parent = parent
        self._clock = folder / f"{member.name}.clock"
        self.census = folder / f"{member.name}.census"
        self.log = folder / f"{member.name}.log"
        own = {"ASLEEP_FILE": str(self._clock), CENSUS: str(self.census), PARENT_FD_ENV: str(parent)}
        self._environment = {**environment, **own}
        self._slept_ns = self._wrong_ns = 0
        self.process: Process | None = None
        self._set_clocks()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    async def start(self) -> None:
        """Start the process; it is not ready yet."""
        command = "up" if self.member.role == "client" else "share"
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.chaos.member", command, "--foreground", "--no-dht"),
                *("--home", str(self.home)),
                cwd=ROOT,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(self._parent,),
            )
        os.setpriority(os.PRIO_PROCESS, self.pid, _STARTING)

    def started(self) -> None:
        """It is ready, and takes what time it needs from now on."""
        for thread in Path(f"/proc/{self.pid}/task").iterdir():
            with suppress(ProcessLookupError):
                os.setpriority(os.PRIO_PROCESS, int(thread.name), 0)

    def signal(self, number: Signals) -> None:
        """Send it a signal, if it runs."""
        if self.process is not None and self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)

    async def end(self, number: Signals, limit_s: float = END_S) -> bool:
        """Make it end; returns whether it did by itself in time. Else it is killed."""
        assert self.process is not None
        self.signal(number)
        try:
            async with asyncio.timeout(limit_s):
                await self.process.wait()
        except TimeoutError:
            self.signal(SIGKILL)
            await self.process.wait()
            return False
        return True

    async def status(self) -> dict[str, Any]:
        """What it says of itself; empty while it does not answer."""
        if not self.running:
            return {}
        return await asyncio.to_thread(ask_status, self.home, self.pid) or {}

    async def wallet(self) -> dict[str, Any]:
        """Its money; empty while it does not answer."""
        with suppress(MacroVpnError):
            return await asyncio.to_thread(lambda: NodeClient(self.home).wallet())
        return {}

    async def answers(self, limit_s: float = START_S) -> bool:
        """Wait until it has started and says so; False if it ended, or did not in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while not _started(await self.status()):
                    if not self.running:
                        return False
                    await asyncio.sleep(_STEP_S)
                self.started()
                return True
        return False

    def sleeps(self, seconds: float) -> None:
        """Let its monotonic clock have stood still so long, more than before."""
        self._slept_ns += int(seconds * 1e9)
        self._set_clocks()

    def set_wrong(self, seconds: float) -> None:
        """Let its wall clock be wrong by so much; 0 is right."""
        self._wrong_ns = int(seconds * 1e9)
        self._set_clocks()

    def _set_clocks(self) -> None:
        if not self._clock.exists():
            self._clock.write_bytes(bytes(_BIT.size))
        with self._clock.open("r+b") as file:  # the process has it mapped
            file.write(_BIT.pack(self._slept_ns, self._wrong_ns))


class Network:
    """All of it. A process must be in a network namespace of its own first, in which loopback works.

    Args:
        folder: an empty folder.
        seed: for what befalls datagrams.
        plants: a leak that is planted, by the name of its node (see `tests.chaos.member`).

    Attributes:
        nodes: by name.
        ledger: the file of coins that all share.
        peers: names of relays and exits by their peer ids.
    """

    def __init__(self, folder: Path, seed: int, plants: Mapping[str, str]) -> None:
        self._folder = folder
        self._seed = seed
        members, self._options = _members(folder)
        library = str(compiled(folder))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MACROVPN_")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # each start would compile all that it imports
        environment |= {"LD_PRELOAD": library, "MACROVPN_PEERS_PORT_MAPPING": "false"}
        self._pipe = os.pipe()
        self.nodes: dict[str, Node] = {}
        for member in members:
            plant = {PLANT: plants[member.name]} if member.name in plants else {}
            self.nodes[member.name] = Node(member, folder, environment | plant, self._pipe[0])
        self.ledger = members[0].ledger
        self.peers = {_peer_id(member.home): member.name for member in members if member.role != "client"}
        self._box: Process | None = None

    @property
    def exits(self) -> list[str]:
        """The addresses that exits leave from."""
        return [node.member.egress for node in self.nodes.values() if node.member.egress]

    def clients(self) -> dict[str, int]:
        """Ports of the clients' proxies."""
        names = [name for name in self.nodes if role_of(name) == "client"]
        return {name: _FIRST_PROXY + number for number, name in enumerate(names)}

    async def start(self, origin: int) -> None:
        """Start everything, and wait until every node knows the others and clients are ready.

        Args:
            origin: TCP port of the origin, which only exits may contact.

        Raises:
            TimeoutError: that took too long.
        """
        await asyncio.to_thread(run, "nft", "-f", "-", text=self._rules(origin))
        await self._start_box()
        for node in self.nodes.values():
            await node.start()
        async with asyncio.timeout(READY_S):
            for node in self.nodes.values():
                await _until_ready(node)
                node.started()

    async def stop(self) -> dict[str, bool]:
        """Ask all to end; returns who did by itself in time."""
        running = {name: node for name, node in self.nodes.items() if node.running}
        for node in running.values():
            node.signal(SIGCONT)
        ended = await asyncio.gather(*(node.end(SIGTERM) for node in running.values()))
        if self._box is not None:
            self._box.kill()
            await self._box.wait()
            self._box = None
        return dict(zip(running, ended, strict=True))

    def kill(self) -> None:
        """End what still runs, at once. It cannot be used any more."""
        for end in self._pipe:
            os.close(end)
        for node in self.nodes.values():
            node.signal(SIGKILL)
        if self._box is not None:
            self._box.kill()

    # -- what lies between them

    async def _start_box(self) -> None:
        self._box = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.chaos.box"),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        where = {
            name: (node.member.address or LOOPBACK, node.member.port, node.member.port + _BOX_PORTS)
            for name, node in self.nodes.items()
        }
        self._tell({"seed": self._seed, "mark": _MARK, "nodes": where})
        os.setpriority(os.PRIO_PROCESS, self._box.pid, _BETWEEN)
        assert self._box.stdout is not None
        async with asyncio.timeout(READY_S):
            assert await self._box.stdout.readline() == b"ready\n"

    def treat(self, name: str, treatment: Treatment) -> None:
        """Have the box treat a node's datagrams in some way from now on."""
        changed = {field: getattr(treatment, field) for field in Treatment.__slots__}
        self._tell({"node": name} | {field: value for field, value in changed.items() if value})

    def _tell(self, line: dict[str, Any]) -> None:
        assert self._box is not None
        assert self._box.stdin is not None
        self._box.stdin.write(json.dumps(line).encode() + b"\n")

    async def cut(self, name: str, *, off: bool) -> None:
        """Drop all that a node sends and gets over the network, or no more."""
        member, word = self.nodes[name].member, "add" if off else "delete"
        lines = [f"{word} element {_TABLE} ports {{ {member.port} }}"]
        lines += [f"{word} element {_TABLE} egress {{ {member.egress} }}"] if member.egress else []
        await asyncio.to_thread(run, "nft", "-f", "-", text="\n".join(lines) + "\n")

    async def counted(self) -> dict[str, int]:
        """Packets that nobody may send: `direct` to the origin past the exits, `stray` datagrams of no link."""
        found = await asyncio.to_thread(run, "nft", "-j", "list", "counters")
        counters = [entry["counter"] for entry in json.loads(found)["nftables"] if "counter" in entry]
        return {counter["name"]: int(counter["packets"]) for counter in counters}

    def _rules(self, origin: int) -> str:
        members = [node.member for node in self.nodes.values()]
        turned = [
            f"ip daddr {member.address} udp dport {member.port} redirect to :{member.port + _BOX_PORTS}"
            for member in members
            if member.address
        ]
        ports = ", ".join(str(member.port) for member in members)
        exits = ", ".join(self.exits)
        return f"""
            table {_TABLE} {{
                set ports {{ type inet_service; }}
                set egress {{ type ipv4_addr; }}
                counter direct {{ }}
                counter stray {{ }}
                chain turn {{
                    type nat hook output priority -100
                    meta mark {_MARK} accept
                    {f"{chr(10)}                    ".join(turned)}
                }}
                chain refuse {{
                    type filter hook output priority 0
                    ip saddr != {{ {exits} }} tcp dport {origin} tcp flags & (syn|ack) == syn counter name direct
                    udp sport != {{ {ports} }} udp dport != {{ {ports} }} counter name stray
                    udp sport @ports drop
                    udp dport @ports drop
                    ip saddr @egress drop
                    ip daddr @egress drop
                }}
            }}
        """


def _started(status: Mapping[str, Any]) -> bool:
    """A node answers before it has opened its books and its ports."""
    return bool(status.get("engine") and (status["proxy"] or "client" not in status["roles"]))


async def _until_ready(node: Node) -> None:
    while True:
        if _ready(node, await node.status()):
            return
        await asyncio.sleep(_STEP_S)


def _ready(node: Node, status: Mapping[str, Any]) -> bool:
    if node.member.role == "client":
        return status.get("state") == "up" and int(status["circuits"]) > 1
    return status.get("peers") == RELAYS + EXITS - 1


def _members(folder: Path) -> tuple[list[Member], DemoOptions]:
    """Make homes and settings of all nodes: those of `macrovpn demo`, and a second client."""
    options = DemoOptions(
        relays=RELAYS, exits=EXITS, find="gossip", allow_destinations=(f"{LOOPBACK}/32",), home=folder
    )
    count = RELAYS + EXITS
    members = plan(options, folder, range(_FIRST_PORT, _FIRST_PORT + 2 * count + 1))
    second = Member("client", "client-2", folder / "client-2", ledger=members[0].ledger)
    members[-1].name, members[-1].home = "client-1", folder / "client-1"
    members.append(second)
    for number, member in enumerate(members[count:]):
        member.port = _FIRST_PORT + 2 * count + 2 + number
    firsts = [f"{each.multiaddr}/p2p/{_peer_id(each.home)}" for each in members[:2]]
    shared: list[tuple[str, Any]] = [("peers.bootstrap", tuple(firsts))]
    served: list[tuple[str, Any]] = [*shared, ("sharing.drain_s", DRAIN_S), ("sharing.monthly_gb", 1000.0)]
    own = {"relay": served, "exit": served, "client": shared}
    settings = tuple(MemberSetting(role, name, value) for role, values in own.items() for name, value in values)
    for number, member in enumerate(members):
        found = replace(options, settings=settings, port=_FIRST_PROXY + number - count if number >= count else 0)
        make_home(member.home)
        write_private(member.home / CONFIG_NAME, settings_text(member, found, "", members[0].dht_endpoint))
    return members, options


def _peer_id(home: Path) -> str:
    return Identity.load(make_home(home) / KEYS_NAME).peer_id
