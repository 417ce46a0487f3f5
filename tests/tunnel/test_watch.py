"""Whether a neighbour's event loop runs."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
import uvloop

from core.errors import CircuitError, DecodeError, LinkError, Reason
from core.ids import PeerKey
from tests.harness.entropy import seeded
from tests.harness.linked import Linked, Owner
from tests.harness.waiting import turns, until
from tests.tunnel.test_links import rig
from tunnel import link as link_module
from tunnel.control import Kind, decode_token, encode_token
from tunnel.creation import ANSWER_BYTES, CREATION_BYTES
from tunnel.limits import PONGS_PER_S
from tunnel.toll import NoToll, account_for

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tunnel.link import Link
    from tunnel.toll import Account

CREATION, ANSWER = seeded("creation")(CREATION_BYTES), bytes(ANSWER_BYTES)


pytestmark = pytest.mark.usefixtures("quick_signs")


def test_token_in_hex() -> None:
    assert encode_token(0x0102030405060708).hex() == "0102030405060708"
    assert decode_token(bytes(range(8))) == 0x0001020304050607


@pytest.mark.parametrize("size", [0, 7, 9])
def test_a_token_has_one_size(size: int) -> None:
    with pytest.raises(DecodeError):
        decode_token(bytes(size))


async def test_a_neighbour_answers() -> None:
    linked = await Linked.up()
    linked.near.watch.ask()
    await until(lambda: linked.near.watch.silence.asked_at is None)
    assert not linked.near.watch.silent


async def test_whatever_comes_is_heard() -> None:
    linked = await Linked.up()
    before = linked.near.heard_at
    await until(lambda: asyncio.get_running_loop().time() > before)
    linked.far.send_gossip(b"news")
    await turns()
    assert linked.near.heard_at > before


async def test_answers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "PONGS_PER_S", PONGS_PER_S)
    linked = await Linked.up()
    for number in range(3 * PONGS_PER_S):
        linked.near._send_control(Kind.PING, encode_token(number))
    await turns()
    assert linked.near.counters["pong answers nothing"] == PONGS_PER_S
    assert linked.far.counters["ping too often"] == 2 * PONGS_PER_S
    assert await linked.alive()


@pytest.mark.parametrize("kind", [Kind.PING, Kind.PONG])
async def test_a_token_of_another_size_ends_the_link(kind: Kind) -> None:
    linked = await Linked.up()
    linked.near._send_control(kind, b"short")
    await until(lambda: linked.far.closed)
    assert linked.far.counters["control: wrong length"] == 1


async def _asked(link: Link, timeout_s: float = 2.0) -> Reason:
    with pytest.raises(CircuitError) as caught:
        await link.create(CREATION, Owner(), timeout_s)
    return caught.value.reason


async def test_a_silent_neighbour_is_not_waited_for() -> None:
    linked = await Linked.up()
    linked.far_wire.deaf = True
    loop = asyncio.get_running_loop()
    start = loop.time()
    assert await _asked(linked.near) is Reason.NEXT_HOP
    assert 0.09 < loop.time() - start < 0.25
    assert linked.near.watch.silent
    start = loop.time()
    assert await _asked(linked.near) is Reason.NEXT_HOP
    assert loop.time() - start < 0.05


async def test_a_neighbour_that_lives_is_waited_for() -> None:
    linked = await Linked.up()
    loop = asyncio.get_running_loop()
    start = loop.time()
    assert await _asked(linked.near, 0.4) is Reason.TIMED_OUT
    assert loop.time() - start > 0.39
    assert not linked.near.watch.silent


async def test_it_may_fall_silent_at_any_time_of_the_wait() -> None:
    linked = await Linked.up()
    loop = asyncio.get_running_loop()
    loop.call_later(0.15, setattr, linked.far_wire, "deaf", True)
    start = loop.time()
    assert await _asked(linked.near) is Reason.NEXT_HOP
    assert 0.2 < loop.time() - start < 0.4


async def test_the_answer_ends_the_wait() -> None:
    linked = await Linked.up()
    asking = asyncio.ensure_future(linked.near.create(CREATION, Owner(), 2.0))
    await until(lambda: linked.far_events.creations)
    linked.far.answer(linked.far_events.creations[0][0], ANSWER, Owner())
    assert (await asking)[1] == ANSWER


async def test_a_sign_of_life_takes_the_verdict_back() -> None:
    linked = await Linked.up()
    linked.far_wire.deaf = True
    assert await _asked(linked.near) is Reason.NEXT_HOP
    linked.far_wire.deaf = False
    linked.far.send_gossip(b"back")
    await turns()
    assert not linked.near.watch.silent


async def test_a_link_that_stays_silent_is_closed() -> None:
    linked = await Linked.up()
    linked.far_wire.deaf = True
    linked.near.watch.ask()
    await until(lambda: linked.near.closed, 1)
    assert linked.near.counters["neighbour silent"] == 1


async def test_an_idle_link_is_not_asked_and_not_closed() -> None:
    linked = await Linked.up()
    linked.far_wire.deaf = True
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(linked.near.watch._fell_silent, 0.5)
    assert not linked.near.closed


async def test_the_own_loop_that_is_late_is_no_silence() -> None:
    linked = await Linked.up()
    linked.near.watch.ask()
    time.sleep(0.35)  # noqa: ASYNC251  # the event loop is held up, which is what this is about
    await until(lambda: linked.near.watch.silence.asked_at is None)
    assert not linked.near.watch.silent
    assert not linked.near.closed


async def test_a_silent_link_is_not_used_and_then_dialled_anew() -> None:
    async with rig() as made:
        first = await made.client.to(made.hop())
        for connection in made.engines[0].connections:
            connection.deaf = True
        first.watch.ask()
        await until(lambda: first.watch.silent, 1)
        with pytest.raises(LinkError):
            await made.client.to(made.hop())
        await until(lambda: first.closed, 1)
        second = await made.client.to(made.hop())
        assert second is not first


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_many_begin_to_wait_when_the_next_question_is_overdue(
    run: Callable[[Coroutine[None, None, None]], None],
) -> None:
    """Some event loops make no timer of what is due already."""

    async def scene() -> None:
        linked = await Linked.up()
        watch, answer = linked.near.watch, asyncio.get_running_loop().create_future()
        waiting = [asyncio.create_task(watch.until(answer, 2.0)) for _ in range(20)]
        await until(lambda: watch._waiting == len(waiting) and watch.silence.asked_at is None)
        watch._pinged_at -= 1.0
        for _ in range(3):
            watch._plan()
        asked = watch._pinged_at
        await until(lambda: watch._pinged_at > asked)
        answer.set_result(None)
        await asyncio.gather(*waiting)
        linked.near.close()

    run(scene())


async def test_waiting_ends_with_the_link() -> None:
    linked = await Linked.up()
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting = asyncio.ensure_future(linked.near.watch.until(answer, 5))
    await turns()
    linked.near.close()
    with pytest.raises(LinkError):
        await asyncio.wait_for(waiting, 1)


class NobodyTakesIt(NoToll):
    """The next hop never says that it has the money."""

    async def paying(self, link: Link, peer: PeerKey, rate: int) -> Account:
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.parametrize(("deaf", "reason"), [(False, Reason.NO_CHANNEL), (True, Reason.NEXT_HOP)])
async def test_who_is_to_be_paid_and_shows_no_sign_of_life_is_silent(deaf: bool, reason: Reason) -> None:
    """Not somebody who merely has no channel yet, whom nothing is held against."""
    linked = await Linked.up()
    linked.far_wire.deaf = deaf
    with pytest.raises(CircuitError) as failure:
        await account_for(NobodyTakesIt(), linked.near, PeerKey(bytes(32)), 1)
    assert failure.value.reason is reason
