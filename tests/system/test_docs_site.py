"""The site of the documents as `make docs` builds and shows it, and what a browser asks for when it looks at it."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Error, sync_playwright

from tests.harness.chromium import CHROMIUM, QUIET
from tests.harness.demo import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

pytestmark = [pytest.mark.system, pytest.mark.long]

PAGES = ("index", "first-steps", "troubleshooting", "protocol", "design/0018-who-vouches")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where the site is shown."""
    command = ["make", "docs", "ARGS=serve --port 0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, process_group=0) as serving:
        assert serving.stdout is not None
        said = []
        for line in serving.stdout:
            said.append(line)
            if line.startswith("http://"):
                break
        try:
            assert said[-1].startswith("http://"), "".join(said)
            yield said[-1].split()[0]
        finally:
            os.killpg(serving.pid, signal.SIGTERM)


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as programs:
        browser = programs.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser.new_page()
        browser.close()


def test_pages_ask_for_nothing_elsewhere(address: str, page: Page) -> None:
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    for name in PAGES:
        page.goto(f"{address}{name}.html", wait_until="networkidle")
        assert page.title().endswith("Macro VPN")
    page.get_by_role("button", name="Search").first.click()
    page.keyboard.type("captcha")
    page.get_by_text("A site refuses me").wait_for()
    assert errors == []
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert len(asked) > 3 * len(PAGES)


def test_pages_can_ask_for_nothing_elsewhere(address: str, page: Page) -> None:
    page.goto(f"{address}index.html")
    assert page.evaluate("fetch('search.json').then((answer) => answer.status)") == 200
    with pytest.raises(Error, match="Failed to fetch"):
        page.evaluate(f"fetch('{address.replace('127.0.0.1', 'localhost')}search.json', {{ mode: 'no-cors' }})")


def test_files_of_the_repository_are_there(address: str, page: Page) -> None:
    page.goto(f"{address}design/0018-who-vouches.html")
    page.get_by_role("link", name="flood", exact=True).click()
    assert "def test_" in page.inner_text("body")
