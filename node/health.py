"""What a node knows of its own health beyond its state, and of the exit that sites see; plain values for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from core.flow import NO_OPTIONS
from node.peering import DESCRIPTOR_LIFE_S, RENEW_S
from peers.identity import peer_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from node.choosing import Choosing
    from peers.descriptor import Descriptor
    from tunnel.circuit import Circuit
    from tunnel.service import Tunnel

VOICES: Final = 3
"""So many peers have to disagree with this clock. One that lies, and its friend, say nothing."""


def clock(known: Iterable[Descriptor], now: float) -> dict[str, int]:
    """Compare the clock with the times at which peers signed their descriptors.

    A peer signs a new one every `RENEW_S` at the latest, which counts for `DESCRIPTOR_LIFE_S`. So none is signed in the
    future, and among several one was signed not long ago: that is all that can be told without asking anybody.

    Args:
        known: their descriptors.
        now: Unix seconds, by this clock.

    Returns:
        `behind_s` and `ahead_s`: by how much the clock is wrong at least, in seconds. `peers`: how many were compared.
    """
    ages_s = sorted(now - (found.expiry - DESCRIPTOR_LIFE_S) for found in known)
    telling_s = ages_s[VOICES - 1] if len(ages_s) >= VOICES else 0.0
    return {
        "behind_s": max(0, round(-telling_s)),
        "ahead_s": max(0, round(ages_s[0] - RENEW_S)) if len(ages_s) >= VOICES else 0,
        "peers": len(ages_s),
    }


def exit_seen(choosing: Choosing, circuit: Circuit | None) -> dict[str, Any] | None:
    """Say which peer sites see, and where its descriptor says that it is.

    Args:
        choosing: knows the peers.
        circuit: the one in use.

    Returns:
        None without a circuit.
    """
    if circuit is None:
        return None
    peer = circuit.path[-1].peer
    found = choosing.choice.directory.get(peer)
    hosts = dict.fromkeys(host for host, _ in found.addresses) if found is not None else {}
    return {"peer_id": peer_id(peer), "region": choosing.region(peer), "addresses": list(hosts)}


def health(choosing: Choosing, tunnel: Tunnel | None, now: float) -> dict[str, Any]:
    """Say all of it.

    Args:
        choosing: knows the peers, and which this client holds on to.
        tunnel: the links and circuits; None before there is one.
        now: Unix seconds.
    """
    linked = {link.peer for link in tunnel.links if link.peer is not None} if tunnel is not None else set()
    guards = choosing.pins.guards.peers
    return {
        "clock": clock(choosing.choice.directory.peers(), now),
        "links": len(linked),
        "guards": {"kept": len(guards), "linked": len(linked.intersection(guards))},
        "exit": exit_seen(choosing, _current(tunnel.pool.circuits if tunnel is not None else [])),
    }


def _current(circuits: Iterable[Circuit]) -> Circuit | None:
    """The circuit that a site without wishes of its own goes over."""
    usual = [circuit for circuit in circuits if circuit.options == NO_OPTIONS]
    return next((circuit for circuit in usual if circuit.isolation is not None), next(iter(usual), None))
