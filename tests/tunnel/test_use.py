"""What comes and is of no use: how much of it a client takes, and that honest exits send less."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest

from core.errors import Reason
from core.flow import FlowRequest
from tests.harness.network import Came, Collect, blamed
from tests.harness.paid import Paid, paid_chain
from tests.harness.waiting import turns, until
from tests.harness.wire import WireEngine
from tunnel import use
from tunnel.frames import Frame, encode_credit, encode_token, frame
from tunnel.lane_frames import encode_select
from tunnel.limits import APART_BYTES, DATA_COST, LANE_BYTES, STEP_BYTES
from tunnel.padding import Shape
from tunnel.terminal import CircuitFrames
from tunnel.use import MESSAGES_PER_S, Use

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.wire import WireConnection
    from tunnel.circuit import Circuit
    from tunnel.terminal import ExitFlow, Terminal

ECHO = FlowRequest("echo.example", 80)
SINK = FlowRequest("sink.example", 80)
SEED = 7


# -- the reckoning


def test_what_is_of_no_use_uses_up_the_allowance() -> None:
    spent = Use(Shape.STEPS, 0.0, paid=True)
    taken = 0
    while spent.came(1000, 0.0):
        taken += 1000
    assert spent.allowance < taken <= spent.allowance + 2000


def test_what_is_of_use_does_not() -> None:
    spent = Use(Shape.STEPS, 0.0, paid=True)
    for _ in range(10 * int(spent.allowance) // 1000):
        assert spent.came(1000, 0.0)
        spent.good(900)


def test_time_gives_it_back_and_no_more_than_there_was() -> None:
    spent = Use(Shape.EVEN, 0.0, paid=True)
    for count in range(10_000):
        assert spent.came(LANE_BYTES, count / MESSAGES_PER_S)
    spent = Use(Shape.EVEN, 0.0, paid=True)
    assert spent.came(1000, 0.0)
    assert spent.came(int(spent.allowance) + 1, 1000.0)
    assert not spent.came(1, 1000.0)


@pytest.mark.parametrize(("shape", "padding"), [(Shape.FREE, 0), (Shape.STEPS, 1023), (Shape.EVEN, 8000)])
def test_padding_is_due_that_the_size_makes_necessary(shape: Shape, padding: int) -> None:
    def lasts(padding: int, carried: int) -> bool:
        spent = Use(shape, 0.0, paid=True)
        for _ in range(10_000):
            if not spent.came(carried + padding, 0.0):
                return False
            spent.good(carried)
            spent.padded(padding)
        return True

    assert lasts(padding, 1024)
    assert not lasts(padding + 2048, 1024)
    assert not lasts(STEP_BYTES - 1, 1)


@pytest.mark.parametrize("shape", [Shape.STEPS, Shape.EVEN])
def test_where_it_costs_nothing_all_padding_of_what_carries_something_is_due(shape: Shape) -> None:
    size = {Shape.STEPS: STEP_BYTES, Shape.EVEN: LANE_BYTES}[shape]
    spent = Use(shape, 0.0, paid=False)
    for _ in range(10_000):
        assert spent.came(size, 0.0)
        spent.good(20)
        spent.padded(size - 20)
    while spent.came(size, 0.0):
        spent.padded(size)


def test_what_ends_in_a_later_message_makes_up_for_the_ones_before() -> None:
    spent = Use(Shape.EVEN, 0.0, paid=True)
    for _ in range(100):
        for _ in range(4):
            assert spent.came(LANE_BYTES, 0.0)
        spent.good(4 * LANE_BYTES)


def test_what_is_under_way_is_excused_once() -> None:
    spent = Use(Shape.STEPS, 0.0, paid=True)
    spent.excuse(10_000_000)
    for _ in range(1000):
        assert spent.came(1000, 0.0)
        spent.good(1000)
    assert spent.came(10_000_000 + int(spent.allowance), 0.0)
    assert spent.came(1, 0.0)
    assert not spent.came(1, 0.0)


def test_frames_that_are_no_datagrams_are_of_no_use() -> None:
    spent = Use(Shape.STEPS, 0.0, paid=True)
    frames = [(int(Frame.PAD), memoryview(bytes(1000))), (int(Frame.DATAGRAM), memoryview(bytes(1000)))]
    many = range(2 * int(spent.allowance) // 1000)
    assert not all(spent.came(2000, 0.0) and list(spent.taken(iter(frames))) == frames for _ in many)


def test_a_datagram_that_was_not_looked_at_may_be_anybodys() -> None:
    spent = Use(Shape.FREE, 0.0, paid=True)
    spent.came(100, 0.0)
    assert list(spent.taken(iter([(int(Frame.PAD), memoryview(b""))])))
    spent.strayed()
    assert not spent.foreign, "it opened, so it is the exit's"
    spent.came(100, 0.0)
    spent.strayed()
    assert spent.foreign


# -- honest exits, paid and for nothing


class Least:
    """The least part of its allowance that any circuit was left with."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.value = 1.0
        came = Use.came

        def noting(spent: Use, count: int, now: float) -> bool:
            goes_on = came(spent, count, now)
            self.value = min(self.value, spent._left / spent.allowance)
            return goes_on

        patch.setattr(Use, "came", noting)


@pytest.fixture
def least(monkeypatch: pytest.MonkeyPatch) -> Least:
    return Least(monkeypatch)


async def fetch(paid: Paid, asked: int, size: int) -> None:
    listener = await paid.open(SINK)
    source = paid.echo.listeners[-1]
    assert listener.flow is not None
    assert source.flow is not None
    listener.flow.write(bytes(asked))
    source.flow.write(bytes(size))
    source.flow.finish()
    listener.flow.finish()
    await until(lambda: listener.reason is Reason.DONE, 10)
    assert (len(listener.data), len(source.data)) == (size, asked)


async def page(paid: Paid, draws: random.Random) -> None:
    for _ in range(20):
        await fetch(paid, draws.randint(350, 900), int(draws.lognormvariate(8.7, 1.0)))


TARIFFS: Final = [0, 1]


@pytest.mark.parametrize("tariff", TARIFFS)
@pytest.mark.parametrize("shape", list(Shape))
async def test_honest_traffic_stays_far_from_it(shape: Shape, tariff: int, least: Least) -> None:
    draws = random.Random(SEED)
    async with paid_chain(3, shape=shape, tariff=tariff) as paid:
        for _ in range(3):
            await page(paid, draws)
        await fetch(paid, APART_BYTES + 500_000, 10)
        await fetch(paid, 10, APART_BYTES + 500_000)
        association = await paid.client.pool.dial_datagrams()
        for _ in range(50):
            association.send("192.0.2.1", 53, bytes(40))
        await until(lambda: len(paid.echo.associations[0].datagrams) == 50)
        paid.client.pool.hop()
        await page(paid, draws)
        assert not paid.client.pool.counters["circuit protocol"]
    assert least.value > 3 / 4


@pytest.mark.parametrize("tariff", TARIFFS)
@pytest.mark.parametrize("shape", list(Shape))
async def test_downloads_that_are_cancelled_are_nobodys_fault(shape: Shape, tariff: int, least: Least) -> None:
    async with paid_chain(2, shape=shape, tariff=tariff) as paid:
        for connection in _connections(paid):
            connection.delay_s = 0.02
        for _ in range(2):
            listener = await paid.open(SINK)
            source = paid.echo.listeners[-1].flow
            assert source is not None
            source.write(bytes(1_500_000))
            await until(partial(has, listener, 1_000_000), 20)
            assert listener.flow is not None
            listener.flow.reset(Reason.LOCAL)
        await fetch(paid, 10, 10)
        assert not paid.client.pool.counters["circuit protocol"]
    assert least.value > 3 / 4


@pytest.fixture
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time stands still, so it gives nothing back."""
    came = Use.came
    monkeypatch.setattr(Use, "came", lambda own, count, now: came(own, count, own._at))


@pytest.mark.usefixtures("no_time")
async def test_padding_of_small_answers_is_due(least: Least) -> None:
    async with paid_chain(1, shape=Shape.EVEN) as paid:
        for _ in range(200):
            await fetch(paid, 300, 1200)
    assert least.value > 3 / 4


@pytest.mark.usefixtures("no_time")
@pytest.mark.parametrize("tariff", TARIFFS)
@pytest.mark.parametrize("size", [40, 1000])
async def test_datagrams_are_of_use(size: int, tariff: int, least: Least, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(use, "ALLOWED_S", 0.25)
    async with paid_chain(3, shape=Shape.FREE, tariff=tariff) as paid:
        association = await paid.client.pool.dial_datagrams()
        came = Came(association)
        for count in range(0, 1200, 20):
            for _ in range(20):
                association.send("192.0.2.1", 53, bytes(size))
            await until(partial(has_come, came, count + 20))
    assert least.value > 3 / 4


def has_come(association: Came, count: int) -> bool:
    return len(association.datagrams) == count


async def test_what_comes_before_its_turn_is_of_use_already() -> None:
    """A flow that leaves its lane keeps what comes on its own stream until the lane has said its last."""
    async with paid_chain(1) as paid:
        await paid.open(SINK)
        circuit = next(found for found in paid.client.pool.circuits if found.flows)
        (flow,) = circuit.flows
        spent = circuit.use
        count = 3 * int(spent.allowance) // 32_768
        for _ in range(count):
            assert spent.came(32_768, spent._at)
            flow.hold_back(32_768)
        flow.hold_back(-32_768 * count)
        assert not circuit.over


def has(listener: Collect, count: int) -> bool:
    return len(listener.data) >= count


def _connections(paid: Paid) -> list[WireConnection]:
    engines = [node.engine for node in paid.network.nodes]
    return [end for engine in engines if isinstance(engine, WireEngine) for end in engine.connections]


# -- exits that are not


class Rogue:
    """The exit's end of a circuit that carries a flow, in the test's hands."""

    def __init__(self, circuit: Circuit, flow: ExitFlow, terminal: Terminal) -> None:
        self.circuit = circuit
        self.flow = flow
        self.terminal = terminal

    def cover(self) -> None:
        self.terminal._lanes._lanes[0].cover()

    def send(self, frames: bytes) -> None:
        self.flow._send(frames)

    def nothing(self) -> None:
        """Send empty DATA, as much as the circuit's credit allows."""
        count = min(5000, (self.terminal.credit.room(0) + DATA_COST) // DATA_COST)
        for _ in range(count):
            self.terminal.credit.sent(0)
        if count:
            self.send(frame(Frame.DATA) * count)

    def send_for_another(self, frames: bytes) -> None:
        """Send frames for the first flow of the lane, which is over."""
        lane = self.terminal._lanes._lanes[0]
        lane._out += encode_select(1) + frames
        lane._out_number = 1
        lane._flush()

    def on_flow_0(self, frames: bytes) -> None:
        assert self.terminal._frames is not None
        self.terminal._frames._send(frames)

    def credit_again(self) -> bytes:
        return encode_credit(0, self.terminal.credit._window._limit)


async def rogue(paid: Paid, size: int) -> Rogue:
    await fetch(paid, 10, 10)
    listener = await paid.open(SINK)
    assert listener.flow is not None
    held = [
        found for found in paid.network.nodes[paid.hops - 1].relay._held() if found.terminal and found.terminal.flows
    ]
    terminal = held[0].terminal
    assert terminal is not None
    (flow,) = terminal.flows
    flow.write(bytes(size))
    await until(lambda: len(listener.data) == size)
    await turns()
    circuit = next(found for found in paid.client.pool.circuits if found.flows)
    return Rogue(circuit, flow, terminal)


JUNK: dict[str, tuple[int, Callable[[Rogue], None]]] = {
    "padding alone": (0, Rogue.cover),
    "PAD on a lane": (0, lambda exit: exit.send(frame(Frame.PAD, bytes(8000)))),
    "PAD on a stream of its own": (APART_BYTES + 1, lambda exit: exit.send(frame(Frame.PAD, bytes(30_000)))),
    "empty DATA": (0, Rogue.nothing),
    "empty DATA on a stream of its own": (APART_BYTES + 1, Rogue.nothing),
    "CREDIT that says nothing new": (0, lambda exit: exit.send(exit.flow._credit_frame() * 1500)),
    "BLOCKED": (0, lambda exit: exit.send(frame(Frame.BLOCKED) * 5000)),
    "FIN of a flow that is over": (0, lambda exit: exit.send_for_another(frame(Frame.FIN) * 5000)),
    "PING on flow 0": (0, lambda exit: exit.on_flow_0(encode_token(Frame.PING, 1) * 2000)),
    "CREDIT on flow 0": (0, lambda exit: exit.on_flow_0(exit.credit_again() * 1500)),
}


@pytest.mark.parametrize("tariff", TARIFFS)
@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        *((kind, Shape.STEPS) for kind in JUNK),
        ("padding alone", Shape.EVEN),
        ("PAD on a lane", Shape.EVEN),
        ("PAD on a stream of its own", Shape.FREE),
    ],
)
@pytest.mark.usefixtures("no_time")
async def test_junk_costs_the_exit_its_circuit(
    kind: str, shape: Shape, tariff: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, junk = JUNK[kind]
    monkeypatch.setattr(CircuitFrames, "_answered", lambda frames, token: None)
    monkeypatch.setattr(use, "ALLOWED_S", 0.25)
    async with paid_chain(2, shape=shape, tariff=tariff) as paid:
        bad = await rogue(paid, size)
        paid.network.early = True
        before = paid.crossed(0)
        while not bad.circuit.over:
            junk(bad)
            await turns(2)
            assert paid.crossed(0) - before < 2_000_000
        assert paid.client.pool.counters["circuit protocol"] == 1
        assert blamed(paid.network, paid.client) == [1]
        assert paid.crossed(0) - before < 2 * bad.circuit.use.allowance + 100_000


# -- hops that are not


@pytest.mark.usefixtures("no_time")
@pytest.mark.parametrize("tariff", TARIFFS)
async def test_datagrams_that_a_hop_makes_up_are_not_held_against_the_exit(
    tariff: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They open nowhere, and end the circuit as too much else that is of no use does."""
    monkeypatch.setattr(use, "ALLOWED_S", 0.25)
    async with paid_chain(2, shape=Shape.FREE, tariff=tariff) as paid:
        came = Came(await paid.client.pool.dial_datagrams())
        came.flow.send("192.0.2.1", 53, b"asked")
        await until(partial(has_come, came, 1))
        circuit = next(found for found in paid.client.pool.circuits if found.flows)
        guard = paid.network.nodes[0]
        [near] = [flow._near for held in guard.relay._held() for flow in held.flows if flow._datagrams_sealed]
        paid.network.early = True
        while not circuit.over:
            near.send_datagram(bytes(15) + b"\x80" + bytes(1000))
            await turns(2)
            assert paid.crossed(0) < 1_000_000
        assert circuit.culprit is None
        assert paid.client.pool.counters["circuit protocol"] == 1
        assert blamed(paid.network, paid.client) == []
