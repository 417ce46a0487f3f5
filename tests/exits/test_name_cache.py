"""What is remembered of names: for one circuit alone, for a while, and not much of it."""

from __future__ import annotations

import asyncio
import gc
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest

from core.errors import FlowError, Reason
from exits import lookup as lookup_module
from exits import name_cache
from exits.dns_message import Answer
from exits.lookup import FAILED_S, MAX_NO_NAME_S, MAX_TTL_S, MIN_TTL_S, Lookup
from exits.name_cache import MAX_CIRCUIT_LOOKUPS, MAX_NAMES, NameCache
from exits.resolver import NameResolver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Sequence

    from exits.addresses import Address

V4, OTHER_V4, V6 = (ip_address(text) for text in ("93.184.215.14", "9.9.9.9", "2606:4700::1"))
NO = Answer(ttl_s=60, reason=Reason.NO_NAME)
FAILED = Answer(reason=Reason.NO_NAME)
BUSY = Answer(reason=Reason.BUSY)
TIMED_OUT = Answer(reason=Reason.TIMED_OUT)


class Circuit:
    """Stands for a circuit, as its token does."""


class Script:
    """A source whose answers the test gives. Names count up in `asked`.

    Args:
        answers: given at once, for every name; without them each question waits for `release`.
    """

    def __init__(self, *answers: Answer, families: int = 2) -> None:
        self._answers = answers
        self._families = families if not answers else len(answers)
        self.asked: list[str] = []
        self.open: list[asyncio.Future[Answer]] = []
        self.cancelled = 0

    def questions(self, name: str) -> Sequence[Coroutine[Any, Any, Answer]]:
        self.asked.append(name)
        return [self._ask(place) for place in range(self._families)]

    async def close(self) -> None:
        pass

    async def _ask(self, place: int) -> Answer:
        if self._answers:
            return self._answers[place]
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.open.append(future)
        try:
            return await future
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


@pytest.fixture
async def made() -> AsyncIterator[list[NameResolver]]:
    """Resolvers put here are closed at the end."""
    resolvers: list[NameResolver] = []
    yield resolvers
    for resolver in resolvers:
        await resolver.close()


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def reason_of(resolver: NameResolver, name: str, circuit: object) -> Reason:
    with pytest.raises(FlowError) as caught:
        await resolver.resolve(name, circuit)
    return caught.value.reason


async def test_a_circuit_asks_once(made: list[NameResolver]) -> None:
    source, circuit = Script(Answer((V4,), 60)), Circuit()
    made.append(resolver := NameResolver(source))
    for _ in range(3):
        assert await resolver.resolve("a.org", circuit) == [V4]
    assert source.asked == ["a.org"]
    assert await resolver.resolve("b.org", circuit) == [V4]
    assert source.asked == ["a.org", "b.org"]


async def test_no_circuit_shares_with_another(made: list[NameResolver]) -> None:
    source = Script(Answer((V4,), 60))
    made.append(resolver := NameResolver(source))
    circuits = [Circuit() for _ in range(5)]
    for count, circuit in enumerate(circuits, 1):
        await resolver.resolve("a.org", circuit)
        assert len(source.asked) == count
    for circuit in circuits:
        await resolver.resolve("a.org", circuit)
    assert len(source.asked) == 5


async def test_no_circuit_waits_for_another_s_question(made: list[NameResolver]) -> None:
    source, mine, other = Script(), Circuit(), Circuit()
    made.append(resolver := NameResolver(source))
    first = [asyncio.create_task(resolver.resolve("a.org", mine)) for _ in range(3)]
    await turns()
    assert source.asked == ["a.org"]
    second = asyncio.create_task(resolver.resolve("a.org", other))
    await turns()
    assert source.asked == ["a.org"] * 2
    for question in source.open[:2]:
        question.set_result(Answer((V4,), 60))
    assert await asyncio.gather(*first) == [[V4, V4]] * 3
    assert not second.done()
    for question in source.open[2:]:
        question.set_result(Answer((OTHER_V4,), 60))
    assert await second == [OTHER_V4, OTHER_V4]


async def test_without_a_circuit_nothing_is_remembered(made: list[NameResolver]) -> None:
    source = Script(Answer((V4,), 60))
    made.append(resolver := NameResolver(source))
    await resolver.resolve("a.org")
    await resolver.resolve("a.org")
    assert len(source.asked) == 2


async def test_memory_ends_with_the_circuit(made: list[NameResolver]) -> None:
    source, circuit = Script(Answer((V4,), 60)), Circuit()
    made.append(resolver := NameResolver(source))
    await resolver.resolve("a.org", circuit)
    await resolver.resolve("b.org", circuit)
    assert len(resolver.cache) == 2
    del circuit
    gc.collect()
    assert len(resolver.cache) == 0


async def test_a_look_up_outlives_nobody(made: list[NameResolver]) -> None:
    """A circuit that dies while it looks a name up leaves nothing behind."""
    source, circuit = Script(), Circuit()
    made.append(resolver := NameResolver(source))
    waiting = asyncio.create_task(resolver.resolve("a.org", circuit))
    await turns()
    waiting.cancel()
    await asyncio.wait({waiting})
    del circuit, waiting
    await turns()
    gc.collect()
    assert len(resolver.cache) == 0
    assert source.cancelled == 2


@pytest.mark.parametrize(
    ("answers", "kept_s"),
    [
        ([Answer((V4,), 60)], 60),
        ([Answer((V4,), 0)], MIN_TTL_S),
        ([Answer((V4,), (1 << 31) - 1)], MAX_TTL_S),
        ([Answer((V4,), 90), Answer((V6,), 30)], 30),
        ([Answer((V4,), 90), NO], 60),
        ([Answer((V4,), 90), FAILED], MIN_TTL_S),
        ([Answer((V4,), 90), TIMED_OUT], MIN_TTL_S),
        ([NO, NO], MAX_NO_NAME_S),
        ([NO, FAILED], FAILED_S),
        ([TIMED_OUT, TIMED_OUT], FAILED_S),
        ([Answer((V4,), 90), BUSY], MIN_TTL_S),
        ([NO, BUSY], 0),
        ([BUSY, TIMED_OUT], 0),
    ],
)
async def test_how_long(made: list[NameResolver], answers: list[Answer], kept_s: float) -> None:
    made.append(resolver := NameResolver(Script()))
    lookup = Lookup(Script(*answers).questions("a.org"), resolver.tasks)
    assert lookup.expires_at == float("inf")
    await asyncio.gather(lookup.addresses(None), return_exceptions=True)
    await turns()
    cache, circuit, now = NameCache(), Circuit(), asyncio.get_running_loop().time()
    cache.put(circuit, "a.org", lookup)
    assert cache.get(circuit, "a.org", now + kept_s - 0.5) is lookup
    assert cache.get(circuit, "a.org", now + kept_s + 0.01) is None
    assert cache.make_room(circuit, now + kept_s + 0.01)
    assert len(cache) == 0


@pytest.mark.parametrize(("kept_s", "asked"), [(60.0, 1), (0.0, 3)])
async def test_failure_is_not_asked_again_at_once(
    made: list[NameResolver], monkeypatch: pytest.MonkeyPatch, kept_s: float, asked: int
) -> None:
    monkeypatch.setattr(lookup_module, "FAILED_S", kept_s)
    source, circuit = Script(TIMED_OUT, FAILED), Circuit()
    made.append(resolver := NameResolver(source))
    for _ in range(3):
        assert await reason_of(resolver, "a.org", circuit) is Reason.TIMED_OUT
    assert len(source.asked) == asked


async def test_what_has_expired_makes_room_for_all(made: list[NameResolver], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_cache, "MAX_ALL_NAMES", 2)
    made.append(resolver := NameResolver(Script()))
    cache, mine, other, now = NameCache(), Circuit(), Circuit(), asyncio.get_running_loop().time()
    for name, ttl_s in (("a.org", 20), ("b.org", 40)):
        lookup = Lookup(Script(Answer((V4,), ttl_s)).questions(name), resolver.tasks)
        await lookup.addresses(None)
        cache.put(other, name, lookup)
    assert not cache.make_room(mine, now)
    assert not cache.make_room(mine, now + 19)
    assert cache.make_room(mine, now + 21)
    assert len(cache) == 1
    assert cache.get(other, "b.org", now + 21) is not None


async def test_names_of_a_circuit_are_bounded(made: list[NameResolver]) -> None:
    source, circuit, other = Script(Answer((V4,), 60)), Circuit(), Circuit()
    made.append(resolver := NameResolver(source))
    await resolver.resolve("kept.org", other)
    for number in range(MAX_NAMES + 10):
        await resolver.resolve(f"n{number}.org", circuit)
    assert len(resolver.cache) == MAX_NAMES + 1
    asked = len(source.asked)
    await resolver.resolve("kept.org", other)
    await resolver.resolve(f"n{MAX_NAMES + 9}.org", circuit)
    assert len(source.asked) == asked
    await resolver.resolve("n0.org", circuit)  # the oldest was forgotten
    assert len(source.asked) == asked + 1


async def test_names_in_all_are_bounded_and_nobody_pushes_out_another(
    made: list[NameResolver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(name_cache, "MAX_ALL_NAMES", 3)
    source, mine, other = Script(Answer((V4,), 60)), Circuit(), Circuit()
    made.append(resolver := NameResolver(source))
    await resolver.resolve("a.org", mine)
    for number in range(5):
        assert await resolver.resolve(f"n{number}.org", other) == [V4]
        assert len(resolver.cache) <= 3
    third = Circuit()
    assert await resolver.resolve("a.org", third) == [V4]
    assert len(resolver.cache) == 3
    asked = len(source.asked)
    await resolver.resolve("a.org", mine)
    assert len(source.asked) == asked
    await resolver.resolve("a.org", third)  # there was no room for it
    assert len(source.asked) == asked + 1


async def test_look_ups_of_a_circuit_are_bounded(made: list[NameResolver]) -> None:
    source, circuit, other = Script(), Circuit(), Circuit()
    made.append(resolver := NameResolver(source))
    running = [
        asyncio.create_task(resolver.resolve(f"n{number}.org", circuit)) for number in range(MAX_CIRCUIT_LOOKUPS)
    ]
    await turns()
    assert await reason_of(resolver, "one-more.org", circuit) is Reason.BUSY
    joined = asyncio.create_task(resolver.resolve("n0.org", circuit))
    elsewhere = asyncio.create_task(resolver.resolve("one-more.org", other))
    await turns()
    assert len(source.asked) == MAX_CIRCUIT_LOOKUPS + 1
    for question in source.open:
        question.set_result(Answer((V4,), 60))
    await asyncio.gather(*running, joined, elsewhere)
    assert await resolver.resolve("n0.org", circuit) == [V4, V4]


async def test_who_is_cancelled_takes_nothing_from_the_others(made: list[NameResolver]) -> None:
    source, circuit = Script(families=1), Circuit()
    made.append(resolver := NameResolver(source))
    first, second = (asyncio.create_task(resolver.resolve("a.org", circuit)) for _ in range(2))
    await turns()
    first.cancel()
    await turns()
    assert source.cancelled == 0
    source.open[0].set_result(Answer((V4,), 60))
    assert await second == [V4]


async def test_a_name_that_was_given_up_is_asked_anew(made: list[NameResolver]) -> None:
    source, circuit = Script(families=1), Circuit()
    made.append(resolver := NameResolver(source))
    first = asyncio.create_task(resolver.resolve("a.org", circuit))
    await turns()
    first.cancel()
    second = asyncio.create_task(resolver.resolve("a.org", circuit))
    await turns()
    third = asyncio.create_task(resolver.resolve("a.org", circuit))
    await turns()
    assert source.cancelled == 1
    assert len(source.asked) == 2
    source.open[1].set_result(Answer((V4,), 60))
    assert await second == await third == [V4]


# -- the two families (RFC 8305, section 3)


async def ask(made: list[NameResolver]) -> tuple[Script, asyncio.Task[list[Address]], asyncio.Future[list[Address]]]:
    source = Script()
    made.append(resolver := NameResolver(source))
    late: asyncio.Future[list[Address]] = asyncio.get_running_loop().create_future()
    asked = asyncio.create_task(resolver.resolve("a.org", Circuit(), late))
    await turns()
    return source, asked, late


async def test_ipv6_first_is_used_at_once(made: list[NameResolver]) -> None:
    source, asked, late = await ask(made)
    source.open[0].set_result(Answer((V6,), 60))
    await turns(10)
    assert asked.done()
    assert await asked == [V6]
    assert not late.done()
    source.open[1].set_result(Answer((V4,), 60))
    assert await late == [V4]


async def test_ipv4_first_waits_a_little(made: list[NameResolver]) -> None:
    source, asked, late = await ask(made)
    source.open[1].set_result(Answer((V4,), 60))
    await turns(10)
    assert not asked.done()
    source.open[0].set_result(Answer((V6,), 60))
    assert await asked == [V6, V4]
    assert await late == []


async def test_ipv6_that_comes_too_late_comes_late(made: list[NameResolver]) -> None:
    source, asked, late = await ask(made)
    source.open[1].set_result(Answer((V4,), 60))
    async with asyncio.timeout(2):
        assert await asked == [V4]
    source.open[0].set_result(Answer((V6,), 60))
    assert await late == [V6]


async def test_no_in_one_family_waits_for_the_other(made: list[NameResolver]) -> None:
    source, asked, _ = await ask(made)
    source.open[0].set_result(NO)
    done, _ = await asyncio.wait({asked}, timeout=lookup_module.RESOLUTION_DELAY_S * 2)
    assert not done
    source.open[1].set_result(Answer((V4,), 60))
    assert await asked == [V4]
