"""What is done when settings change while a node runs. What stands in no group here waits for the next start.

Nothing that is carried breaks. Where other paths are wanted, running connections hop to new ones as far as their exit
allows, and stay where they are else; new connections go by the new settings at once.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from core.flow import SiteOptions
from node.site_rules import load_rules
from pac.trusted import parse_networks
from tunnel.padding import SHAPES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from pathlib import Path

    from node.choosing import Choosing
    from node.isolation import SiteIsolation
    from node.money import Money
    from node.serving import Serving
    from node.settings import Settings
    from node.trust.watch import TrustWatch
    from pac.rules import RuleSet
    from proxy.front import Front
    from tunnel.pool import CircuitPool


@dataclass(slots=True)
class Parts:
    """What of a running node follows its settings; None for what it has not, or not yet.

    Args:
        home: its folder.
        choosing: names paths.
        serving: the work for others.
        money: the payments.
        rules: for sites, those that are obeyed.
        pool: its own circuits.
        sites: spreads sites over them.
        front: the local port.
        trust: knows trusted networks.
    """

    home: Path
    choosing: Choosing
    serving: Serving
    money: Money
    rules: RuleSet
    pool: CircuitPool | None = None
    sites: SiteIsolation | None = None
    front: Front | None = None
    trust: TrustWatch | None = None


def own_options(settings: Settings) -> SiteOptions:
    """What is done for a site for which nothing is wanted."""
    chosen = settings.tunnel
    return SiteOptions(chosen.regions, chosen.mode, chosen.max_tariff)


async def _bypass(parts: Parts, settings: Settings) -> None:
    rules = await asyncio.to_thread(load_rules, settings.bypass, parts.home)
    if parts.front is not None:
        await parts.front.obey(rules)
    parts.rules = rules


async def _share(parts: Parts, settings: Settings) -> None:
    parts.serving.use(settings)


async def _pay(parts: Parts, settings: Settings) -> None:
    await parts.money.use(settings.payments)


async def _choose(parts: Parts, settings: Settings) -> None:
    parts.choosing.use(settings)


async def _site_keys(parts: Parts, settings: Settings) -> None:
    if parts.sites is not None:
        parts.sites.own, parts.sites.count = own_options(settings), settings.tunnel.spread


async def _hop(parts: Parts, settings: Settings) -> None:
    if parts.pool is not None:
        parts.pool.builder.shape = SHAPES[settings.tunnel.mode]
        parts.pool.builder.age_s = float(settings.tunnel.hop_interval_s)
        parts.pool.hop()


async def _trust(parts: Parts, settings: Settings) -> None:
    if parts.trust is not None:
        parts.trust.use(parse_networks(settings.trust.networks))


async def _log(parts: Parts, settings: Settings) -> None:
    logging.getLogger().setLevel(settings.node.log_level.upper())


_PATHS: Final = frozenset(
    f"tunnel.{key}" for key in ("mode", "hops", "regions", "excluded_regions", "min_tariff", "max_tariff")
)
_LIMITS: Final = frozenset(
    f"sharing.{key}"
    for key in ("up_mbit", "down_mbit", "monthly_gb", "hours", "circuits", "flows", "only_friends", "drain_s")
)

_STEPS: Final[tuple[tuple[frozenset[str], Callable[[Parts, Settings], Awaitable[None]]], ...]] = (
    # First what can fail.
    (frozenset({"bypass.rules", "bypass.presets", "bypass.lists"}), _bypass),
    (_LIMITS | {"sharing.memory_mb", "peers.friends"}, _share),
    (frozenset({"payments.cap", "payments.deposit", "payments.channels"}), _pay),
    (_PATHS | {"tunnel.switch_back", "peers.friends"}, _choose),
    (_PATHS | {"tunnel.spread"}, _site_keys),
    (_PATHS | {"tunnel.hop_interval_s"}, _hop),
    (frozenset({"trust.networks"}), _trust),
    (frozenset({"node.log_level"}), _log),
)
"""Which settings need which step. The steps are in the order in which they are taken."""

LIVE: Final = frozenset[str]().union(*(names for names, _ in _STEPS))
"""The settings of which a change takes effect while a node runs."""


FIRST_LIMITS: Final = frozenset({"sharing.up_mbit", "sharing.down_mbit", "sharing.monthly_gb"})
"""The limits on bytes. What runs for others while there is none is not led through the first one."""


async def apply(parts: Parts, settings: Settings, names: Collection[str]) -> None:
    """Have a running node go by other settings.

    Args:
        parts: of the node.
        settings: all that it shall go by.
        names: those that have changed, out of `LIVE`.

    Raises:
        MacroVpnError: one cannot be met. What was done before that must be undone by applying what was there.
    """
    for needing, step in _STEPS:
        if needing.intersection(names):
            await step(parts, settings)
