"""Judges: pure functions of what was recorded. Each says what it found wrong, in words; nothing is right."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ledger.account import window_units
from ledger.amounts import PARTS_PER_UNIT
from tests.chaos.load import Outcome
from tests.chaos.plan import NODES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from tests.chaos.disturb import Done
    from tests.chaos.load import Transfer

MORE_DESCRIPTORS: Final = 6
MORE_THREADS: Final = 2
MORE_TASKS: Final = 12
MORE_MB: Final = 48.0
"""What a quiet node may have more than at the beginning, when it was as quiet. `docs/chaos.md`: what was seen."""


@dataclass(frozen=True, slots=True)
class Census:
    """What a process holds while nothing runs.

    Args:
        descriptors, threads: how many.
        memory_mb: resident.
        tasks: of asyncio, by the name of what they run.
    """

    descriptors: int
    threads: int
    memory_mb: float
    tasks: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Channel:
    """A payment channel, as the books of its two ends have it at the end; amounts in units, `used` in parts.

    Args:
        payer, payee: names of nodes.
        deposit: what lies in it.
        paid, used: by the payer's books.
        received, served, claimed: signed, used and paid out by the payee's books; None if those do not know it.
    """

    payer: str
    payee: str
    deposit: int
    paid: int
    used: int
    received: int | None = None
    served: int | None = None
    claimed: int = 0


@dataclass(frozen=True, slots=True)
class Books:
    """What nodes have in their books.

    Args:
        channels: all on which somebody pays.
        unreadable: books that cannot be read, in words.
    """

    channels: Sequence[Channel]
    unreadable: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Coins:
    """Where all coins are, in units.

    Args:
        made: by the faucet, ever.
        free: in accounts.
        locked: in channels.
    """

    made: int
    free: int
    locked: int


@dataclass(slots=True)
class Recovery:
    """How soon a client's requests worked after a disturbance.

    Args:
        what: the disturbance.
        client: whose requests.
        after_s: from its end to the answer of a request that was begun since; None if none was answered.
        excuse: why nothing can be asked of it; empty if nothing is in the way.
        state: what the client said of itself when it took too long.
    """

    what: str
    client: str
    after_s: float | None
    excuse: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one judge found.

    Args:
        judge: which.
        wrong: what must not be, in words.
        seen: in short, what was looked at.
    """

    judge: str
    wrong: Sequence[str]
    seen: str


def transfers(found: Sequence[Transfer], uploads: Mapping[int, Outcome], began: float = 0.0) -> Verdict:
    """Every transfer is exact or cleanly failed, at both ends.

    Args:
        found: as the clients saw them.
        uploads: as the origin saw them, by number.
        began: when the run did, for the words.
    """
    bad = (Outcome.WRONG, Outcome.SHORT, Outcome.HUNG, Outcome.RUNNING)
    named = {each.number: each for each in found}
    wrong = [f"{_text(each, began)}: {each.outcome}" for each in found if each.outcome in bad and not _late(each)]
    for number, outcome in uploads.items():
        if outcome in (Outcome.WRONG, Outcome.SHORT):
            wrong.append(f"{_text(named[number], began)}: {outcome} at the origin")
    counts = Counter(each.outcome.value for each in found)
    return Verdict("transfers", wrong, ", ".join(f"{count} {name}" for name, count in sorted(counts.items())))


def _late(found: Transfer) -> bool:
    """A probe that was not answered in time proves nothing but that; whether it had to be, another judge says."""
    return found.probe and found.outcome is Outcome.HUNG


def _text(found: Transfer, began: float) -> str:
    span = f"{found.begun - began:.1f} to {found.ended - began:.1f} s"
    return f"{found.way} {found.number} of {found.size} bytes at {found.client}, {span}, {found.came} came"


def contacts(sources: Mapping[str, int], exits: Collection[str], counted: Mapping[str, int]) -> Verdict:
    """Whoever came to the origin was an exit, and nobody sent anything else past the tunnel.

    Args:
        sources: connections at the origin, by address.
        exits: addresses that exits leave from.
        counted: packets that the firewall saw and nobody may send, by what they are.
    """
    wrong = [f"{count} contacts from {source}" for source, count in sources.items() if source not in exits]
    wrong += [f"{count} packets: {name}" for name, count in counted.items() if count]
    return Verdict("no direct connection", wrong, f"{sum(sources.values())} contacts from {len(sources)} addresses")


def recoveries(found: Sequence[Recovery], limit_s: float) -> Verdict:
    """A new request works within some seconds of the end of each disturbance, unless something is in its way."""
    due = [each for each in found if not each.excuse]
    wrong = [
        f"{each.client} after {each.what}: {'never' if each.after_s is None else f'{each.after_s:.1f} s'}; {each.state}"
        for each in due
        if each.after_s is None or each.after_s > limit_s
    ]
    slowest = max((each.after_s for each in due if each.after_s is not None), default=0.0)
    return Verdict("recovery", wrong, f"{len(due)} looked at, {len(found) - len(due)} excused, slowest {slowest:.1f} s")


def processes(done: Iterable[Done], ended: Mapping[str, bool]) -> Verdict:
    """Whoever was asked to end did, whoever was started again came up, and all ran when the run was over.

    Args:
        done: the disturbances.
        ended: of those that ran when it was over, who ended in time.
    """
    wrong = [f"{name} did not run when the run was over" for name in NODES if name not in ended]
    wrong += [f"{each.plan.text}: {each.trouble}" for each in done if each.trouble]
    wrong += [f"{name} did not end when the run was over" for name, right in ended.items() if not right]
    return Verdict("processes", wrong, f"{len(ended)} ended in order")


def leaks(before: Mapping[str, Census], after: Mapping[str, Census]) -> Verdict:
    """No process holds more than it did when it was as quiet."""
    wrong = []
    for name, then in after.items():
        first = before[name]
        more = {
            "descriptors": (then.descriptors - first.descriptors, MORE_DESCRIPTORS),
            "threads": (then.threads - first.threads, MORE_THREADS),
            "tasks": (sum(then.tasks.values()) - sum(first.tasks.values()), MORE_TASKS),
            "MB": (round(then.memory_mb - first.memory_mb, 1), MORE_MB),
        }
        wrong += [f"{name}: {count:+} {what}" for what, (count, most) in more.items() if count > most]
    grown = [then.memory_mb - before[name].memory_mb for name, then in after.items()]
    return Verdict("no leak", wrong, f"{len(after)} processes, memory {min(grown):+.0f} to {max(grown):+.0f} MB")


def money(coins: Coins, most: int, books: Books, breaks: Mapping[str, int]) -> Verdict:
    """No coin was made or lost, and nobody lost more than one window each time that a link could break.

    Args:
        coins: what the ledger says.
        most: what the faucet may have given.
        books: of all nodes.
        breaks: how often each node was disturbed.
    """
    wrong, channels = list(books.unreadable), books.channels
    if coins.free + coins.locked != coins.made:
        wrong.append(f"{coins.made} units were made, and {coins.free + coins.locked} are there")
    if coins.made > most:
        wrong.append(f"{coins.made} units were made, and no more than {most} should be")
    for each in channels:
        wrong += [f"{each.payer} to {each.payee}: {what}" for what in _channel(each, breaks)]
    paid = sum(each.paid for each in channels)
    return Verdict("money", wrong, f"{len(channels)} channels, {paid} units paid, {coins.made} units in all")


RATE: Final = 6
"""Units per MB of the dearest link: three hops at step 2."""


def _channel(found: Channel, breaks: Mapping[str, int]) -> list[str]:
    wrong = []
    window = window_units(found.paid, RATE)
    times = 1 + breaks.get(found.payer, 0) + breaks.get(found.payee, 0)
    if found.paid > found.deposit:
        wrong.append(f"{found.paid} units signed of {found.deposit}")
    if found.received is None or found.served is None:
        return wrong
    if found.received > found.paid:
        wrong.append(f"{found.received} units received of {found.paid} signed")
    if found.claimed > found.received:
        wrong.append(f"{found.claimed} units claimed of {found.received} received")
    if found.served > found.received * PARTS_PER_UNIT:
        wrong.append(f"{found.served} parts served for {found.received} units")
    if (lost := found.paid - found.served / PARTS_PER_UNIT) > window * times:
        wrong.append(f"{lost:.0f} units paid for nothing, with a window of {window} and {times - 1} disturbances")
    return wrong


@dataclass(frozen=True, slots=True)
class Watch:
    """When nodes were disturbed: (node, from, to)."""

    spans: Sequence[tuple[str, float, float]]

    def excuse(self, client: str, guards: Collection[str], exits: Collection[str], begin: float, end: float) -> str:
        """Why a client cannot be asked to work at some time between two moments; empty if nothing is in the way.

        Args:
            client: which.
            guards: those that it holds on to.
            exits: all of them.
            begin, end: the moments.
        """
        met = {name for name, first, last in self.spans if first < end and last > begin}
        if client in met:
            return "the client itself is disturbed"
        if guards and met.issuperset(guards):
            return "all its guards are disturbed"
        if met.issuperset(exits):
            return "all exits are disturbed"
        return ""


def disturbed(done: Iterable[Done]) -> Counter[str]:
    """How often each node was disturbed."""
    return Counter(each.plan.node for each in done)
