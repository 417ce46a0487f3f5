"""A new user's way from nothing to a page through the network, as README.md describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.harness.chromium import CHROMIUM
from tests.harness.demo import ROOT, Demo
from tests.harness.first_steps import Action, actions, table, take
from tests.harness.namespaces import add, delete, inside, ip, put_up, why_not
from tests.harness.origin import Origin
from tests.harness.sealed import Sealed

if TYPE_CHECKING:
    from pathlib import Path

MISSING: Final = why_not("git", "make", CHROMIUM)
NO_NETWORKS: Final = why_not("nft", "curl")
MOST_ACTIONS: Final = 5
PUBLIC: Final = "93.184.216.34"
"""An address that exits take for one of the Internet."""


def test_what_readme_asks_for_is_few_actions() -> None:
    found = actions((ROOT / "README.md").read_text(encoding="utf-8"))
    assert 1 < len(found) <= MOST_ACTIONS
    assert "make demo" in found[0].command


def test_each_number_is_an_action() -> None:
    one, two = "1. Get\n   it:\n\n   ```\n   make it\n   ```\n", "2. Click\n   here.\n3. Wait.\n"
    text = f"# A\n\n1. No.\n\n## One click\n\nWords:\n\n{one}\n{two}\nMore.\n\n## B\n\n1. No.\n"
    assert actions(text) == [Action("Get it:", "make it"), Action("Click here.", ""), Action("Wait.", "")]


class Internet(Sealed):
    """One machine, with a site of the Internet at the other end of its only cable."""

    def _build(self) -> None:
        super()._build()
        add(self.site)
        ip("-n", self.name, "link", "set", "nowhere", "netns", self.site)
        put_up(self.site, "nowhere", f"{PUBLIC}/32")
        ip("-n", self.site, "route", "add", "198.51.100.0/24", "dev", "nowhere")

    def _tear_down(self) -> None:
        super()._tear_down()
        delete(self.site)

    @property
    def site(self) -> str:
        return f"{self.name}site"


@pytest.mark.system
@pytest.mark.skipif(bool(NO_NETWORKS), reason=NO_NETWORKS)
def test_the_demo_reaches_the_internet(tmp_path: Path) -> None:
    with (
        Internet() as internet,
        internet.entered(),
        inside(internet.site, lambda: Origin(tmp_path, PUBLIC)) as site,
        Demo("--relays", "2", "--exits", "1", log=tmp_path / "log") as demo,
    ):
        done = demo.curl(f"http://{PUBLIC}:{site.http}/")
    assert "198.51.100.1" in done.stdout, done.stderr + done.stdout


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
