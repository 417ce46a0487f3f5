"""What this node does for others, as Prometheus reads it: rounded, by reason words, and no newer than a minute.

Whoever scrapes often must not see what one client does. So counts go to the nearest ten, volumes to whole MB, and all
of it is looked up once a minute at most, however often it is asked for.

Source: Prometheus text-based exposition format, version 0.0.4.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from node.pages import Asked, Page
from node.sharing_view import OPEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

KIND: Final = "text/plain; version=0.0.4; charset=utf-8"
REFRESH_S: Final = 60.0
"""How old an answer may be, so that two that differ are this far apart."""
COUNT_STEP: Final = 10
"""Counts are rounded to multiples of this: what fewer than five do does not show."""
MB: Final = 10**6
MEASURED_PARTS: Final = ("relay", "exit")
"""The parts whose counters are shown: they are about the work for others."""
_WORD: Final = re.compile("[a-z0-9][a-z0-9_ -]{0,47}")


@dataclass(frozen=True, slots=True)
class Sample:
    """What is looked up.

    Args:
        section: as `sharing_section` makes it.
        counters: by part of the node, how often each reason word was counted.
    """

    section: Mapping[str, Any] = field(default_factory=dict)
    counters: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


class Metrics:
    """The page.

    Args:
        look: takes a sample.
        clock: monotonic seconds.
        loopback: whether it is served to this machine only, where pages in a browser must be kept out.
    """

    def __init__(self, look: Callable[[], Sample], clock: Callable[[], float], *, loopback: bool) -> None:
        self._look = look
        self._clock = clock
        self._loopback = loopback
        self._text = b""
        self._good_until = 0.0

    def answer(self, asked: Asked) -> Page:
        """Answer a request."""
        if asked.from_page or (self._loopback and not _names_this_machine(asked.host)):
            return Page(b"Pages in a browser get no figures.\n", status=403)
        if asked.path not in ("/", "/metrics"):
            return Page(b"The figures are at /metrics.\n", status=404)
        now = self._clock()
        if not self._text or now >= self._good_until:
            self._text = metrics_text(self._look()).encode()
            self._good_until = now + REFRESH_S
        return Page(self._text, KIND)


def metrics_text(sample: Sample) -> str:
    """Write a sample in Prometheus' text format, rounded."""
    return "".join(f"{line}\n" for line in _lines(sample))


def _lines(sample: Sample) -> Iterator[str]:
    section = sample.section
    roles = {f'role="{role}"': 1 for role in section.get("roles", ())}
    yield from _family("macrovpn_role_info", "gauge", "What this node does for others.", roles)
    is_open = {"": int(section.get("state") == OPEN)}
    yield from _family("macrovpn_open", "gauge", "1 while new circuits and flows are taken.", is_open)
    biting = {f'limit="{_word(word)}"': 1 for word in section.get("biting", ())}
    yield from _family("macrovpn_limit_reached", "gauge", "Limits that hold something back.", biting)
    for name in ("circuits", "flows"):
        count = {"": _to_ten(section.get(name, 0))}
        yield from _family(f"macrovpn_{name}", "gauge", f"Of others, now: {name}, to the nearest ten.", count)
    carried = _megabytes(section.get("carried_mb"))
    yield from _family("macrovpn_carried_bytes_total", "counter", "Carried since the start, in whole MB.", carried)
    month = _megabytes(section.get("month_mb"))
    yield from _family("macrovpn_month_bytes", "gauge", "Carried in this month, in whole MB.", month)
    cap = {"": int(section.get("limits", {}).get("monthly_gb", 0) * 1000) * MB}
    yield from _family("macrovpn_month_limit_bytes", "gauge", "What may be carried in a month; 0: no limit.", cap)
    counts: dict[str, int] = {}
    for part, words in sample.counters.items():
        for word, number in words.items():
            label = f'part="{_word(part)}",reason="{_word(word)}"'
            counts[label] = counts.get(label, 0) + number
    rounded = {label: _to_ten(number) for label, number in counts.items()}
    text = "What ended or was refused since the start, by reason, to the nearest ten."
    yield from _family("macrovpn_ended_total", "counter", text, rounded)


def _family(name: str, kind: str, text: str, values: Mapping[str, int]) -> Iterator[str]:
    if values:
        yield f"# HELP {name} {text}"
        yield f"# TYPE {name} {kind}"
    for labels, value in sorted(values.items()):
        yield f"{name}{{{labels}}} {value}" if labels else f"{name} {value}"


def _to_ten(number: int) -> int:
    return (number + COUNT_STEP // 2) // COUNT_STEP * COUNT_STEP


def _megabytes(number: int | None) -> dict[str, int]:
    return {} if number is None else {"": number * MB}


def _word(text: str) -> str:
    """Let reason words through, and nothing that could be anything else, such as an address."""
    return text if _WORD.fullmatch(text) else "other"


def _names_this_machine(host: str) -> bool:
    """Tell whether a Host header is no name that somebody else's DNS made to point here."""
    name = host.rpartition(":")[0] if re.search(":[0-9]+$", host) else host
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
