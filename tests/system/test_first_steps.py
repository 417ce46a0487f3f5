"""A new user's way from nothing to a page through the network, as README.md describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.harness.chromium import CHROMIUM
from tests.harness.demo import ROOT
from tests.harness.first_steps import Action, actions, table, take
from tests.harness.namespaces import why_not

if TYPE_CHECKING:
    from pathlib import Path

MISSING: Final = why_not("git", "make", CHROMIUM)
MOST_ACTIONS: Final = 5


def test_what_readme_asks_for_is_few_actions() -> None:
    found = actions((ROOT / "README.md").read_text(encoding="utf-8"))
    assert 1 < len(found) <= MOST_ACTIONS
    assert "make demo" in found[0].command


def test_each_number_is_an_action() -> None:
    one, two = "1. Get\n   it:\n\n   ```\n   make it\n   ```\n", "2. Click\n   here.\n3. Wait.\n"
    text = f"# A\n\n1. No.\n\n## One click\n\nWords:\n\n{one}\n{two}\nMore.\n\n## B\n\n1. No.\n"
    assert actions(text) == [Action("Get it:", "make it"), Action("Click here.", ""), Action("Wait.", "")]


@pytest.mark.system
@pytest.mark.long
@pytest.mark.timeout(420)
@pytest.mark.skipif(bool(MISSING), reason=MISSING)
async def test_a_new_user_gets_there(tmp_path: Path) -> None:
    taken, seen = await take(tmp_path)
    print(table(taken))
    before, through, after = (text.partition("/")[0].strip() for text in seen)
    assert (before, after) == ("127.0.0.1", "127.0.0.1")
    assert through.startswith("127.22.0.")
