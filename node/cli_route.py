"""`macrovpn route` and `macrovpn peers`: over whom the traffic goes, why, and over whom it could go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from node.cli_common import Command, common, plain, region_text, show
from node.coins import coins

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PINNED = {"guard": "guard", "second": "2nd hop"}


@click.command(cls=Command)
@common
@click.option("--explain", is_flag=True, help="Say of each hop why it is there, and who else could be.")
def route(home: Path, as_json: bool, explain: bool) -> None:
    """Show the present circuits, hop by hop."""
    from node.cli_ask import ask

    client = ask(home)
    answer = {"circuits": []} | (client.explain() if explain else client.route())
    lines = []
    for circuit in sorted(answer["circuits"], key=lambda found: not found.get("in_use", True)):
        use = f"{circuit['flows']} flows" if circuit.get("in_use", True) else "ready"
        lines.append(
            f"circuit {plain(circuit['id'])}: {use}, {circuit['age_s']:.0f} s old, {_price(circuit)}{_options(circuit)}"
        )
        for hop in circuit["hops"]:
            lines.append(
                f"  {plain(hop['role']):<6} {_region(hop)} {_ms(hop.get('rtt_ms')):>8}  {plain(hop['peer_id'])}"
            )
            if explain and hop.get("serves"):
                lines.append(f"         says that it serves {plain(hop['serves'])}")
            lines += _reasons(hop) if explain else ()
    show(as_json, answer, "\n".join(lines) or "There is no circuit now.")


def _price(circuit: dict[str, Any]) -> str:
    """Say what a circuit costs."""
    each = circuit["price_per_gb"]
    return f"{coins(each)} coins per GB" if each else "costs nothing"


def _options(circuit: dict[str, Any]) -> str:
    """Say for which sites a circuit is, if not for all."""
    wanted = [
        plain(name if value is True else f"{name} {','.join(value) if isinstance(value, list) else value}")
        for name, value in circuit.get("options", {}).items()
    ]
    return f"; for sites with {', '.join(wanted)}" if wanted else ""


def _reasons(hop: dict[str, Any]) -> Iterator[str]:
    """Write a table: the hop first, then who could stand there instead."""
    yield f"         {plain(hop['why'])}; {hop['candidates']} fit here"
    columns = f"{'latency':<18} {'by distance':<12} {'throughput':<16} {'failing':<10} {'price':<8} known"
    yield f"         {'weight':>6} {'chance':>7}  {columns}"
    if hop["chosen"] is None:
        yield "       > would not be chosen now: the settings, or what it says of itself, have changed"
    else:
        yield f"       > {_standing(hop['chosen'])}"
    for rival in hop["rivals"]:
        yield f"         {_standing(rival)}"


def _standing(standing: dict[str, Any]) -> str:
    figures, factors = standing["figures"], standing["factors"]
    columns = (
        f"{factors['latency']:.2f} ({_ms(figures['rtt_ms'])} ± {figures['jitter_ms']:.0f})".ljust(18),
        _ms(figures.get("expected_ms")).ljust(12),
        f"{factors['throughput']:.2f} ({figures['rate_kb_s']} KB/s)".ljust(16),
        f"{factors['reliability']:.2f} ({100 * figures['failing']:.0f} %)".ljust(10),
        f"{factors['price']:.2f} ({figures['tariff']})".ljust(8),
        f"{100 * standing['confidence']:>3.0f} %  {_region(standing)} {plain(standing['peer_id'])}",
    )
    chance = f"{100 * standing['chance']:.1f} %" if standing["chance"] is not None else "–"
    return f"{standing['weight']:>6.2f} {chance:>7}  {' '.join(columns)}"


@click.command(cls=Command)
@common
def peers(home: Path, as_json: bool) -> None:
    """Show the known peers, and what was measured of them."""
    from node.cli_ask import ask

    answer = {"peers": []} | ask(home).peers()
    lines = [
        f"{plain(','.join(peer['roles'])):<11} {region_text(peer):<21} {_ms(peer.get('rtt_ms')):>8}"
        f" {peer.get('score', 0):>6.2f} {100 * peer.get('confidence', 0):>4.0f} % {peer.get('tariff', 0):>6}"
        f" {_PINNED.get(peer.get('pinned', ''), '–'):<8} {plain(peer['peer_id'])}"
        for peer in answer["peers"]
    ]
    head = f"{'roles':<11} {'region':<21} {'rtt':>8} {'score':>6} {'known':>6} {'tariff':>6} {'kept':<8} peer id"
    show(as_json, answer, "\n".join([head, *lines]) if lines else "No peer is known yet.")


def _region(peer: dict[str, Any]) -> str:
    return f"{plain(peer['region'] or '–'):<8}"


def _ms(value: float | None) -> str:
    return f"{value:.0f} ms" if value is not None else "–"
