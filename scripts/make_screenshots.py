"""Make the screenshots of the documents: the dashboard of a demo that carries something, and the browser button.

Usage, from the root of the repository: .venv/bin/python -m scripts.make_screenshots

It starts `macrovpn demo` with a site of its own, and drives Chromium and Firefox, which must be installed. As root.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from playwright.sync_api import sync_playwright

from bench.load import Way
from bench.network import demo, local_origin
from scripts.extension_screenshots import pictures

if TYPE_CHECKING:
    from playwright.sync_api import Page

FOLDER: Final = Path(__file__).resolve().parent.parent / "docs" / "images"
REGIONS: Final = {"relay-1": "CH", "relay-2": "SE", "relay-3": "PT", "relay-4": "FI"}
NETWORK: Final = (
    *("--relays", "4", "--exits", "2", "--exit-region", "NL", "--exit-region", "CA", "--region", "CA"),
    *(part for who, region in REGIONS.items() for part in ("--set", f"{who}:node.region={region}")),
)
DOWNLOADS: Final = (20_000_000, 5_000_000, 60_000_000, 1_000_000, 40_000_000)
LOOKS: Final[dict[str, dict[str, Any]]] = {
    "dashboard": {"color_scheme": "light", "viewport": {"width": 1180, "height": 1000}},
    "dashboard-dark": {"color_scheme": "dark", "viewport": {"width": 1180, "height": 1000}},
}


def main() -> None:
    """Write them all."""
    FOLDER.mkdir(exist_ok=True)
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("Chromium is missing: apt-get install chromium")
    with local_origin() as origin, demo(*NETWORK) as network, sync_playwright() as programs:
        way = Way(network.proxy, origin)
        client = network.client
        browser = programs.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, look in LOOKS.items():
            page = browser.new_context(**look).new_page()
            page.goto(f"{client.url}/#{client.code('page')['code']}")
            page.get_by_role("heading", name="Now").wait_for()
            for size in DOWNLOADS:
                way.get(size)
                _seconds_pass(page, 1)
            page.screenshot(path=FOLDER / f"{name}.png")
        browser.close()
    asyncio.run(_button())


async def _button() -> None:
    async for name, picture in pictures(*NETWORK):
        (FOLDER / f"{name}.png").write_bytes(picture)


def _seconds_pass(page: Page, seconds: int) -> None:
    """Wait until the page has heard of so many more seconds."""
    page.wait_for_timeout(1000 * seconds)


if __name__ == "__main__":
    main()
