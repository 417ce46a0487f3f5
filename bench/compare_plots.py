"""Plots of `bench compare`, as PNG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from matplotlib.axes import Axes

_DPI: Final = 110
_META: Final = {"Software": None}
"""No version in the file, so that the same figures give the same file."""

LOOPBACK: Final = (
    ("one download, MB/s", ("single", "MBps", "median")),
    ("CPU seconds per GB", ("single", "cpu_s_per_GB", "median")),
    ("8 downloads, MB/s", ("parallel", "MBps", "median")),
    ("first byte, ms (p50)", ("latency", "first_byte_ms", "p50")),
    ("first byte, ms (p99)", ("latency", "first_byte_ms", "p99")),
    ("new connections per second", ("new_connections", "per_s", "median")),
)
DISTANCE: Final = (
    ("one download, MB/s", ("MBps", "median")),
    ("first byte, ms (p50)", ("latency", "first_byte_ms", "p50")),
)


def value(figures: Any, path: tuple[str, ...]) -> float | None:
    """One figure out of many; None where it was not measured."""
    for key in path:
        if not isinstance(figures, dict) or key not in figures:
            return None
        figures = figures[key]
    return float(figures)


def draw(result: Mapping[str, Any], folder: Path) -> Iterator[Path]:
    """Draw the parts that were measured.

    Args:
        result: of `bench.compare.run`.
        folder: which is there.

    Yields:
        Each file that was written.
    """
    mpl.use("agg")
    for part, make in (("loopback", _loopback), ("distance", _distance), ("growth", _growth), ("crowds", _crowds)):
        if part in result:
            path = folder / f"{part}.png"
            make(result[part]).savefig(path, dpi=_DPI, metadata=_META)
            yield path


def _bars(axes: Axes, title: str, systems: Mapping[str, Any], path: tuple[str, ...]) -> None:
    found = {name: number for name, figures in systems.items() if (number := value(figures, path)) is not None}
    drawn = axes.barh(list(found), list(found.values()), color=[f"C{place}" for place in range(len(found))])
    axes.bar_label(drawn, fmt=lambda number: f"{number:,.0f}" if number >= 100 else f"{number:.3g}", padding=2)
    axes.set_title(title, fontsize=10)
    axes.invert_yaxis()
    axes.margins(x=0.3)


def _loopback(systems: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(11, 6), layout="constrained")
    without = {name: figures for name, figures in systems.items() if name != "direct"}
    for axes, (title, path) in zip(figure.subplots(2, 3).flat, LOOPBACK, strict=True):
        _bars(axes, title, without, path)
    return figure


def _distance(losses: Mapping[str, Mapping[str, Any]]) -> Figure:
    figure = Figure(figsize=(9, 3 * len(losses)), layout="constrained")
    rows = figure.subplots(len(losses), len(DISTANCE), squeeze=False)
    for row, (loss, systems) in zip(rows, losses.items(), strict=True):
        for axes, (title, path) in zip(row, DISTANCE, strict=True):
            _bars(axes, f"{title}, {loss}", systems, path)
    return figure


def _growth(parts: Mapping[str, Mapping[Any, Any]]) -> Figure:
    figure = Figure(figsize=(9, 6), layout="constrained")
    (hops, flows), (mode, engine) = figure.subplots(2, 2)
    for axes, what in ((hops, "hops"), (flows, "flows")):
        numbers = [int(number) for number in parts[what]]
        axes.plot(numbers, [value(figures, ("MBps", "median")) for figures in parts[what].values()], marker="o")
        axes.set(xlabel=what, ylabel="MB/s", ylim=0, xscale="log" if what == "flows" else "linear")
        axes.set_xticks(numbers, [str(number) for number in numbers])
        axes.minorticks_off()
        costs = [_cost(figures) for figures in parts[what].values()]
        beside = axes.twinx()
        beside.plot(numbers, costs, marker="s", color="C1")
        beside.set_ylabel("CPU s per GB", color="C1")
        beside.set_ylim(0)
    _bars(mode, "one download by mode, MB/s", parts["mode"], ("MBps", "median"))
    _bars(engine, "one download by engine, MB/s", parts["engine"], ("MBps", "median"))
    return figure


def _cost(figures: Any) -> float | None:
    """CPU seconds per GB, of one download or of several at once."""
    spread = value(figures, ("cpu_s_per_GB", "median"))
    return value(figures, ("cpu_s_per_GB",)) if spread is None else spread


def _crowds(parts: Mapping[str, Mapping[Any, Any]]) -> Figure:
    figure = Figure(figsize=(11, 6), layout="constrained")
    rows = figure.subplots(2, len(parts))
    for column, (what, found) in enumerate(parts.items()):
        for axes, (label, key) in zip(
            rows[:, column], (("MB", "MB"), ("% of a core at rest", "cpu_percent")), strict=True
        ):
            for role in next(iter(found.values())):
                axes.plot(
                    [int(number) for number in found],
                    [each[role][key] for each in found.values()],
                    marker="o",
                    label=role,
                )
            axes.set(xlabel=what, ylabel=label, ylim=0)
            axes.legend()
    return figure
