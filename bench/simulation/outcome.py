"""What came of one way to choose paths."""

from __future__ import annotations

from collections import Counter
from statistics import fmean, quantiles
from typing import TYPE_CHECKING, Any, Final

from bench.simulation.world import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.simulation.world import Peer

CLASSES: Final = 10
PLACES: Final = ("guard", "exit", "both ends")
HOSTILE: Final = tuple(kind for kind in Kind if kind is not Kind.HONEST)


class Outcome:
    """Figures over all circuits of all clients.

    Args:
        peers: all there are.
        clients: how many use them.

    Attributes:
        failed: circuits that could not be built.
        exposed: by attacker and place, after each day: the part of the clients that met it there at least once.
        circuits: by attacker and place: the part of the circuits.
    """

    def __init__(self, peers: Sequence[Peer], clients: int) -> None:
        self._clients = clients
        self._carried: Counter[int] = Counter()
        self._peers = sorted(peers, key=lambda peer: peer.kb_s)
        self._delays: list[float] = []
        self._stretch: list[float] = []
        self._rates: list[float] = []
        self._met: dict[tuple[Kind, str], set[int]] = {(kind, place): set() for kind in HOSTILE for place in PLACES}
        self._seen: Counter[tuple[Kind, str]] = Counter()
        self.exposed: dict[tuple[Kind, str], list[float]] = {key: [] for key in self._met}
        self.failed = 0

    @property
    def built(self) -> int:
        """Circuits that were built."""
        return len(self._delays)

    def used(self, client: int, path: Sequence[Peer], delay_s: float, best_s: float) -> None:
        """Count one circuit."""
        self._delays.append(delay_s)
        self._stretch.append(delay_s / best_s)
        self._rates.append(min(peer.kb_s for peer in path))
        for peer in path:
            self._carried[id(peer)] += 1
        for kind in HOSTILE:
            guard, last = path[0].kind is kind, path[-1].kind is kind
            for place, is_there in zip(PLACES, (guard, last, guard and last), strict=True):
                if is_there:
                    self._met[kind, place].add(client)
                    self._seen[kind, place] += 1

    def day_is_over(self) -> None:
        """Take down who was met so far."""
        for key, met in self._met.items():
            self.exposed[key].append(len(met) / self._clients)

    def circuits(self, kind: Kind, place: str) -> float:
        """The part of the circuits on which an attacker stood there."""
        return self._seen[kind, place] / max(1, self.built)

    def load(self) -> list[float]:
        """By classes of as many peers each, the weakest first: share of the load over share of what all carry."""
        all_load, all_kb_s = sum(self._carried.values()), sum(peer.kb_s for peer in self._peers)
        size = len(self._peers) / CLASSES
        classes = [self._peers[round(size * each) : round(size * (each + 1))] for each in range(CLASSES)]
        return [
            (sum(self._carried[id(peer)] for peer in peers) / max(1, all_load))
            / (sum(peer.kb_s for peer in peers) / all_kb_s)
            for peers in classes
        ]

    def stretch(self) -> list[float]:
        """The delay of each circuit over the best that its client could have had."""
        return self._stretch

    def summary(self) -> dict[str, Any]:
        """The figures that are printed; parts are in percent."""
        return {
            "circuits": self.built,
            "failed": self.failed,
            "delay_ms": _spread([1000 * each for each in self._delays]),
            "delay_over_best": _spread(self._stretch),
            "narrowest_kb_s": _spread(self._rates),
            "load_over_capacity": {"weakest": round(self.load()[0], 2), "strongest": round(self.load()[-1], 2)},
            "mean_kb_s": round(fmean(self._rates)) if self._rates else 0,
            "attackers": {
                kind.value: {
                    place: {
                        "clients": round(100 * self.exposed[kind, place][-1], 1),
                        "circuits": round(100 * self.circuits(kind, place), 2),
                    }
                    for place in PLACES
                }
                for kind in HOSTILE
            },
        }


def _spread(values: list[float]) -> dict[str, float]:
    if len(values) < 2:
        return {}
    cuts = quantiles(values, n=20)
    return {"p5": round(cuts[0], 2), "p50": round(cuts[9], 2), "p95": round(cuts[18], 2)}
