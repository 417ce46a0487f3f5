"""Chance with weights: put peers into a random order in which the heavier ones tend to come first."""

from __future__ import annotations

from enum import Enum
from math import log
from typing import TYPE_CHECKING, Any, Protocol

from peers.guards import LifeRng

if TYPE_CHECKING:
    from collections.abc import Callable, MutableSequence, Sequence

    from peers.descriptor import Descriptor


class Rng(LifeRng, Protocol):
    """What is needed of `random.Random`. A node passes `random.SystemRandom`."""

    def shuffle(self, x: MutableSequence[Any], /) -> None:
        """Put a list into random order."""

    def random(self) -> float:
        """Return a number from 0 up to 1, without 1."""


class Place(Enum):
    """What peers are drawn for."""

    KEPT = "kept"
    """The first hops of a path, which a client holds on to."""
    MIDDLE = "middle"
    EXIT = "exit"


type Weigh = Callable[[Sequence[Descriptor], Place], Sequence[float]]
"""Weighs all who can be drawn for a place, in their order. Who has weight 0 is drawn only if nobody else fits."""


def evenly(candidates: Sequence[Descriptor], _place: Place) -> Sequence[float]:
    """Give all the same weight."""
    return [1.0] * len(candidates)


def in_random_order[T](items: Sequence[T], weights: Sequence[float], rng: Rng) -> list[T]:
    """Draw all, one after another, each time with chances in proportion to the weights of those that are left.

    Those without weight come last, in even order.

    Args:
        items: whom to draw.
        weights: for each, 0 or more.
        rng: where chance comes from.

    Source: Efraimidis and Spirakis, "Weighted random sampling with a reservoir" (2006), as exponential waiting times.
    """

    def waits(weight: float) -> tuple[bool, float]:
        return weight <= 0, -log(1.0 - rng.random()) / (weight if weight > 0 else 1.0)

    keys = [waits(weight) for weight in weights]
    return [items[place] for place in sorted(range(len(items)), key=keys.__getitem__)]
