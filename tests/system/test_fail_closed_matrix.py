"""Every state of a node, with every kind of client: what reaches a site directly that no rule names.

What no proxy can close stands in the table as it is: a browser that is told a PAC's address goes direct where it cannot
load it, and it loads it again while it runs. Chromium's fixed proxy and a PAC as data have no such cell.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.harness import namespaces
from tests.harness.chromium import CHROMIUM
from tests.harness.demo import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

NAMESPACE: Final = "macrovpn-closed"

NOTHING, DIRECT, THROUGH = {"nothing"}, {"direct"}, {"through"}
OPEN: Final = NOTHING | DIRECT
"""Which one depends on when the browser looks for its PAC again."""

PROGRAMS: Final = ("socks", "http")
TOLD: Final = ("pac-url", "pac-data", "fixed", "http")

type Cell = tuple[set[str], set[str]]
"""What may happen with the tunnelled site, and with the one that a rule names."""


def row(url: Cell, fixed: Cell, programs: Cell | None = None, udp: Cell = (NOTHING, NOTHING)) -> dict[str, Cell]:
    """One state: a browser with the PAC's address, one with either of the others, SOCKS and HTTP clients, UDP."""
    cells = {"pac-url": url, "pac-data": fixed, "fixed": fixed}
    if programs is not None:
        cells |= dict.fromkeys(PROGRAMS, programs) | {"udp": udp}
    return cells


BY_RULE: Final[Cell] = (NOTHING, DIRECT)
WORKS: Final[Cell] = (THROUGH, DIRECT)
DEAD: Final[Cell] = (NOTHING, NOTHING)

EXPECTED: Final[dict[str, dict[str, Cell]]] = {
    "never started": row((DIRECT, DIRECT), BY_RULE, DEAD),
    "no peers": row(BY_RULE, BY_RULE, BY_RULE),
    "up": row(WORKS, WORKS, WORKS, (THROUGH, NOTHING)),
    "switched off": row(BY_RULE, BY_RULE, DEAD),
    "suspended": row((NOTHING, OPEN), BY_RULE, DEAD),
    "resumed": row(WORKS, WORKS, WORKS, (THROUGH, NOTHING)),
    "crashed": row((OPEN, DIRECT), BY_RULE, DEAD),
    "restarted": row(WORKS, WORKS, WORKS, (THROUGH, NOTHING)),
    "cap reached": row(BY_RULE, BY_RULE, BY_RULE),
    "down, and another network": row((DIRECT, DIRECT), BY_RULE),
    "no path": row(BY_RULE, BY_RULE, BY_RULE),
    "PAC answers 404": {"pac-url": (DIRECT, DIRECT)},
    "PAC answers nothing": {"pac-url": DEAD},
}

WORDS: Final = {
    "no peers": ("No path", "macrovpn status"),
    "no path": ("No path", "macrovpn status"),
    "cap reached": ("Your spending cap is reached, so nothing was sent.", "macrovpn wallet cap"),
}
"""What everybody to whom words can be said is told, and what to do: all but SOCKS5 and datagrams, which have none."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What happened in all of them, one after the other, on a machine with nothing else on it."""
    if reason := namespaces.why_not("curl", CHROMIUM):
        pytest.skip(reason)
    namespaces.delete(NAMESPACE)
    namespaces.add(NAMESPACE)
    try:
        folder = tmp_path_factory.mktemp("closed")
        command = [*namespaces.enter(NAMESPACE), sys.executable, "-m", "tests.harness.closed", str(folder)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
        assert done.returncode == 0, done.stderr
        yield json.loads(done.stdout)
    finally:
        namespaces.delete(NAMESPACE)


@pytest.mark.parametrize(
    ("state", "client"), [(state, client) for state, cells in EXPECTED.items() for client in cells]
)
def test_what_leaves_directly(found: dict[str, Any], state: str, client: str) -> None:
    tunnelled, bypassed = found["seen"][state][client]
    may_tunnelled, may_bypassed = EXPECTED[state][client]
    assert tunnelled in may_tunnelled
    assert bypassed in may_bypassed


@pytest.mark.parametrize(("state", "client"), [(state, client) for state in WORDS for client in TOLD])
def test_who_gets_nothing_is_told_why(found: dict[str, Any], state: str, client: str) -> None:
    for words in WORDS[state]:
        assert words in found["said"][state][client]


def test_status_says_that_the_cap_is_reached(found: dict[str, Any]) -> None:
    assert found["said"]["cap reached"]["status"] == "Your spending cap is reached, so nothing was sent."


@pytest.mark.parametrize("state", EXPECTED)
def test_no_connection_comes_directly_without_a_word(found: dict[str, Any], state: str) -> None:
    """Browsers open connections ahead of requests."""
    assert found["seen"].keys() == EXPECTED.keys()
    if not any("direct" in tunnelled for tunnelled, _ in EXPECTED[state].values()):
        assert found["strays"][state] == []
