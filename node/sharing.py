"""Whether this node does something for others now: one answer out of everything that can stand against it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.errors import Reason
    from tunnel.link import Link

type Obstacle = Callable[[], Reason | None]
"""Why nothing new is taken now; None when that is no obstacle."""


class Sharing:
    """Asked for every circuit and every flow before anything is done for it.

    Attributes:
        obstacles: what may stand against circuits and flows alike; the first that does gives the reason.
        for_circuits: what may stand against circuits alone.
        for_flows: the same for flows.
    """

    def __init__(self) -> None:
        self.obstacles: list[Obstacle] = []
        self.for_circuits: list[Obstacle] = []
        self.for_flows: list[Obstacle] = []

    def refuses_circuit(self, link: Link) -> Reason | None:
        """Say why no circuit that comes over a link is taken now; None when it is."""
        return _first([*self.obstacles, *self.for_circuits])

    def refuses_flow(self) -> Reason | None:
        """Say why no flow is taken now; None when one is."""
        return _first([*self.obstacles, *self.for_flows])


def _first(obstacles: list[Obstacle]) -> Reason | None:
    return next((reason for obstacle in obstacles if (reason := obstacle()) is not None), None)
