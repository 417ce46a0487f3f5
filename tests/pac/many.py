"""Random rules and URLs, decided by the PAC script, by the proxy's rules and by trying all of them.

    python -m tests.pac.many [CASES] [SEED]

says how many cases agreed, and shows the first that did not.
"""

from __future__ import annotations

import json
import random
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

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


def random_rule(rng: random.Random) -> str:
    """Write a rule of any form."""
    kind = rng.randrange(8)
    if kind < 5:
        body = _name(rng)
        if kind == 1:
            body = "." + body
        elif kind == 2:
            body = "*." + body
        elif kind > 2:
            labels = body.split(".")
            labels[0] = "".join(rng.choice("ab*-") for _ in range(rng.randint(1, 5)))
            body = ".".join([*labels, rng.choice(_LABELS)]) if "*" in labels[0] else body
    elif kind < 7:
        bits = rng.randint(1, 32)
        number = int.from_bytes(bytes(rng.choice(_OCTETS) for _ in range(4)))
        body = ".".join(map(str, (number >> (32 - bits) << (32 - bits)).to_bytes(4))) + f"/{bits}"
    else:
        bits = rng.randint(1, 128)
        number = int("".join(f"{rng.choice(_GROUPS):04x}" for _ in range(8)), 16) >> (128 - bits) << (128 - bits)
        text = f"{number:032x}"
        body = "[" + ":".join(text[at : at + 4] for at in range(0, 32, 4)) + f"/{bits}]"
    scheme = rng.choice(("", "", "", "http://", "https://"))
    port = rng.choice(("", "", "", *(f":{port}" for port in _PORTS)))
    action, options = rng.choice((("", ""), ("", ""), ("bypass ", ""), ("tunnel ", ""), ("block ", ""), ("", _WANTED)))
    return action + scheme + body + port + options


_WANTED: Final = " region=NL,DE mode=privacy max_tariff=3 isolated"


def random_host(rng: random.Random) -> str:
    """Write a host as a browser does; the plain forms of many are alike."""
    kind = rng.randrange(10)
    if kind < 6:
        name = _name(rng)
        return name.upper() + "." if kind == 5 else name
    if kind < 8:
        return ".".join(str(rng.choice(_OCTETS)) for _ in range(4))
    groups = [rng.choice(_GROUPS) for _ in range(8)]
    text = ":".join(f"{group:x}" for group in groups)
    if kind == 9:
        return f"[{oracle.plain(text)}]"
    return text


def _name(rng: random.Random) -> str:
    return ".".join(rng.choice(_LABELS) for _ in range(rng.randint(1, 4)))


def disagreements(cases: int, seed: int) -> Iterator[tuple[list[str], Visit, str]]:
    """Give the cases in which not all decide alike, with what is wrong."""
    rng = random.Random(seed)
    for _ in range(0, cases, VISITS):
        texts = [random_rule(rng) for _ in range(rng.randint(0, 12))]
        rules = RuleSet(Rule.parse(text) for text in texts)
        script, kept = write_pac(rules, PROXY)
        shorter = shortlist(rules, 6_000 + rng.randrange(100))
        context = quickjs.Context()
        context.eval(script)
        for _ in range(VISITS):
            scheme = rng.choice(_SCHEMES)
            shows_port = scheme == "ftp" or rng.random() < 0.6
            port = rng.choice(_PORTS) if shows_port else 80 if scheme in ("http", "ws") else 443
            visit = Visit(scheme, random_host(rng), port, shows_port)
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
