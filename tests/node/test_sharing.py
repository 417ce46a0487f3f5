"""What stands against new circuits and flows, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import Reason
from node.sharing import Sharing
from tests.harness.linked import Linked

if TYPE_CHECKING:
    from node.sharing import Obstacle


def standing(reason: Reason | None) -> Obstacle:
    return lambda: reason


async def test_nothing_stands_against_work_by_itself() -> None:
    link, sharing = (await Linked.up()).near, Sharing()
    sharing.obstacles.append(standing(None))
    assert (sharing.refuses_circuit(link), sharing.refuses_flow()) == (None, None)


async def test_what_stands_against_both_comes_first() -> None:
    link, sharing = (await Linked.up()).near, Sharing()
    sharing.for_circuits.append(standing(Reason.BUSY))
    sharing.for_flows.append(standing(Reason.LIMIT))
    assert (sharing.refuses_circuit(link), sharing.refuses_flow()) == (Reason.BUSY, Reason.LIMIT)
    sharing.obstacles += [standing(None), standing(Reason.LEAVING)]
    assert (sharing.refuses_circuit(link), sharing.refuses_flow()) == (Reason.LEAVING, Reason.LEAVING)
