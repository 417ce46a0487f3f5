"""Plots of a simulation, as PNG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.simulation.outcome import HOSTILE, PLACES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bench.simulation.outcome import Outcome

_DPI: Final = 110
_META: Final = {"Software": None}
"""No version in the file, so that the same figures give the same file."""


def draw(outcomes: Mapping[str, Outcome], folder: Path) -> Iterator[Path]:
    """Draw everything.

    Args:
        outcomes: by the name of the way.
        folder: made if there is none.

    Yields:
        Each file that was written.
    """
    mpl.use("agg")
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in (("load", _load), ("delay", _delay), ("exposure", _exposure)):
        figure = make(outcomes)
        path = folder / f"{name}.png"
        figure.savefig(path, dpi=_DPI, metadata=_META)
        yield path


def _load(outcomes: Mapping[str, Outcome]) -> Figure:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, outcome in outcomes.items():
        axes.plot(range(1, len(outcome.load()) + 1), outcome.load(), marker="o", label=name)
    axes.axhline(1, color="grey", linewidth=0.8)
    axes.set(
        yscale="log", xlabel="peers by capacity, the weakest tenth first", ylabel="share of load / share of capacity"
    )
    axes.legend()
    return figure


def _delay(outcomes: Mapping[str, Outcome]) -> Figure:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, outcome in outcomes.items():
        axes.ecdf(outcome.stretch(), label=name)
    axes.set(xscale="log", xlabel="round trip / the best that the client could have had", ylabel="part of circuits")
    axes.legend()
    return figure


def _exposure(outcomes: Mapping[str, Outcome]) -> Figure:
    figure = Figure(figsize=(10, 8), layout="constrained")
    grid = figure.subplots(len(HOSTILE), len(PLACES), sharex=True, sharey="col")
    for row, kind in zip(grid, HOSTILE, strict=True):
        for axes, place in zip(row, PLACES, strict=True):
            for name, outcome in outcomes.items():
                days = outcome.exposed[kind, place]
                axes.plot(range(1, len(days) + 1), [100 * each for each in days], label=name)
            axes.set_title(f"{kind.value}: {place}", fontsize="small")
            axes.set_ylim(bottom=0)
    for axes in grid[-1]:
        axes.set_xlabel("days")
    for row in grid:
        row[0].set_ylabel("% of clients")
    grid[0][0].legend()
    return figure
