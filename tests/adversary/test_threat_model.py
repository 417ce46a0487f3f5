"""`docs/threat-model.md` against the tests that it names, and the README against both."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent.parent
PAGE: Final = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
README: Final = (ROOT / "README.md").read_text(encoding="utf-8")

ROW: Final = re.compile(r"^\| (\d+) \| (.+?) \| (.+) \|$", re.MULTILINE)
NAMED: Final = re.compile(r"`([\w/]+\.py)::(\w+)`")
NOT_PROVEN: Final = "**not proven**: "
SAID: Final = re.compile(r"^\| ([^|]+) \| ([\d, ]+) \|$", re.MULTILINE)
LEFT: Final = re.compile(r"^\| ([^|]*[a-z][^|]*) \|", re.MULTILINE)


class Claim(NamedTuple):
    """One row."""

    number: int
    text: str
    held_by: str

    @property
    def tests(self) -> list[tuple[str, str]]:
        return NAMED.findall(self.held_by)

    @property
    def is_proven(self) -> bool:
        return not self.held_by.startswith(NOT_PROVEN)


CLAIMS: Final = [Claim(int(number), text, held) for number, text, held in ROW.findall(PAGE)]
PARTIES: Final = PAGE[PAGE.index("## Parties") : PAGE.index("## On the line")]


@cache
def names_in(path: str) -> frozenset[str]:
    """Tests and classes that stand at the top of a file below `tests/`."""
    tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return frozenset(node.name for node in tree.body if isinstance(node, kinds))


def attacks() -> dict[str, frozenset[str]]:
    """What stands in the files of `tests/adversary`, but for this one."""
    found = sorted(path for path in Path(__file__).parent.glob("test_*.py") if path != Path(__file__))
    return {f"adversary/{path.name}": names_in(f"adversary/{path.name}") for path in found}


def test_claims_are_numbered() -> None:
    assert [claim.number for claim in CLAIMS] == list(range(1, len(CLAIMS) + 1))
    assert len(CLAIMS) >= 80


def test_every_claim_has_a_test_or_says_that_it_has_none() -> None:
    for claim in CLAIMS:
        if claim.is_proven:
            rest = NAMED.sub("", claim.held_by)
            assert claim.tests, claim
            assert not rest.strip(" ,"), claim
        else:
            assert len(claim.held_by) > len(NOT_PROVEN) + 30, f"why not? {claim}"


def test_every_test_that_is_named_exists() -> None:
    missing = [
        f"{path}::{name}"
        for claim in CLAIMS
        for path, name in claim.tests
        if not (ROOT / "tests" / path).exists() or name not in names_in(path) or not name.startswith("test_")
    ]
    assert not missing


def test_every_attack_is_named_by_a_claim() -> None:
    named = {test for claim in CLAIMS if claim.is_proven for test in claim.tests}
    there = {(path, name) for path, names in attacks().items() for name in names if name.startswith("test_")}
    assert there
    assert not there - named


def test_every_hostile_party_is_in_the_table() -> None:
    there = {(path, name) for path, names in attacks().items() for name in names if name.startswith("Hostile")}
    assert len(there) >= 6
    assert set(NAMED.findall(PARTIES)) == there


def test_the_readme_promises_what_is_claimed() -> None:
    """Each sentence of its table begins as one on the page does, and each of those is in the README."""
    start = README.index("## What it protects")
    table = README[start : README.index("\n\n", README.index("|---|", start))]
    said = dict(SAID.findall(PAGE[PAGE.index("## What the README says") :]))
    promised = LEFT.findall(table)
    assert promised
    assert not [text for text in promised if not any(text.startswith(sentence) for sentence in said)]
    assert not [sentence for sentence in said if not any(text.startswith(sentence) for text in promised)]
    numbers = {claim.number for claim in CLAIMS if claim.is_proven}
    for sentence, claims in said.items():
        assert {int(number) for number in claims.split(", ")} <= numbers, sentence
