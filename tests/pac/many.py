"""Random rules and URLs, decided by the PAC script, by the proxy's rules and by trying all of them.

    python -m tests.pac.many [CASES] [SEED]

says how many cases agreed, and shows the first that did not.
"""

from __future__ import annotations

import json
import random
import re
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final, Self

import quickjs

from pac.pac import write_pac
from pac.rules import Action, Rule, RuleSet
from pac.shortlist import shortlist
from tests.pac import oracle

if TYPE_CHECKING:
    from collections.abc import Iterator

PROXY: Final = "127.0.0.1:1080"
VIA: Final = f"PROXY {PROXY}; SOCKS5 {PROXY}"
VISITS: Final = 40
"""Cases for each set of rules."""

_LABELS: Final = ("a", "b", "ab", "corp", "x-1", "_s", "constructor", "__proto__", "xn--bcher-kva")
_OCTETS: Final = (0, 1, 10, 127, 128, 192, 255)
_GROUPS: Final = (0, 1, 0xFC00, 0xFE80, 0x2001, 0xDB8, 0x8000, 0xFFFF)
_SCHEMES: Final = ("http", "https", "ws", "wss", "ftp")
_PORTS: Final = (80, 443, 8080, 8443)


@dataclass(frozen=True, slots=True)
class Visit:
    """A URL that a browser asks about."""

    scheme: str
    host: str
    port: int
    shows_port: bool

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host and not self.host.startswith("[") else self.host
        return f"{self.scheme}://{host}{f':{self.port}' if self.shows_port else ''}/path?query#part"


@dataclass(frozen=True, slots=True)
class World:
    """A few labels and addresses, so that rules and hosts meet often."""

    rng: random.Random
    labels: tuple[str, ...]
    bytes4: bytes
    bytes16: bytes

    @classmethod
    def make(cls, rng: random.Random) -> Self:
        groups = b"".join(rng.choice(_GROUPS).to_bytes(2) for _ in range(8))
        return cls(rng, tuple(rng.sample(_LABELS, 3)), bytes(rng.choice(_OCTETS) for _ in range(4)), groups)

    def name(self) -> str:
        return ".".join(self.rng.choice(self.labels) for _ in range(self.rng.randint(1, 3)))

    def address(self, size: int) -> int:
        """An address near the world's own: one bit in it may be another."""
        number = int.from_bytes(self.bytes4 if size == 32 else self.bytes16)
        return number ^ (1 << self.rng.randrange(size) if self.rng.random() < 0.7 else 0)

    def rules(self, count: int) -> list[str]:
        """Write some rules, of which a third have the hosts of others."""
        bodies = [self._body() for _ in range(count)]
        return [self._rule(self.rng.choice(bodies) if self.rng.random() < 0.3 else body) for body in bodies]

    def _body(self) -> str:
        rng = self.rng
        kind = rng.randrange(8)
        if kind < 2:
            body = ("", ".")[kind] + self.name()
        elif kind < 4:
            body = "*." + self.name()
        elif kind < 6:
            body = (
                re.sub("^.", "*", self.name()) if kind == 4 else f"{rng.choice(('a', 'ab', 'abc', 'x'))}*.{self.name()}"
            )
            body = body if "." in body else f"*{body}.{rng.choice(self.labels)}"
        else:
            size, bits = ((32, rng.randint(1, 32)), (128, rng.randint(1, 128)))[kind - 6]
            number = self.address(size) >> (size - bits) << (size - bits)
            body = f"{IPv4Address(number)}/{bits}" if size == 32 else f"[{IPv6Address(number)}/{bits}]"
        return body

    def _rule(self, body: str) -> str:
        rng = self.rng
        scheme = rng.choice(("", "", "", "http://", "https://"))
        port = rng.choice(("", "", "", *(f":{port}" for port in _PORTS)))
        action, options = rng.choice(
            (("", ""), ("", ""), ("bypass ", ""), ("tunnel ", ""), ("block ", ""), ("", _WANTED))
        )
        return action + scheme + body + port + options

    def host(self) -> str:
        """Write a host as a browser does; the plain forms of many are alike."""
        kind = self.rng.randrange(10)
        if kind < 6:
            name = self.name()
            return name.upper() + "." if kind == 5 else name
        if kind < 8:
            return str(IPv4Address(self.address(32)))
        address = IPv6Address(self.address(128))
        return f"[{address}]" if kind == 9 else address.exploded


_WANTED: Final = " region=NL,DE mode=privacy max_tariff=3 isolated"


def disagreements(cases: int, seed: int) -> Iterator[tuple[list[str], Visit, str]]:
    """Give the cases in which not all decide alike, with what is wrong."""
    rng = random.Random(seed)
    for _ in range(0, cases, VISITS):
        world = World.make(rng)
        texts = world.rules(rng.randint(0, 12))
        rules = RuleSet(Rule.parse(text) for text in texts)
        script, kept = write_pac(rules, PROXY)
        shorter = shortlist(rules, 6_000 + rng.randrange(200))
        context = quickjs.Context()
        context.eval(script)
        for _ in range(VISITS):
            scheme = rng.choice(_SCHEMES)
            shows_port = scheme == "ftp" or rng.random() < 0.6
            port = rng.choice(_PORTS) if shows_port else 80 if scheme in ("http", "ws") else 443
            visit = Visit(scheme, world.host(), port, shows_port)
            wanted = oracle.decide(rules.rules, oracle.plain(visit.host), port, scheme)
            action = Action.TUNNEL if wanted is None else wanted.action
            told = context.eval(f"FindProxyForURL({json.dumps(visit.url)}, {json.dumps(visit.host)})")
            if rules.decide(visit.host, port, scheme).rule is not wanted:
                yield texts, visit, f"the proxy decides by {rules.decide(visit.host, port, scheme).rule}, not {wanted}"
            if told != ("DIRECT" if action is Action.BYPASS else VIA):
                yield texts, visit, f"the script says {told}, and the rules {action.value}"
            if (kept.decide(visit.host, port, scheme).action is Action.BYPASS) is not (action is Action.BYPASS):
                yield texts, visit, "the script's own rules decide otherwise"
            if shorter.decide(visit.host, port, scheme).action is Action.BYPASS and action is not Action.BYPASS:
                yield texts, visit, "a shorter script bypasses what the rules do not"


def main() -> None:
    cases, seed = (int(text) for text in (*sys.argv[1:], *("200000", "1")[len(sys.argv) - 1 :]))
    found = next(disagreements(cases, seed), None)
    print(f"{cases} cases agree" if found is None else found)
    sys.exit(found is not None)


if __name__ == "__main__":
    main()
