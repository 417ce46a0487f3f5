"""A firewall that counts what programs of certain groups send, and where: nothing of theirs is overlooked.

It sees packets of every protocol, over IPv4 and IPv6, on every device, loopback included. Needs Linux, root, nftables.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.harness.namespaces import enter, run

if TYPE_CHECKING:
    from collections.abc import Mapping

ELSEWHERE: Final = "elsewhere"
ANSWERS: Final = "answers"
"""To whoever connected to the program itself, such as whoever steers a browser."""

_TABLE: Final = "counted"

type Place = tuple[str, int | str, int]
"""Address, protocol (a word or a number) and port, which is 0 for protocols without ports."""


@dataclass(frozen=True, slots=True)
class Watched:
    """Programs that run under a group id.

    Args:
        name: what they are called, in letters.
        group: their group id, which nobody else has.
        places: where they may send to, each a condition of nftables, by its name, in letters.
    """

    name: str
    group: int
    places: Mapping[str, str]


@dataclass(slots=True)
class Counts:
    """Packets of one group.

    Args:
        begun: first packets of connections and of exchanges of datagrams, those that nobody answered too, by place.
        packets: by place, `ELSEWHERE` and `ANSWERS` among them.
        strays: packets by where `ELSEWHERE` was.
    """

    begun: dict[str, int] = field(default_factory=dict)
    packets: dict[str, int] = field(default_factory=dict)
    strays: dict[Place, int] = field(default_factory=dict)

    @property
    def elsewhere(self) -> int:
        return self.packets[ELSEWHERE]

    def add(self, other: Counts) -> None:
        """Count what came later as well."""
        for mine, theirs in ((self.begun, other.begun), (self.packets, other.packets)):
            for place, count in theirs.items():
                mine[place] = mine.get(place, 0) + count
        for stray, count in other.strays.items():
            self.strays[stray] = self.strays.get(stray, 0) + count


class Firewall:
    """Counts in a namespace, and refuses what would leave it on a device.

    Args:
        namespace: its name.
        device: on which nothing of the watched may leave.
        watched: whom to look at.
    """

    def __init__(self, namespace: str, device: str, *watched: Watched) -> None:
        self._namespace = namespace
        self._watched = watched
        chains = "".join(_chain(one, device) for one in watched)
        jumps = "".join(f"meta skgid {one.group} jump of_{one.name}\n" for one in watched)
        base = f"chain out {{ type filter hook output priority -10; policy accept;\n{jumps}}}"
        self._seen: dict[tuple[str, Place], int] = {}
        """Packets to each place since the beginning, by the set that has it."""
        run(*enter(namespace), "nft", "-f", "-", text=f"table inet {_TABLE} {{\n{chains}{base}\n}}\n")

    def take(self) -> dict[str, Counts]:
        """Say what was sent since this was asked last, by the names of the watched."""
        counts = {one.name: Counts() for one in self._watched}
        for counter in self._ask("counter", "reset counters"):
            name, _, what = counter["name"].partition("_to_")
            kind, _, place = what.partition("_")
            of = counts[name]
            (of.begun if kind == "begun" else of.packets)[place] = counter["packets"]
        for found in self._ask("set", "list sets"):
            strays = counts[found["name"].partition("_to_")[0]].strays
            for element in found.get("elem", ()):
                place, packets = _place(element["elem"])
                if new := packets - self._seen.get((found["name"], place), 0):
                    strays[place] = new
                self._seen[found["name"], place] = packets
        return counts

    def _ask(self, kind: str, question: str) -> list[dict[str, Any]]:
        """What the table has of a kind; nft names that of other tables as well."""
        listed = json.loads(run(*enter(self._namespace), "nft", "-j", *question.split(), "table", "inet", _TABLE))
        found = [entry[kind] for entry in listed["nftables"] if kind in entry]
        return [one for one in found if one["table"] == _TABLE]


def _sets(name: str) -> tuple[str, str, str, str]:
    return f"{name}_to_four", f"{name}_to_six", f"{name}_to_portless_four", f"{name}_to_portless_six"


def _chain(watched: Watched, device: str) -> str:
    """Write the chain of one group: counters of places, and the rest in sets."""
    name = watched.name
    four, six, bare_four, bare_six = _sets(name)
    size = "flags dynamic; counter; size 4096;"
    lines = [
        *(f"counter {name}_to_begun_{place} {{ }}" for place in watched.places),
        *(f"counter {name}_to_packets_{place} {{ }}" for place in (*watched.places, ELSEWHERE, ANSWERS)),
        f"set {four} {{ type ipv4_addr . inet_proto . inet_service; {size} }}",
        f"set {six} {{ type ipv6_addr . inet_proto . inet_service; {size} }}",
        f"set {bare_four} {{ type ipv4_addr . inet_proto; {size} }}",
        f"set {bare_six} {{ type ipv6_addr . inet_proto; {size} }}",
        f"chain of_{name} {{",
        f"ct direction reply counter name {name}_to_packets_{ANSWERS} accept",
    ]
    for place, condition in watched.places.items():
        lines += [
            f"{condition} ct state new counter name {name}_to_begun_{place}",
            f"{condition} counter name {name}_to_packets_{place} accept",
        ]
    lines += [
        f"counter name {name}_to_packets_{ELSEWHERE}",
        f"meta l4proto {{ tcp, udp }} add @{four} {{ ip daddr . meta l4proto . th dport }}",
        f"meta l4proto {{ tcp, udp }} add @{six} {{ ip6 daddr . meta l4proto . th dport }}",
        f"meta l4proto != {{ tcp, udp }} add @{bare_four} {{ ip daddr . meta l4proto }}",
        f"meta l4proto != {{ tcp, udp }} add @{bare_six} {{ ip6 daddr . meta l4proto }}",
        f'oifname "{device}" reject',
        "}",
    ]
    return "\n".join(lines) + "\n"


def _place(element: Any) -> tuple[Place, int]:
    """Where something went, and in how many packets."""
    host, protocol, *port = element["val"]["concat"]
    return (host, protocol, port[0] if port else 0), element["counter"]["packets"]
