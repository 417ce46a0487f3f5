"""Doing what a plan says, and undoing it."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.chaos.box import KIND, Treatment
from tests.chaos.plan import Kind, Wound

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.network import Network, Node
    from tests.chaos.plan import Disturbance

_SLICE_S: Final = 0.05
"""A slow node runs and stands by turns, together for so long."""
_FAR: Final = Treatment(loss=0.1, delay_s=0.2, jitter_s=0.02)
_SHUFFLE: Final = Treatment(twice=0.3, jitter_s=0.05)
_GARBLE: Final = Treatment(flip=0.1, cut=0.05)
"""At full strength."""


@dataclass(slots=True)
class Done:
    """A disturbance that was done.

    Args:
        plan: what was planned.
        begun, undone: seconds of the event loop. Where a node had to be started again, it is undone once it answers.
        trouble: what should not have happened; empty if nothing.
        note: what else was to be done.
    """

    plan: Disturbance
    begun: float = 0.0
    undone: float = 0.0
    trouble: str = ""
    note: str = ""


async def disturb(network: Network, plan: Disturbance, done: Done) -> None:
    """Do it, wait as long as planned, and undo it."""
    loop, node = asyncio.get_running_loop(), network.nodes[plan.node]
    done.begun = loop.time()
    match plan.kind:
        case Kind.KILL | Kind.DAMAGE:
            await node.end(signal.SIGKILL)
            if plan.wound is not None:
                _wound(node.home / plan.file, plan.wound)
            await asyncio.sleep(plan.lasts_s)
            await _start(node, done)
        case Kind.RESTART:
            if not await node.end(signal.SIGTERM):
                done.trouble = "did not end when it was asked to"
            await asyncio.sleep(max(0.0, done.begun + plan.lasts_s - loop.time()))
            await _start(node, done)
        case Kind.STOP | Kind.SLEEP:
            node.signal(signal.SIGSTOP)
            await asyncio.sleep(plan.lasts_s)
            if plan.kind is Kind.SLEEP:
                node.sleeps(loop.time() - done.begun)
            node.signal(signal.SIGCONT)
        case Kind.SLOW:
            await _slow(node, plan)
        case Kind.CLOCK:
            node.set_wrong(plan.clock_s)
            await asyncio.sleep(plan.lasts_s)
            node.set_wrong(0)
        case Kind.CUT:
            await network.cut(node.name, off=True)
            await asyncio.sleep(plan.lasts_s)
            await network.cut(node.name, off=False)
        case Kind.FAR | Kind.SHUFFLE | Kind.GARBLE:
            network.treat(node.name, treatment(plan))
            await asyncio.sleep(plan.lasts_s)
            network.treat(node.name, KIND)
    done.undone = loop.time()


def treatment(plan: Disturbance) -> Treatment:
    """What befalls the datagrams of a node."""
    full = {Kind.FAR: _FAR, Kind.SHUFFLE: _SHUFFLE, Kind.GARBLE: _GARBLE}[plan.kind]
    return Treatment(*(round(getattr(full, name) * plan.strength, 4) for name in Treatment.__slots__))


async def _slow(node: Node, plan: Disturbance) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + plan.lasts_s
    try:
        while loop.time() < end:
            node.signal(signal.SIGSTOP)
            await asyncio.sleep(_SLICE_S * (1 - plan.share))
            node.signal(signal.SIGCONT)
            await asyncio.sleep(_SLICE_S * plan.share)
    finally:
        node.signal(signal.SIGCONT)


def _wound(file: Path, wound: Wound) -> None:
    if not file.exists():
        return
    data = file.read_bytes()
    match wound:
        case Wound.GONE:
            file.unlink()
        case Wound.EMPTY:
            file.write_bytes(b"")
        case Wound.HALF:
            file.write_bytes(data[: len(data) // 2])
        case Wound.BITS:
            file.write_bytes(bytes(byte ^ 0x55 if place % 97 == 13 else byte for place, byte in enumerate(data)))


REMEDIES: Final = ("money.db", "carried")
"""Files that a node does not start with when they are damaged: it says so, and that they must be moved away."""


async def _start(node: Node, done: Done) -> None:
    """Start a node again. If it says that a file is damaged, do what it says, once."""
    file = done.plan.file
    await node.start()
    if await node.answers():
        return
    last = node.log.read_text(errors="replace").splitlines()[-1:]
    if file in REMEDIES and not node.running and last and file in last[0]:
        done.note = f"moved {file} away, as it said"
        for each in node.home.glob(f"{file}*"):
            each.rename(each.with_name(f"away-{done.plan.number}-{each.name}"))
        await node.start()
        if await node.answers():
            return
    done.trouble = f"did not start again: {' '.join(last)}"
