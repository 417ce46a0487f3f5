"""The dashboard in a real browser."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from playwright.sync_api import sync_playwright

from node.client import NodeClient

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from playwright.sync_api import Browser, Page

CHROMIUM: Final = "/usr/bin/chromium"
SECTIONS: Final = ("now", "route", "what a site sees", "peers", "money", "sharing", "sites", "settings")
REFUSED: Final = "Failed to load resource"
"""So Chromium notes answers from 400 on, which the page deals with."""
LIMIT_MS: Final = 20_000


@contextmanager
def browser(*arguments: str) -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    with browsers(arguments) as (found,):
        yield found


@contextmanager
def browsers(*arguments: Sequence[str]) -> Iterator[list[Browser]]:
    """Several at once, each with options of its own; Playwright runs only once in a process."""
    with sync_playwright() as programs:
        launch = programs.chromium.launch
        found = [launch(executable_path=CHROMIUM, args=["--no-sandbox", *options]) for options in arguments]
        try:
            yield found
        finally:
            for each in found:
                each.close()


@contextmanager
def dashboard(found: Browser, home: Path, **context: Any) -> Iterator[Page]:
    """The page, open and let in. Whatever it says on its console is an error.

    Args:
        found: the browser.
        home: the node's.
        context: of the browser's context, such as `color_scheme`.
    """
    with found.new_context(**context) as kept:
        kept.set_default_timeout(LIMIT_MS)
        page, said = kept.new_page(), []
        page.on("console", lambda message: None if message.text.startswith(REFUSED) else said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address(home))
        page.get_by_role("heading", name="Now").wait_for()
        yield page
        assert not said


def address(home: Path) -> str:
    """Where `macrovpn dashboard` would lead, with a code that counts once."""
    client = NodeClient(home)
    return f"{client.url}/#{client.code('page')['code']}"


def go(page: Page, section: str) -> None:
    """Open one of its sections."""
    page.get_by_role("navigation").get_by_role("link", name=section.capitalize()).click()
    page.get_by_role("heading", level=1, name=section.capitalize()).wait_for()
