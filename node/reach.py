"""How other peers reach this one: a word made of what is known, and a sentence for people."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from peers.observed import Ports

if TYPE_CHECKING:
    from peers.addresses import Address


class Reach(StrEnum):
    """The word."""

    CLIENT = ""
    PUBLIC = "public"
    MAPPED = "mapped"
    PUNCHED = "punched"
    BEHIND_NAT = "behind-nat"
    UNKNOWN = "unknown"


_SENTENCES: Final[dict[str, str]] = {
    Reach.PUBLIC: "others reach this peer directly, as its settings or its neighbours say",
    Reach.MAPPED: "others reach this peer directly, through a port that its router forwards",
    Reach.PUNCHED: "this peer is behind a router that keeps its port",
    Reach.BEHIND_NAT: "this peer is behind a router that gives it another port towards each neighbour",
    Reach.UNKNOWN: "whether others reach this peer directly is not known yet",
}


class Facts(NamedTuple):
    """What is known.

    Args:
        serves: whether this node takes links at all.
        configured: whether the settings say where it is reached.
        mapped: where a router says that it forwards to this node.
        confirmed: where neighbours reached it.
        refused: whether neighbours tried to reach it, and could not.
        ports: which port neighbours see.
    """

    serves: bool
    configured: bool = False
    mapped: Address | None = None
    confirmed: Address | None = None
    refused: bool = False
    ports: Ports = Ports.UNKNOWN


def reach(facts: Facts) -> Reach:
    """Choose the word."""
    if not facts.serves:
        return Reach.CLIENT
    if facts.configured:
        return Reach.PUBLIC
    if facts.confirmed is not None:
        return Reach.MAPPED if facts.confirmed == facts.mapped else Reach.PUBLIC
    if facts.ports is Ports.VARYING:
        return Reach.BEHIND_NAT
    return Reach.PUNCHED if facts.refused else Reach.UNKNOWN


def sentence(word: str, via: int) -> str:
    """Say it to people; empty for a client, and for what is no such word.

    Args:
        word: one of `Reach`.
        via: relays that hold a link to this node.
    """
    known = _SENTENCES.get(word, "")
    if not known or word in (Reach.PUBLIC, Reach.MAPPED):
        return known
    if via:
        return f"{known}; others reach it through {via} relay{'s' if via > 1 else ''} that it keeps links to"
    return f"{known}; no relay holds a link to it yet"
