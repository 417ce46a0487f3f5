"""Which TCP ports an exit serves, as the summary of its policy says it.

A summary is `+` and the ports that are served, or `-` and those that are not: numbers and ranges from 1 to 65535,
separated by commas, as in `+80,443` or `-25,135-139`. They rise, neither touch nor overlap, and have no leading zeros,
so a list of ports has one form.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Final

from core.errors import DecodeError

type Ports = tuple[tuple[int, int], ...]
"""Ranges of ports, both ends included, each 1 to 65535."""

MAX_PORT: Final = 65535
MAX_SUMMARY_BYTES: Final = 64
"""Longest summary, in bytes of ASCII: it travels in every descriptor."""

_SUMMARY: Final = re.compile(r"[+-]\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*", re.ASCII)
_REMEMBERED: Final = 1 << 14
"""Answers that are kept, so that a search among thousands of exits that say the same reads it once."""


def complement(ranges: Ports) -> Ports:
    """Turn ranges, in order and not touching, into the ranges between them."""
    lows = [1, *(high + 1 for _, high in ranges)]
    highs = [*(low - 1 for low, _ in ranges), MAX_PORT]
    return tuple((low, high) for low, high in zip(lows, highs, strict=True) if low <= high)


def ports_text(ranges: Ports) -> str:
    """Write ranges as a summary has them behind its sign."""
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)


@dataclass(frozen=True)
class ServedPorts:
    """The ports that an exit says it serves.

    Args:
        ranges: in order and not touching.
    """

    ranges: Ports

    @classmethod
    def read(cls, summary: bytes) -> ServedPorts:
        """Read a summary out of a descriptor.

        Raises:
            DecodeError: it has another form than the one that there is for these ports.
        """
        text = summary.decode("latin-1")
        if len(text) > MAX_SUMMARY_BYTES or _SUMMARY.fullmatch(text) is None:
            raise DecodeError("exit policy", "no list of ports")
        pairs = [part.partition("-") for part in text[1:].split(",")]
        ranges = tuple((int(low), int(high or low)) for low, _, high in pairs)
        if ports_text(ranges) != text[1:]:
            raise DecodeError("exit policy", "a number is not in its shortest form")
        rising = all(before + 1 < after for (_, before), (after, _) in pairwise(ranges))
        if not rising or not all(1 <= low <= high <= MAX_PORT for low, high in ranges):
            raise DecodeError("exit policy", "ports out of order or out of range")
        return cls(ranges if text[0] == "+" else complement(ranges))

    @classmethod
    def of(cls, summary: bytes) -> ServedPorts:
        """Take a summary as a client does: one that is missing stands for all ports, since asking will tell; one that
        cannot be read stands for none."""
        if not summary:
            return cls(((1, MAX_PORT),))
        try:
            return cls.read(summary)
        except DecodeError:
            return cls(())

    def __contains__(self, port: int) -> bool:
        return any(low <= port <= high for low, high in self.ranges)

    @cached_property
    def sentence(self) -> str:
        """Say it to a person: `all ports`, `ports 80,443`, `all ports but 25` or `no port`."""
        if not self.ranges:
            return "no port"
        rejected = complement(self.ranges)
        if not rejected:
            return "all ports"
        few, many = ports_text(self.ranges), ports_text(rejected)
        return f"ports {few}" if len(few) <= len(many) else f"all ports but {many}"


@lru_cache(maxsize=_REMEMBERED)
def serves_port(summary: bytes, port: int) -> bool:
    """Whether an exit with this summary serves a port, as `ServedPorts.of` takes it."""
    return port in ServedPorts.of(summary)
