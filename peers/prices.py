"""Whether it is for the price that there is no path."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING

from peers.descriptor import MAX_TARIFF_STEP, Role
from peers.paths import has_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peers.descriptor import Descriptor
    from peers.path_draw import Rng
    from peers.path_search import PathRules
    from peers.paths import DirectoryView


class Obstacle(Enum):
    """What the price does to paths."""

    NONE = "none"
    EXITS = "exits"
    """Every exit that would do asks for more, or for less, than it may."""
    HOPS = "hops"
    """The price of some exit is right, but too few relays go with it: they ask for more or less than they may, or they
    are not of its kind."""


class _Unpriced:
    """Peers as if nobody asked for anything. Implements `peers.paths.DirectoryView`."""

    def __init__(self, view: DirectoryView) -> None:
        self._peers = tuple(replace(found, tariff_step=0) for found in view.peers())

    def peers(self) -> Sequence[Descriptor]:
        return self._peers


def obstacle(view: DirectoryView, rules: PathRules, rng: Rng) -> Obstacle:
    """Say whether there would be a path if nobody asked for anything, and there is none.

    Args:
        view: the peers that paths are made of.
        rules: what every path must be.
        rng: where chance comes from.
    """
    ends = [found for found in view.peers() if int(found.roles) & int(Role.EXIT) and rules.may_end_at(found)]
    if ends and not any(map(rules.may_cost, ends)):
        return Obstacle.EXITS
    if has_path(view, rules, rng):
        return Obstacle.NONE
    unpriced = replace(rules, min_tariff=0, max_tariff=MAX_TARIFF_STEP)
    return Obstacle.HOPS if has_path(_Unpriced(view), unpriced, rng) else Obstacle.NONE
