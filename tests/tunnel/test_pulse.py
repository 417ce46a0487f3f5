"""A circuit's pings on each event loop that nodes run on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import uvloop

from tests.harness.waiting import until
from tunnel import pulse as pulse_module
from tunnel.pulse import Pulse

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class Circuit:
    """The owner of a pulse, and an exit that answers at once."""

    def __init__(self) -> None:
        self.busy = False
        self.unpaid = False
        self.deaf = False
        self.pings = 0
        self.silent = 0
        self.pulse = Pulse(self._send, self)

    def _send(self, token: int) -> None:
        self.pings += 1
        if self.deaf:
            return
        asyncio.get_running_loop().call_soon(self.pulse.pong, token)

    def carries_flows(self) -> bool:
        return self.busy

    def held_up(self) -> bool:
        return self.unpaid

    def uneasy(self) -> None: ...

    def fell_silent(self) -> None:
        self.silent += 1

    def proved(self, asked_at: float) -> None: ...


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_many_flows_begin_at_once_on_a_circuit_that_was_idle(
    monkeypatch: pytest.MonkeyPatch, run: Callable[[Coroutine[None, None, None]], None]
) -> None:
    """The next ping is overdue then, and some event loops make no timer of what is due already."""
    every_s = 0.02
    monkeypatch.setattr(pulse_module, "PING_EVERY_S", every_s)

    async def scene() -> None:
        circuit = Circuit()
        circuit.pulse.ping()
        loop, begun = asyncio.get_running_loop(), asyncio.get_running_loop().time()
        await until(lambda: circuit.pulse.rtt_s is not None)
        # Idle for longer than a busy circuit may be without a ping.
        await until(lambda: loop.time() > begun + 2 * every_s)
        assert circuit.pings == 1
        circuit.busy = True
        for _ in range(50):
            circuit.pulse.attend()
        await until(lambda: circuit.pings == 2)
        await until(lambda: circuit.pings > 3)
        circuit.pulse.stop()
        assert circuit.silent == 0

    run(scene())


async def test_silence_does_not_count_while_this_node_holds_the_question_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PING_EVERY_S", 0.02), ("UNEASY_S", 0.04), ("SUSPECT_S", 0.08)):
        monkeypatch.setattr(pulse_module, name, value)
    loop = asyncio.get_running_loop()
    circuit = Circuit()
    circuit.busy = circuit.deaf = True
    circuit.pulse.ping()
    circuit.unpaid = True
    begun = loop.time()
    await until(lambda: loop.time() > begun + 0.3)
    assert circuit.silent == 0
    circuit.unpaid = False
    await until(lambda: circuit.silent)
    assert circuit.pings == 1, "one is open all the time"


async def test_nothing_is_asked_that_would_not_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse_module, "PING_EVERY_S", 0.02)
    circuit = Circuit()
    circuit.busy = circuit.unpaid = True
    proof = circuit.pulse.proof()
    loop, begun = asyncio.get_running_loop(), asyncio.get_running_loop().time()
    await until(lambda: loop.time() > begun + 0.1)
    assert circuit.pings == 0
    circuit.unpaid = False
    await until(proof.done)
    circuit.pulse.stop()
