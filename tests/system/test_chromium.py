"""A real browser with the printed PAC."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

from tests.harness.chromium import CHROMIUM, QUIET

if TYPE_CHECKING:
    from tests.harness.demo import Demo
    from tests.harness.origin import NameServer, Origin

pytestmark = pytest.mark.system


@pytest.mark.skipif(shutil.which(CHROMIUM) is None, reason="Debian's package chromium is not installed")
def test_pages_by_name_through_three_hops_and_a_bypassed_one_directly(
    demo: Demo, origin: Origin, names: NameServer
) -> None:
    names.asked.clear()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                *QUIET,
                f"--proxy-pac-url={demo.pac}",
                # The browser itself can find only the bypassed host; the other one is found by the exit or not at all.
                "--host-resolver-rules=MAP direct.test 127.0.0.1, MAP site.test ~NOTFOUND",
            ],
        )
        try:
            page = browser.new_page(ignore_https_errors=True)
            page.goto(f"https://site.test:{origin.https}/tunnelled", timeout=20_000)
            through = page.inner_text("#who")
            page.goto(f"https://direct.test:{origin.https}/bypassed", timeout=20_000)
            past = page.inner_text("#who")
        finally:
            browser.close()
    assert through.startswith("127.22.0.")
    assert past == "127.0.0.1"
    assert "site.test" in names.asked
    assert "direct.test" not in names.asked
    sources = {host.split(":")[0]: source for source, host in origin.seen if host}
    assert sources["site.test"].startswith("127.22.0.")
    assert sources["direct.test"] == "127.0.0.1"
