"""What will be disturbed when: pure data, and a function of the seed alone."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence


class Kind(StrEnum):
    """What is done to a node, until it is undone."""

    KILL = "kill"
    """SIGKILL; later it is started again."""
    RESTART = "restart"
    """SIGTERM; it is started again when it has ended."""
    DAMAGE = "damage"
    """SIGKILL, and a file of its home is damaged before it is started again."""
    STOP = "stop"
    """SIGSTOP, later SIGCONT."""
    SLEEP = "sleep"
    """The same, and its monotonic clock has stood still meanwhile, as on a laptop that slept."""
    SLOW = "slow"
    """It gets a part of the time only."""
    CLOCK = "clock"
    """Its wall clock is set, later set back."""
    CUT = "cut"
    """The firewall drops all that it sends and gets."""
    FAR = "far"
    """Its datagrams take long, and some get lost."""
    SHUFFLE = "shuffle"
    """Its datagrams come twice, and overtake each other."""
    GARBLE = "garble"
    """Bits of its datagrams are turned over, and some are cut short."""


class Wound(StrEnum):
    """How a file is damaged."""

    EMPTY = "emptied"
    HALF = "cut in half"
    BITS = "bits turned over"
    GONE = "removed"


RELAYS: Final = 7
EXITS: Final = 3
CLIENTS: Final = 2
NODES: Final = tuple(
    f"{role}-{number}"
    for role, count in (("relay", RELAYS), ("exit", EXITS), ("client", CLIENTS))
    for number in range(1, count + 1)
)
"""All nodes of the network."""

FILES: Final = {
    "client": ("guards", "peers", "money.db", "control.json", "control.token", "pac.token", "node.lock"),
    "relay": ("peers", "money.db", "control.json", "control.token", "node.lock", "carried"),
    "exit": ("peers", "money.db", "control.json", "control.token", "node.lock", "carried"),
}
"""What may be damaged, by role. Not its own keys and settings: a node without them is another one."""

CLOCKS_S: Final = (-36 * 3600, -7200, -600, -60, 60, 240, 600, 7200, 36 * 3600)
"""By how much a wall clock may be off: within what creations allow (5 minutes), and beyond, and beyond a day."""

_FIRST_S: Final = 2.0
_GAP_S: Final = (1.0, 4.0)
_LASTS_S: Final = (1.0, 8.0)
_SHARES: Final = (0.1, 0.5)
"""Of its time that a slow node gets."""
_AT_ONCE: Final = 3
_EXITS_AT_ONCE: Final = 2
"""One exit is always left in peace."""
_CLIENT_WEIGHT: Final = 0.5
"""A client is met half as often as another node: what it carries ends with it."""
QUIET_S: Final = 6.0
"""After the last disturbance, so that it is seen whether everything has recovered."""


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One thing that is done to one node.

    Args:
        number: which of the plan, from 1 on.
        kind: what.
        node: whose, such as `relay-3`.
        at_s: when it begins, in seconds from the beginning.
        lasts_s: how long until it is undone.
        file, wound: for `DAMAGE`.
        clock_s: for `CLOCK`.
        share: for `SLOW`.
        strength: 0 to 1; for what is done to datagrams.
    """

    number: int
    kind: Kind
    node: str
    at_s: float
    lasts_s: float
    file: str = ""
    wound: Wound | None = None
    clock_s: int = 0
    share: float = 0.0
    strength: float = 0.0

    @property
    def ends_s(self) -> float:
        """When it is undone."""
        return self.at_s + self.lasts_s

    @property
    def text(self) -> str:
        """What people read."""
        more = {
            Kind.DAMAGE: f" {self.file} {self.wound}",
            Kind.CLOCK: f" {self.clock_s:+d} s",
            Kind.SLOW: f" to {self.share:.0%}",
        }
        return f"{self.kind}{more.get(self.kind, '')} {self.node}"


def role_of(node: str) -> str:
    """The role that a node's name begins with."""
    return node.partition("-")[0]


def make_plan(seed: int, seconds: float, nodes: Collection[str] = NODES) -> tuple[Disturbance, ...]:
    """Draw the disturbances of a run. The same arguments give the same plan, on every machine.

    At most three are at work at once, on different nodes, at most two of them exits. Kinds come by turns, in an order
    that is drawn anew for each turn, so that none is left out of a run that is long enough.

    Args:
        seed: decides everything.
        seconds: how long the run is; everything is undone `QUIET_S` before its end.
        nodes: their names, each its role and a number.
    """
    chance = random.Random(f"chaos {seed}")
    kinds = _turns(chance)
    found: list[Disturbance] = []
    at_s = _FIRST_S
    while True:
        lasts_s = round(chance.uniform(*_LASTS_S), 3)
        at_s = round(at_s, 3)
        if at_s + lasts_s > seconds - QUIET_S:
            return tuple(found)
        running = [each for each in found if each.ends_s > at_s]
        free = [node for node in nodes if _may_be_met(node, running)]
        if len(running) < _AT_ONCE and free:
            weights = [_CLIENT_WEIGHT if role_of(node) == "client" else 1.0 for node in free]
            [node] = chance.choices(free, weights)
            found.append(_draw(chance, len(found) + 1, next(kinds), node, at_s, lasts_s))
        at_s += chance.uniform(*_GAP_S)


def _turns(chance: random.Random) -> Iterator[Kind]:
    while True:
        kinds = list(Kind)
        chance.shuffle(kinds)
        yield from kinds


def _may_be_met(node: str, running: Sequence[Disturbance]) -> bool:
    exits = sum(role_of(each.node) == "exit" for each in running)
    return all(each.node != node for each in running) and (role_of(node) != "exit" or exits < _EXITS_AT_ONCE)


def _draw(chance: random.Random, number: int, kind: Kind, node: str, at_s: float, lasts_s: float) -> Disturbance:
    return Disturbance(
        number,
        kind,
        node,
        at_s,
        lasts_s,
        file=chance.choice(FILES[role_of(node)]) if kind is Kind.DAMAGE else "",
        wound=chance.choice(list(Wound)) if kind is Kind.DAMAGE else None,
        clock_s=chance.choice(CLOCKS_S) if kind is Kind.CLOCK else 0,
        share=round(chance.uniform(*_SHARES), 2) if kind is Kind.SLOW else 0.0,
        strength=round(chance.uniform(0.2, 1.0), 2) if kind in (Kind.FAR, Kind.SHUFFLE, Kind.GARBLE) else 0.0,
    )
