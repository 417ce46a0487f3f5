"""What an operator allows, with a virtual clock: who is refused and why, what is offered, what ends when."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from core.errors import ConfigError, Reason
from exits.quota import QUOTA_NAME
from node.settings import SharingSettings
from node.sharing import Sharing
from peers.descriptor import Role
from peers.identity import peer_id
from tests.exits.virtual import Busy, VirtualTime
from tests.peers.build import identity

if TYPE_CHECKING:
    from pathlib import Path

    from node.sharing import Obstacle

BOTH = Role.RELAY | Role.EXIT
EVENING = datetime(2026, 11, 24, 17, 59, 58)
FRIEND, STRANGER = identity(1).peer, identity(2).peer


class Neighbour(NamedTuple):
    """A link, as far as it matters here."""

    static: bytes


class FakeWork:
    """What runs, as numbers, and what was ended."""

    def __init__(self) -> None:
        self.circuit_count = 0
        self.flow_count = 0
        self.carried_bytes = (0, 0)
        self.ended: list[tuple[str, Reason]] = []

    def end_flows(self, reason: Reason) -> None:
        self.ended.append(("flows", reason))

    def end_circuits(self, reason: Reason) -> None:
        self.ended.append(("circuits", reason))


class Stage:
    """A node's sharing, its work, and a time of day that goes with the virtual clock."""

    def __init__(self, home: Path, start: datetime = EVENING, roles: Role = BOTH, **settings: Any) -> None:
        self.time = VirtualTime()
        self._start = start - timedelta(seconds=self.time.now)
        self.work = FakeWork()
        self.offered: list[Role] = []
        self.sharing = Sharing(
            SharingSettings(**settings),
            (peer_id(FRIEND),),
            roles,
            home,
            start,
            self.time.clock,
            self.time.later,
            self.offered.append,
            {FRIEND: b"friend's key", STRANGER: b"stranger's key"}.get,
        )
        self.sharing.attach(self.work)

    def run(self, seconds: int) -> None:
        """Let time pass, looking every second."""
        for _ in range(seconds):
            self.time.run(1)
            self.sharing.look(self._start + timedelta(seconds=self.time.now))

    def refusals(self, static: bytes = b"") -> tuple[Reason | None, Reason | None]:
        """Why a circuit and a flow are refused."""
        return self.sharing.refuses_circuit(Neighbour(static)), self.sharing.refuses_flow()


def test_without_settings_nothing_is_limited(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.run(3)
    assert stage.refusals() == (None, None)
    assert set(stage.offered) == {BOTH}
    assert stage.sharing.shaper is None
    assert not stage.sharing.biting()
    assert not list(tmp_path.iterdir())


# -- hours


def test_hours_begin_and_end_at_the_minute(tmp_path: Path) -> None:
    stage = Stage(tmp_path, hours=("18:00-18:01",), drain_s=30)
    stage.run(1)
    assert stage.refusals() == (Reason.LIMIT, Reason.LIMIT)
    assert stage.offered[-1] == Role.NONE
    assert stage.sharing.biting() == ("hours",)
    stage.run(1)  # 18:00:00
    assert stage.refusals() == (None, None)
    assert stage.offered[-1] == BOTH
    stage.run(59)
    assert stage.refusals() == (None, None)
    stage.run(1)  # 18:01:00
    assert stage.refusals() == (Reason.LIMIT, Reason.LIMIT)
    assert stage.offered[-1] == Role.NONE


def test_running_flows_have_their_time_and_their_circuits_a_second_more(tmp_path: Path) -> None:
    stage = Stage(tmp_path, hours=("12:00-18:00",), drain_s=30)
    stage.run(2 + 29)
    assert not stage.work.ended
    stage.run(1)
    assert stage.work.ended == [("flows", Reason.LIMIT)]
    stage.run(1)
    assert stage.work.ended[1:] == [("circuits", Reason.LIMIT)]
    stage.run(100)
    assert len(stage.work.ended) == 2


def test_flows_stay_if_the_hours_come_back_in_time(tmp_path: Path) -> None:
    stage = Stage(tmp_path, hours=("12:00-18:00", "18:01-20:00"), drain_s=90)
    stage.run(300)
    assert not stage.work.ended
    assert stage.offered[-1] == BOTH


# -- the month


def carry(stage: Stage, count: int) -> int:
    """Carry as many bytes through the shaper as go, at most `count`."""
    assert stage.sharing.shaper is not None
    flow = Busy(stage.time, stage.sharing.shaper, "circuit", 1000, pause_s=1e-5)
    while flow.carried < count:
        before = flow.carried
        flow.ask()
        if flow.carried == before:
            break
    flow.over = True
    return flow.carried


def test_the_cap_ends_everything_and_the_new_month_begins_anew(tmp_path: Path) -> None:
    stage = Stage(tmp_path, datetime(2026, 11, 30, 23, 59, 50), monthly_gb=0.002)
    stage.run(1)
    assert carry(stage, 3_000_000) == 2_000_000
    assert stage.refusals() == (Reason.LIMIT, Reason.LIMIT)
    stage.run(2)
    assert stage.work.ended == [("flows", Reason.LIMIT), ("circuits", Reason.LIMIT)]
    assert stage.offered[-1] == Role.NONE
    assert stage.sharing.biting() == ("month",)
    stage.run(7)
    assert stage.offered[-1] == BOTH
    assert stage.refusals() == (None, None)
    assert carry(stage, 1_000_000) == 1_000_000
    stage.sharing.close()
    assert (tmp_path / QUOTA_NAME).read_text() == "macro-vpn carried 1 2026-12 000000000001 MB\n"


def test_a_client_keeps_no_total(tmp_path: Path) -> None:
    assert Stage(tmp_path, roles=Role.NONE, monthly_gb=1.0, up_mbit=1.0).sharing.shaper is None
    assert not list(tmp_path.iterdir())


# -- the rate


@pytest.mark.parametrize(("up", "down", "mbit"), [(5.0, 0.0, 5), (0.0, 20.0, 20), (20.0, 1.0, 1), (3.0, 50.0, 3)])
def test_the_smaller_rate_counts(tmp_path: Path, up: float, down: float, mbit: int) -> None:
    stage = Stage(tmp_path, up_mbit=up, down_mbit=down)
    shaper = stage.sharing.shaper
    assert shaper is not None
    flow = Busy(stage.time, shaper, "circuit", shaper.piece_bytes)
    flow.ask()
    stage.run(10)
    assert flow.carried == pytest.approx(mbit * 125_000 * 10, rel=0.02)
    assert stage.sharing.biting() == ("rate",)
    flow.over = True
    stage.run(2)
    assert stage.sharing.biting() == ()


def test_rates_are_rounded(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.work.carried_bytes = (123_456, 7_499)
    stage.run(1)
    assert stage.sharing.rates == (123_000, 7_000)
    stage.run(1)
    assert stage.sharing.rates == (0, 0)


# -- how many, and for whom


def test_counts(tmp_path: Path) -> None:
    stage = Stage(tmp_path, circuits=2, flows=3)
    stage.work.circuit_count, stage.work.flow_count = 2, 2  # the one that is asked for is counted as being made
    assert stage.refusals() == (None, None)
    stage.work.circuit_count, stage.work.flow_count = 3, 3
    assert stage.refusals() == (Reason.BUSY, Reason.BUSY)
    stage.run(1)
    assert stage.sharing.biting() == ("circuits", "flows")
    assert stage.offered[-1] == BOTH


def test_friends_only(tmp_path: Path) -> None:
    stage = Stage(tmp_path, only_friends=True)
    assert stage.refusals(b"friend's key") == (None, None)
    assert stage.refusals(b"stranger's key")[0] is Reason.NOT_ALLOWED
    assert stage.refusals(b"a client's key, fresh for each link")[0] is Reason.NOT_ALLOWED
    stage.run(1)
    assert stage.sharing.biting() == ("friends",)


def test_other_reasons_come_in(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    reason: Reason | None = Reason.LEAVING
    stage.sharing.obstacles.append(lambda: reason)
    assert stage.refusals() == (Reason.LEAVING, Reason.LEAVING)
    stage.sharing.settle()
    assert stage.offered == [Role.NONE]
    reason = None
    stage.run(1)
    assert stage.refusals() == (None, None)
    assert stage.offered[-1] == BOTH


# -- what others set against it


def standing(reason: Reason | None) -> Obstacle:
    return lambda: reason


def test_what_stands_against_both_comes_first(tmp_path: Path) -> None:
    sharing, link = Stage(tmp_path).sharing, Neighbour(b"")
    sharing.obstacles.append(standing(None))
    assert (sharing.refuses_circuit(link), sharing.refuses_flow(), sharing.refusal) == (None, None, None)
    sharing.for_circuits.append(standing(Reason.BUSY))
    sharing.for_flows.append(standing(Reason.LIMIT))
    assert (sharing.refuses_circuit(link), sharing.refuses_flow()) == (Reason.BUSY, Reason.LIMIT)
    assert sharing.offered() == BOTH, "what passes in a moment is not published"
    sharing.obstacles.append(standing(Reason.LEAVING))
    assert (sharing.refuses_circuit(link), sharing.refuses_flow()) == (Reason.LEAVING, Reason.LEAVING)
    assert sharing.refusal is Reason.LEAVING
    assert sharing.offered() == Role.NONE


# -- other limits while it runs


def use(stage: Stage, *friends: str, **settings: Any) -> None:
    stage.sharing.use(SharingSettings(**settings), friends, EVENING)


def test_other_limits_count_from_now_on(tmp_path: Path) -> None:
    stage = Stage(tmp_path, circuits=1)
    stage.work.circuit_count, stage.work.flow_count = 2, 2
    assert stage.refusals() == (Reason.BUSY, None)
    use(stage, circuits=3, flows=2)
    assert stage.refusals() == (None, Reason.BUSY)
    use(stage, hours=("01:00-02:00",), drain_s=0)
    assert stage.refusals() == (Reason.LIMIT, Reason.LIMIT)
    assert stage.offered[-1] == Role.NONE
    assert ("flows", Reason.LIMIT) in stage.work.ended
    use(stage)
    assert stage.refusals() == (None, None)
    assert stage.offered[-1] == BOTH


def test_other_friends_count_from_now_on(tmp_path: Path) -> None:
    stage = Stage(tmp_path, only_friends=True)
    assert stage.refusals(b"friend's key")[0] is None
    use(stage, peer_id(STRANGER), only_friends=True)
    assert stage.refusals(b"friend's key")[0] is Reason.NOT_ALLOWED
    assert stage.refusals(b"stranger's key")[0] is None


def test_a_rate_comes_changes_and_goes(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    assert stage.sharing.shaper is None
    use(stage, up_mbit=1.0)
    shaper = stage.sharing.shaper
    assert shaper is not None
    flow = Busy(stage.time, shaper, "circuit", shaper.piece_bytes)
    flow.ask()
    stage.run(10)
    assert flow.carried == pytest.approx(1_250_000, rel=0.1)
    use(stage, up_mbit=8.0)
    assert stage.sharing.shaper is shaper, "whoever waits there would wait for ever"
    before = flow.carried
    stage.run(10)
    assert flow.carried - before == pytest.approx(10_000_000, rel=0.1)
    flow.over = True
    use(stage)
    stage.run(1)
    assert all(shaper.passes("circuit", flow, 10**9) for _ in range(2))


def test_a_month_comes_changes_and_goes(tmp_path: Path) -> None:
    stage = Stage(tmp_path, up_mbit=8.0)
    use(stage, monthly_gb=0.001)
    assert stage.sharing.shaper is not None
    assert stage.sharing.shaper.admits("circuit", 900_000)
    assert not stage.sharing.shaper.admits("circuit", 200_000)
    assert stage.refusals() == (Reason.LIMIT, Reason.LIMIT)
    use(stage, monthly_gb=0.002)
    assert stage.refusals() == (None, None)
    assert stage.sharing.month_mb == 0
    use(stage)
    assert stage.sharing.month_mb is None
    assert stage.sharing.shaper.admits("circuit", 10**9)


def test_a_damaged_file_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / QUOTA_NAME).write_text("?")
    stage = Stage(tmp_path, circuits=1)
    with pytest.raises(ConfigError, match="damaged"):
        use(stage, monthly_gb=1.0)
    stage.work.circuit_count = 2
    assert stage.refusals() == (Reason.BUSY, None)
