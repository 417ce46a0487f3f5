"""The shapes of what is asked and answered about the node's health, and about what sites see; as in `shapes`."""

from __future__ import annotations

from typing import Annotated

import msgspec

from node.control.shapes import Count, Shape


class SiteUrl(Shape, frozen=True):
    """A site to ask."""

    url: Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]


class ProbeName(Shape, frozen=True):
    """A name that leads nowhere, and that only this node's local port knows."""

    name: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}[.]macro-vpn[.]invalid$")]


class Clock(Shape, frozen=True):
    """By how many seconds the clock is wrong at least, as the descriptors of so many peers tell."""

    behind_s: Count
    ahead_s: Count
    peers: Count


class Guards(Shape, frozen=True):
    """How many guards this client keeps, and to how many of them there is a link."""

    kept: Count
    linked: Count


class SeenExit(Shape, frozen=True):
    """The exit of the circuit in use, as its descriptor tells: `addresses` are where it takes links."""

    peer_id: str
    region: str
    addresses: list[str]


class Health(Shape, frozen=True):
    """What a node knows of its own health; `exit` is null without a circuit."""

    clock: Clock
    links: Count
    guards: Guards
    exit: SeenExit | None


class Came(Shape, frozen=True):
    """Whether somebody wanted to go to a name over the local port."""

    came: bool


class SiteSaid(Shape, frozen=True):
    """What a site answered: at most 4096 bytes; `cut` when it said more."""

    status: Count
    text: str
    cut: bool
