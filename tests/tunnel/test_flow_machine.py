"""A flow under any order of calls and deliveries.

What must hold: bytes arrive exact and in order; never more than a window is under way; each end hears exactly once that
the flow is over, or not at all when it reset the flow itself; a good end means that everything arrived.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import tunnel.credit
import tunnel.flow
from core.errors import Reason
from tests.harness.joined import End, Ends
from tunnel.padding import Shape

FLOW_WINDOW = 4096
MAX_DATA = 700
"""Small, so that few calls go through many windows and messages."""

SIDES = st.sampled_from(["near", "far"])
SIZES = st.sampled_from([0, 1, 100, 1000, FLOW_WINDOW // 4, FLOW_WINDOW, FLOW_WINDOW + 1, 3 * FLOW_WINDOW])
PATTERN = bytes(range(251)) * (20 * FLOW_WINDOW // 251)


class FlowMachine(RuleBasedStateMachine):
    """Both ends, moved by hand."""

    shape: Shape | None = None

    @initialize(attached=st.sets(SIDES))
    def begin(self, attached: set[str]) -> None:
        self.limits = pytest.MonkeyPatch()
        self.limits.setattr(tunnel.flow, "FLOW_WINDOW", FLOW_WINDOW)
        self.limits.setattr(tunnel.credit, "FLOW_WINDOW", FLOW_WINDOW)
        self.limits.setattr(tunnel.credit, "CIRCUIT_WINDOW", 2 * FLOW_WINDOW)
        self.limits.setattr(tunnel.credit, "GUESSED_RATE", 0)
        self.limits.setattr(tunnel.flow, "MAX_DATA", MAX_DATA)
        self.ends = Ends(attach=False, hungry=False, shape=self.shape)
        self.attached: set[str] = set()
        self.reset_before: set[str] = set()
        self.written = {"near": 0, "far": 0}
        self.consumed = {"near": 0, "far": 0}
        self.finished: set[str] = set()
        self.reset: dict[str, Reason] = {}
        self.told_to_stop: dict[str, int | None] = {"near": None, "far": None}
        self.cut = False
        for side in sorted(attached):
            self.attach(side)

    def end(self, side: str) -> End:
        end: End = getattr(self.ends, side)
        return end

    def other(self, side: str) -> str:
        return "far" if side == "near" else "near"

    def ended(self, side: str) -> bool:
        return self.end(side).flow.overs > 0

    @rule(side=SIDES)
    def attach(self, side: str) -> None:
        if side not in self.attached:
            self.attached.add(side)
            self.reset_before |= {side} & self.reset.keys()
            self.end(side).attach()

    @rule(side=SIDES, size=SIZES)
    def write(self, side: str, size: int) -> None:
        at = self.written[side]
        if at + size > len(PATTERN):
            return
        taken = side not in self.finished and not self.ended(side)
        if not self.end(side).flow.write(memoryview(PATTERN)[at : at + size]):
            self.told_to_stop[side] = self.end(side).heard.writable
        if taken:
            self.written[side] += size

    @rule(side=SIDES)
    def finish(self, side: str) -> None:
        self.finished.add(side)
        self.end(side).flow.finish()

    @rule(side=SIDES, share=st.integers(1, 4))
    def consume(self, side: str, share: int) -> None:
        count = (len(self.end(side).heard.data) - self.consumed[side]) // share
        self.consumed[side] += count
        self.end(side).flow.consumed(count)

    @rule(side=SIDES, full=st.booleans())
    def link(self, side: str, full: bool) -> None:
        if full:
            self.end(side).stream.full = True
        else:
            self.ends.unstop(self.end(side))

    @rule(side=SIDES, count=st.integers(1, 100))
    def deliver(self, side: str, count: int) -> None:
        self.end(side).turn()
        for _ in range(count):
            if not self.end(side).stream.deliver(self.end(self.other(side)).carrier):
                break

    @precondition(lambda self: not self.reset)
    @rule(side=SIDES, reason=st.sampled_from([Reason.REFUSED, Reason.LOCAL, Reason.RESET]), sure=st.integers(0, 5))
    def end_it(self, side: str, reason: Reason, sure: int) -> None:
        if sure == 0 and not self.ended(side):
            self.reset[side] = reason
            self.end(side).flow.reset(reason)

    @rule(side=SIDES, sure=st.integers(0, 9))
    def cut_it(self, side: str, sure: int) -> None:
        if sure == 0:
            self.cut = True
            self.end(side).carrier.ended()

    @invariant()
    def bytes_are_exact_and_in_order(self) -> None:
        for side in ("near", "far"):
            data = self.end(side).heard.data
            assert len(data) <= self.written[self.other(side)]
            assert data == memoryview(PATTERN)[: len(data)]

    @invariant()
    def no_more_than_a_window_is_under_way(self) -> None:
        for side in ("near", "far"):
            flow, other = self.end(side).flow, self.end(self.other(side)).flow
            assert flow._sent - other._window.consumed <= FLOW_WINDOW
            assert len(other._early) <= FLOW_WINDOW

    @invariant()
    def an_end_is_told_once(self) -> None:
        for side in ("near", "far"):
            end = self.end(side)
            assert end.flow.overs <= 1
            silent = side in self.reset and side not in self.reset_before
            told = side in self.attached and self.ended(side) and not silent
            assert len(end.heard.closed) == told

    @invariant()
    def a_good_end_means_that_all_arrived(self) -> None:
        for side in ("near", "far"):
            end = self.end(side)
            if end.heard.closed == [Reason.DONE]:
                assert len(end.heard.data) == self.written[self.other(side)]
                assert end.heard.eof == 1
                assert side in self.finished
            elif end.heard.closed and not self.cut:
                assert end.heard.closed == [*self.reset.values()]

    def teardown(self) -> None:
        if hasattr(self, "limits"):
            if not self.reset and not self.cut:
                self.all_arrives_in_the_end()
            self.limits.undo()

    def all_arrives_in_the_end(self) -> None:
        """When links take and readers read, everything arrives, and whoever was told to stop may go on."""
        for side in ("near", "far"):
            self.attach(side)
            self.end(side).heard.hungry = True
            self.end(side).flow.consumed(len(self.end(side).heard.data) - self.consumed[side])
            self.ends.unstop(self.end(side))
        self.ends.run()
        for side in ("near", "far"):
            assert len(self.end(self.other(side)).heard.data) == self.written[side]
            before = self.told_to_stop[side]
            if before is not None and side not in self.finished:
                assert self.end(side).heard.writable > before
        if len(self.finished) == 2:
            assert self.ends.near.heard.closed == self.ends.far.heard.closed == [Reason.DONE]


class LaneMachine(FlowMachine):
    """The same on a lane of messages of one size."""

    shape = Shape.EVEN


class StepsMachine(FlowMachine):
    """The same on a lane whose messages follow what is sent."""

    shape = Shape.STEPS


TestFlowMachine = FlowMachine.TestCase
TestLaneMachine = LaneMachine.TestCase
TestStepsMachine = StepsMachine.TestCase
TestFlowMachine.settings = TestLaneMachine.settings = TestStepsMachine.settings = settings(
    max_examples=150, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
