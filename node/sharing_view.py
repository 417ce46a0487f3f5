"""What `status` says about the work for others, and the words for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from core.errors import Reason
from node.coins import coins

if TYPE_CHECKING:
    from collections.abc import Mapping

    from node.settings import Settings

OPEN: Final = "open"
REFUSING: Final = "refusing"
DRAINING: Final = "draining"

PASSING: Final = frozenset({"rate", "circuits", "flows", "friends"})
"""Limits that bite for a moment because of what somebody does. Lines that say so, each with a time, would say when
others came: only what shows the present may name them."""

_WHY: Final = {
    Reason.LIMIT.word: "a limit of yours is reached",
    Reason.BUSY.word: "this machine is at its limit",
    Reason.LEAVING.word: "it is about to stop",
    "hours": "it is outside your hours",
    "month": "the amount of this month is used up",
    "rate": "your rate is reached",
    "circuits": "there are as many circuits as you allow",
    "flows": "there are as many connections as you allow",
    "friends": "who asked is no friend of yours",
}


@dataclass(frozen=True, slots=True)
class Figures:
    """What is known of the work for others now.

    Args:
        circuits: that pass or end here.
        flows: that end here, at destinations. A relay cannot tell how many pass.
        refusal: why nothing new is taken; None while it is.
        biting: words of the limits that hold something back.
        forth_bytes_s: carried towards destinations per second lately; None where that is not measured.
        back_bytes_s: the same on the way back.
        carried_mb: carried since the start, both ways together, in MB.
        month_mb: carried in this month, in MB.
        earned: units for what was carried, ever; None while payments are off.
    """

    circuits: int = 0
    flows: int = 0
    refusal: Reason | None = None
    biting: tuple[str, ...] = ()
    forth_bytes_s: int | None = None
    back_bytes_s: int | None = None
    carried_mb: int | None = None
    month_mb: int | None = None
    earned: int | None = None


def sharing_section(settings: Settings, figures: Figures, pages: Mapping[str, str]) -> dict[str, Any]:
    """Describe the work for others; empty for a node that does none.

    Args:
        settings: the node's.
        figures: those of now.
        pages: where `metrics` and `notice` are served, as address and port; empty for nowhere.
    """
    roles = [role for role in settings.node.roles if role != "client"]
    if not roles:
        return {}
    limits, exits = settings.sharing, "exit" in roles
    return {
        "roles": roles,
        "state": _state(figures),
        "biting": _biting(figures),
        "circuits": figures.circuits,
        "flows": figures.flows,
        "forth_bytes_s": figures.forth_bytes_s,
        "back_bytes_s": figures.back_bytes_s,
        "carried_mb": figures.carried_mb,
        "month_mb": figures.month_mb,
        "earned": figures.earned,
        "tariff": settings.payments.tariff,
        "limits": {
            "up_mbit": limits.up_mbit,
            "down_mbit": limits.down_mbit,
            "monthly_gb": limits.monthly_gb,
            "hours": list(limits.hours),
            "circuits": limits.circuits,
            "flows": limits.flows,
            "only_friends": limits.only_friends,
        },
        "policy": settings.exit.policy if exits else "",
        "rules": len(settings.exit.rules) if exits else 0,
        "allow_destinations": list(settings.exit.allow_destinations) if exits else [],
        "metrics": pages.get("metrics", ""),
        "notice": pages.get("notice", ""),
    }


def _biting(figures: Figures) -> list[str]:
    """Name what holds something back, and with it always why nothing new is taken."""
    refusal, named = figures.refusal, list(figures.biting)
    if refusal is not None and not (refusal is Reason.LIMIT and {"hours", "month"}.intersection(named)):
        named.append(refusal.word)
    return named


def _state(figures: Figures) -> str:
    if figures.refusal is None:
        return OPEN
    return DRAINING if figures.refusal is Reason.LEAVING else REFUSING


def state_sentence(section: Mapping[str, Any]) -> str:
    """Say whether new work is taken, and what stands against it."""
    state, biting = section.get("state", ""), [_WHY.get(word, word) for word in section.get("biting", [])]
    if state == DRAINING:
        return f"stopping: takes nothing new, {_work(section)} to finish"
    if state == REFUSING:
        return f"takes nothing new: {', '.join(biting) or 'no reason is given'}"
    return "takes new work" + (f"; held back: {', '.join(biting)}" if biting else "")


def rows(section: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Lay the section out for people, as a name and a text for each line; tolerant of keys that are missing."""
    limits = section.get("limits", {})
    found = [
        ("sharing", f"{' and '.join(section.get('roles', []))}; {state_sentence(section)}"),
        ("carrying", _work(section)),
        ("speed", f"{_rate(section.get('forth_bytes_s'))} to destinations, {_rate(section.get('back_bytes_s'))} back"),
        ("carried", f"{_volume(section.get('carried_mb'))} since the start"),
        ("month", _month(section.get("month_mb"), limits.get("monthly_gb", 0))),
        ("limits", _limits(limits)),
        ("earned", _earned(section)),
    ]
    if section.get("policy"):
        own = f" and {section['rules']} rules of yours" if section.get("rules") else ""
        found.append(("policy", f"{section['policy']}{own}"))
    if section.get("allow_destinations"):
        networks = ", ".join(section["allow_destinations"])
        found.append(("beware", f"reaches what exits refuse otherwise: {networks}. This is for tests"))
    pages = (("metrics", "/metrics"), ("notice", "/"))
    return found + [(name, f"http://{section[name]}{path}") for name, path in pages if section.get(name)]


def _earned(section: Mapping[str, Any]) -> str:
    earned, step = section.get("earned"), section.get("tariff", 0)
    if earned is None:
        return "payments are off"
    return f"{coins(earned)} coins" + (f" at tariff step {step}" if step else "; asks nothing (payments.tariff)")


def _work(section: Mapping[str, Any]) -> str:
    """Say what runs for others, as far as the roles can count it."""
    kinds = [("flow", "flows")] if "exit" in section.get("roles", ()) else []
    counts = [(section.get(key, 0), noun) for noun, key in (*kinds, ("circuit", "circuits"))]
    return " in ".join(f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts)


def _rate(bytes_s: int | None) -> str:
    """Write a rate in the unit of the limits."""
    return "–" if bytes_s is None else f"{bytes_s * 8 / 1e6:.1f} Mbit/s"


def _volume(megabytes: int | None) -> str:
    if megabytes is None:
        return "–"
    return f"{megabytes} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"


def _month(megabytes: int | None, cap_gb: float) -> str:
    return f"{_volume(megabytes)} of {cap_gb:g} GB" if cap_gb else "no cap"


def _limits(limits: Mapping[str, Any]) -> str:
    rates = [limits[key] for key in ("up_mbit", "down_mbit") if limits.get(key)]
    # What comes in goes out again, so one rate holds for both.
    found = [f"{min(rates):g} Mbit/s each way"] if rates else []
    found += [f"{limits[what]} {what}" for what in ("circuits", "flows") if limits.get(what)]
    found += [" and ".join(limits["hours"])] if limits.get("hours") else []
    found += ["friends only"] if limits.get("only_friends") else []
    return ", ".join(found) or "none, at any hour"
