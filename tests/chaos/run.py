"""One run: a network, its load, the plan, and the verdicts."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from bench.processes import memory_mb
from core.tasks import Tasks
from tests.chaos import judges
from tests.chaos.books import books_of, coins_of, steal
from tests.chaos.box import LOOPBACK
from tests.chaos.disturb import Done, disturb
from tests.chaos.judges import Census, Recovery, Watch
from tests.chaos.load import PROBE_S, Load, Origin, Outcome
from tests.chaos.network import FAUCET_UNITS, Network
from tests.chaos.plan import make_plan, role_of
from tests.harness.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.chaos.load import Transfer
    from tests.chaos.network import Node
    from tests.chaos.plan import Disturbance

WARM_S: Final = 8.0
"""How long there is load before the first look at what processes hold: first uses cost memory for good."""
QUIET_S: Final = 45.0
"""How long it may take until nothing is carried any more: an exit keeps flows without a path for 30 s."""
PLANTS: Final = ("flip", "short", "direct", "coin", "descriptors", "tasks", "memory")
"""Defects of the harness, each of which a judge must find."""
_CENSUS_S: Final = 10.0
_STEP_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Options:
    """What a run shall be.

    Args:
        seed: decides the plan and the load.
        seconds: how long it is disturbed.
        recover_s: within how many seconds of a disturbance's end a request must work.
        plant: a defect that the judges must find; empty for none.
        keep: where the homes and logs of all nodes are left; None for nowhere.
    """

    seed: int
    seconds: float
    recover_s: float = 5.0
    plant: str = ""
    keep: Path | None = None


async def chaos(options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Run it; the process is in a network namespace of its own.

    Returns:
        Plain data: the plan, what became of it, and the verdicts; `green` if all are.
    """
    with ExitStack() as stack:
        if options.keep is None:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="chaos-")))
        else:
            folder = options.keep / f"seed-{options.seed}"
            folder.mkdir(parents=True)
        plants = {"relay-1": options.plant} if options.plant in ("descriptors", "tasks", "memory") else {}
        network = Network(folder, options.seed, plants)
        origin = Origin(options.plant if options.plant in ("flip", "short") else "")
        await origin.start()
        try:
            return await _Run(options, network, origin, say).run()
        finally:
            network.kill()
            await origin.stop()


class _Run:
    def __init__(self, options: Options, network: Network, origin: Origin, say: Callable[[str], None]) -> None:
        self._options = options
        self._network = network
        self._origin = origin
        self._say = say
        self._plan = make_plan(options.seed, options.seconds)
        self._tasks = Tasks()
        self._turns = {name: asyncio.Lock() for name in network.nodes}
        self._began = 0.0
        self._started = time.monotonic()
        self._done: list[Done] = []
        self._recoveries: list[Recovery] = []

    async def run(self) -> dict[str, Any]:
        options, network, loop = self._options, self._network, asyncio.get_running_loop()
        self._say(f"seed {options.seed}: {len(self._plan)} disturbances in {options.seconds:g} s; starting 12 nodes …")
        await network.start(self._origin.port)
        self._phase("they are ready; a first load, and a first look at what they hold")
        warm = await self._loaded(WARM_S)
        before = await self._census()
        self._phase("chaos begins")
        self._load = load = Load(options.seed, network.clients(), self._origin.port, len(warm) + 1)
        load.start()
        self._began = loop.time()
        for each in self._plan:
            self._tasks.spawn(self._carry_out(each), each.text)
        await asyncio.sleep(options.seconds)
        await self._tasks.finish(PROBE_S + 60)
        self._phase("the load ends")
        await load.stop()
        self._phase("a last look")
        after = await self._census()
        if options.plant == "direct":
            _, writer = await asyncio.open_connection(LOOPBACK, self._origin.port)
            writer.close()
        counted = await network.counted()
        ended = await network.stop()
        return self._judged([*warm, *load.transfers], before, after, counted, ended)

    def _phase(self, text: str) -> None:
        self._say(f"{time.monotonic() - self._started:6.0f} s  {text} …")

    async def _loaded(self, seconds: float) -> list[Transfer]:
        load = Load(self._options.seed, self._network.clients(), self._origin.port)
        load.start()
        await asyncio.sleep(seconds)
        await load.stop()
        return load.transfers

    async def _carry_out(self, plan: Disturbance) -> None:
        loop, done = asyncio.get_running_loop(), Done(plan)
        await asyncio.sleep(max(0.0, self._began + plan.at_s - loop.time()))
        async with self._turns[plan.node]:  # where one takes longer to be undone than planned, the next one waits
            self._say(f"  {loop.time() - self._began:6.1f} s  {plan.text} for {plan.lasts_s:.1f} s")
            self._done.append(done)
            await disturb(self._network, plan, done)
        found = await asyncio.gather(*(self._recovery(client, done) for client in self._network.clients()))
        self._recoveries += found
        words = [f"{each.client} {_after(each)}" for each in found]
        extra = "".join(f"; {text}" for text in (done.note, done.trouble) if text)
        self._say(f"  {loop.time() - self._began:6.1f} s    {plan.text} is over: {', '.join(words)}{extra}")

    async def _recovery(self, client: str, done: Done) -> Recovery:
        loop, limit = asyncio.get_running_loop(), done.undone + self._options.recover_s
        guards = _guards(self._network.nodes[client].home)  # before others are drawn in their place
        found = Recovery(done.plan.text, client, None)
        while found.after_s is None and loop.time() < limit + PROBE_S:
            await asyncio.sleep(_STEP_S)
            found.after_s = self._answered(client, done.undone)
            if loop.time() > limit and not found.state:
                found.state = _in_short(await self._network.nodes[client].status())
        if found.after_s is None or found.after_s > self._options.recover_s:
            found.excuse = self._excuse(client, guards, done, limit)
        return found

    def _answered(self, client: str, since: float) -> float | None:
        """After how many seconds a request was answered that was begun since some moment."""
        ends = (
            each.ended - since
            for each in self._load.transfers
            if each.client == client and each.begun >= since and each.outcome is Outcome.EXACT
        )
        return min(ends, default=None)

    def _excuse(self, client: str, kept: list[str], done: Done, limit: float) -> str:
        """Why a client could not work until then, this disturbance of its own aside."""
        network, now = self._network, asyncio.get_running_loop().time()
        others = [each for each in self._done if each is not done]
        watch = Watch([(each.plan.node, each.begun, each.undone or now) for each in others])
        guards = {network.peers.get(peer, "") for peer in kept}
        exits = [name for name in network.nodes if role_of(name) == "exit"]
        return watch.excuse(client, guards, exits, done.undone, limit)

    async def _census(self) -> dict[str, Census]:
        """Wait until nothing is carried any more, and look what every process holds."""
        loop = asyncio.get_running_loop()
        end = loop.time() + QUIET_S
        nodes = self._network.nodes
        # A relay's lanes stay as long as their circuits.
        ends = [node for name, node in nodes.items() if role_of(name) != "relay"]
        while loop.time() < end:
            statuses = [await node.status() for node in ends]
            if not sum(int(status.get("flows", 0)) for status in statuses):
                break
            await asyncio.sleep(_STEP_S)
        return {name: await _held(node) for name, node in nodes.items() if node.running}

    def _judged(
        self,
        transfers: list[Transfer],
        before: Mapping[str, Census],
        after: Mapping[str, Census],
        counted: Mapping[str, int],
        ended: Mapping[str, bool],
    ) -> dict[str, Any]:
        options, network = self._options, self._network
        if options.plant == "coin":
            steal(network.ledger)
        breaks = judges.disturbed(self._done)
        books = books_of(network.nodes, network.peers)
        lost_books = sum(done.plan.file == "money.db" for done in self._done)  # who has none is given coins again
        given = FAUCET_UNITS * (len(network.nodes) + lost_books)
        verdicts = [
            judges.transfers(transfers, self._origin.uploads, self._began),
            judges.contacts(self._origin.sources, network.exits, counted),
            judges.recoveries(self._recoveries, options.recover_s),
            judges.processes(self._done, ended),
            judges.leaks(before, after),
            judges.money(coins_of(network.ledger), given, books, breaks),
        ]
        return {
            "seed": options.seed,
            "seconds": options.seconds,
            "green": not any(verdict.wrong for verdict in verdicts),
            "verdicts": [asdict(verdict) for verdict in verdicts],
            "disturbances": [self._told(done) for done in self._done],
            "recoveries": [asdict(each) for each in self._recoveries],
            "before": {name: asdict(found) for name, found in before.items()},
            "after": {name: asdict(found) for name, found in after.items()},
        }

    def _told(self, done: Done) -> dict[str, Any]:
        return {
            "what": done.plan.text,
            "planned_s": done.plan.at_s,
            "begun_s": round(done.begun - self._began, 2),
            "undone_s": round(done.undone - self._began, 2),
            "note": done.note,
            "trouble": done.trouble,
        }


def _in_short(status: Mapping[str, Any]) -> str:
    """What a client says of itself, for who looks for the reason."""
    if not status:
        return "it does not answer"
    counters = status["counters"].get("circuits")
    return f"{status['state']}, {status['circuits']} circuits, {status['flows']} flows, {counters} {status['reason']}"


def _after(found: Recovery) -> str:
    text = "never" if found.after_s is None else f"{found.after_s:.1f} s"
    why = "; ".join(word for word in (found.excuse, found.state) if word)
    return f"{text} ({why})" if why else text


def _guards(home: Path) -> list[str]:
    with suppress(OSError, UnicodeDecodeError):
        lines = (home / "guards").read_text().splitlines()[1:]
        return [line.split()[1] for line in lines if line.startswith("guard ")]
    return []


async def _held(node: Node) -> Census:
    node.census.unlink(missing_ok=True)
    node.signal(signal.SIGUSR1)
    await until(node.census.exists, _CENSUS_S)
    tasks: dict[str, int] = json.loads(node.census.read_text())
    folder = Path(f"/proc/{node.pid}")
    return Census(
        len(list((folder / "fd").iterdir())), len(list((folder / "task").iterdir())), memory_mb(node.pid), tasks
    )
