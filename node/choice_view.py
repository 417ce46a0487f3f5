"""How a client chooses, for people and for scripts: plain values for JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from itertools import count
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from core.flow import NO_OPTIONS
from node.price_view import price_per_gb
from peers.descriptor import Role
from peers.identity import peer_id
from peers.path_draw import Place
from peers.reasons import explain
from peers.scores import weight

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.flow import SiteOptions
    from core.ids import PeerKey
    from node.choosing import Choosing
    from peers.choice import Weighing
    from peers.descriptor import Descriptor
    from peers.guards import PinnedHops
    from peers.reasons import Reasons, Standing
    from tunnel.circuit import Circuit
    from tunnel.path import Path


def own_paths(choosing: Choosing, circuits: Sequence[Circuit]) -> dict[str, Any]:
    """Say where a client's circuits lead, those for all sites before those for some; `hops` is 0 without any."""
    circuits = sorted(circuits, key=lambda circuit: circuit.options != NO_OPTIONS)
    in_use = [circuit for circuit in circuits if circuit.isolation is not None] or circuits[:1]
    regions = [choosing.region(circuit.path[-1].peer) for circuit in in_use]
    return {
        "exit_region": next(iter(regions), ""),
        "exit_regions": sorted({region for region in regions if region}),
        "exit_serves": choosing.choice.offer(in_use[0].path[-1].peer) if in_use else "",
        "hops": len(in_use[0].path) if in_use else 0,
        "flows": sum(len(circuit.flows) for circuit in circuits),
        "circuits": len(circuits),
    }


def peer_rows(choosing: Choosing) -> list[dict[str, Any]]:
    """Say of each known peer what it offers, what was measured of it, and whether it is held on to."""
    weighing = choosing.choice.weighing(choosing.clock())
    return [_peer_row(choosing, weighing, found) for found in choosing.choice.directory.peers()]


def _peer_row(choosing: Choosing, weighing: Weighing, found: Descriptor) -> dict[str, Any]:
    record = choosing.measurements.of(found.peer)
    link = record.link_rtt_s if record is not None else None
    figures = weighing.figures(found, Place.EXIT if Role.EXIT in found.roles else Place.KEPT)
    return {
        "peer_id": peer_id(found.peer),
        "roles": [role.name.lower() for role in Role if role in found.roles and role.name],
        "region": choosing.region(found.peer),
        "operator": found.operator.decode("utf-8", "replace"),
        "tariff": found.tariff_step,
        "serves": choosing.choice.offer(found.peer) if Role.EXIT in found.roles else "",
        "rtt_ms": round(link.value * 1e3, 1) if link is not None and link.evidence(weighing.clock) else None,
        "score": round(weight(figures, choosing.choice.lean), 3),
        "confidence": round(figures.confidence, 2),
        "pinned": _pinned(found.peer, choosing.pins),
    }


def _pinned(peer: PeerKey, pins: PinnedHops) -> str:
    if peer in pins.guards.peers:
        return "guard"
    return "second" if peer in pins.seconds.peers else ""


def region_rows(choosing: Choosing, wanted: Sequence[str]) -> list[dict[str, Any]]:
    """Count the known exits of each region, as far as regions are believed.

    Args:
        choosing: knows the peers.
        wanted: regions that stand in the list even without an exit.
    """
    exits = [found for found in choosing.choice.directory.peers() if Role.EXIT in found.roles]
    counts = Counter(region for found in exits if (region := choosing.region(found.peer)))
    names = sorted({*counts, *wanted})
    return [{"region": name, "exits": counts[name], "wanted": name in wanted} for name in names]


def shown_options(options: SiteOptions) -> dict[str, Any]:
    """Name what the user wants for a site, and nothing else."""
    shown = {name: value for name, value in asdict(options).items() if value is not None}
    return {name: value for name, value in shown.items() if value is not False}


class CircuitNames:
    """Names a node's circuits for people. Each guard numbers its link's circuits itself, so those numbers repeat."""

    def __init__(self) -> None:
        self._names: WeakKeyDictionary[Circuit, str] = WeakKeyDictionary()
        self._numbers = count(1)

    def of(self, circuit: Circuit) -> str:
        """A circuit's name, which no other circuit of this process ever has."""
        name = self._names.get(circuit)
        if name is None:
            name = self._names[circuit] = str(next(self._numbers))
        return name


def circuit_row(choosing: Choosing, circuit: Circuit, now: float) -> dict[str, Any]:
    """Describe a circuit and its hops.

    Args:
        choosing: knows the peers.
        circuit: a live one.
        now: loop time.
    """
    last = len(circuit.path) - 1
    hops = []
    for place, hop in enumerate(circuit.path):
        role = "exit" if place == last else "guard" if place == 0 else "relay"
        rtt_ms = round(circuit.rtt_s * 1e3, 1) if place == last and circuit.rtt_s is not None else None
        region = choosing.region(hop.peer)
        serves = choosing.choice.offer(hop.peer) if place == last else ""
        hops.append({"peer_id": peer_id(hop.peer), "role": role, "region": region, "rtt_ms": rtt_ms, "serves": serves})
    return {
        "id": choosing.names.of(circuit),
        "flows": len(circuit.flows),
        "in_use": circuit.isolation is not None,
        "options": shown_options(circuit.options),
        "price_per_gb": price_per_gb([hop.tariff for hop in circuit.path]),
        "age_s": round(now - circuit.made_at, 1),
        "hops": hops,
    }


def explained_row(choosing: Choosing, circuit: Circuit, now: float) -> dict[str, Any]:
    """Describe a circuit as `circuit_row` does, and say of each hop why it is there."""
    row = circuit_row(choosing, circuit, now)
    for hop, reasons in zip(row["hops"], explanation(choosing, circuit.path, circuit.options), strict=True):
        hop.update(reasons)
    return row


def explanation(choosing: Choosing, path: Path, options: SiteOptions = NO_OPTIONS) -> list[dict[str, Any]]:
    """Say of each hop of a path why it is there.

    Args:
        choosing: what chose it.
        path: its hops.
        options: what it was chosen for.
    """
    choice, peers = choosing.choice_for(options), [hop.peer for hop in path]
    found = explain(peers, choice.candidates.peers(), choice.rules, choice.weighing(choosing.clock()), choosing.pins)
    return [_reasons(choosing, reasons) for reasons in found]


def _reasons(choosing: Choosing, reasons: Reasons) -> dict[str, Any]:
    return {
        "why": reasons.why,
        "candidates": reasons.candidates,
        "chosen": _standing(choosing, reasons.chosen) if reasons.chosen is not None else None,
        "rivals": [_standing(choosing, rival) for rival in reasons.rivals],
    }


def _standing(choosing: Choosing, standing: Standing) -> dict[str, Any]:
    figures = standing.figures
    return {
        "peer_id": peer_id(standing.found.peer),
        "region": choosing.region(standing.found.peer),
        "weight": round(standing.weight, 3),
        "chance": round(standing.chance, 4) if standing.chance is not None else None,
        "confidence": round(figures.confidence, 2),
        "figures": {
            "rtt_ms": round(figures.rtt_s * 1e3, 1),
            "expected_ms": round(figures.expected_rtt_s * 1e3, 1) if figures.expected_rtt_s is not None else None,
            "jitter_ms": round(figures.jitter_s * 1e3, 1),
            "rate_kb_s": round(figures.rate_kb_s),
            "failing": round(figures.failing, 3),
            "tariff": figures.tariff_step,
        },
        "factors": {name: round(value, 3) for name, value in standing.factors._asdict().items()},
    }
