"""What a new user does: the actions under "One click" in README.md, taken in their order, each of them timed.

    python -m tests.harness.first_steps [chromium | firefox]

Their commands are run as they stand there, in a new clone of what is committed here. Beside them there is a site of the
test's own, which the exits reach since `make demo` gets options that say so. What is installed comes from where this
machine gets its packages. For Firefox the second action is the one of docs/extension.md. No file dialog can be clicked
through here: Chromium is given the folder at its start, and Firefox over WebDriver BiDi.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from playwright.async_api import async_playwright

from tests.harness.buttons import Button, ChromiumButton, chromium, eventually, firefox, pair, press
from tests.harness.demo import ROOT, until
from tests.harness.firefox import CLOSED, UNASKED
from tests.harness.origin import NameServer, Origin

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

FIRST_CLONE: Final = 300.0
"""Seconds for `make demo`, with all that it installs before."""
SECONDS: Final = 20.0
HEADING: Final = "One click"
SITE: Final = "site.test"
_ACTION: Final = re.compile(r"^[0-9]+\. (.*\n(?:   .*\n|\n(?=   ))*)", re.MULTILINE)
_COMMAND: Final = re.compile(r"^ *```\n(.+?)\n *```$", re.MULTILINE | re.DOTALL)
_CODE_LINE: Final = re.compile(r"^A code for the browser button: macrovpn pair --home (.+)$", re.MULTILINE)
_OUTER: Final = frozenset({"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON", "VIRTUAL_ENV"})
"""What a `make` and an environment around this would have those inside do."""


class Action(NamedTuple):
    """One thing that a user does.

    Attributes:
        text: what README.md says.
        command: to be run in a terminal; empty where nothing is.
    """

    text: str
    command: str


def actions(readme: str) -> list[Action]:
    """Read the actions of a text."""
    _, _, rest = readme.partition(f"\n## {HEADING}\n")
    section = rest.partition("\n## ")[0]
    found = []
    for text in _ACTION.findall(section):
        command = _COMMAND.search(text)
        found.append(Action(" ".join(_COMMAND.sub("", text).split()), command[1].strip() if command else ""))
    return found


class NewUser:
    """Somebody who has nothing yet but browsers and a folder, whose name has a space.

    Args:
        stack: what is started here ends with it.
        folder: is empty.
        browser: `chromium` or `firefox`.
    """

    def __init__(self, stack: AsyncExitStack, folder: Path, browser: str) -> None:
        self._stack = stack
        self._folder = folder / "a new user"
        self._folder.mkdir()
        self._browser = browser
        self._origin = stack.enter_context(Origin(folder))
        self._names = stack.enter_context(NameServer())
        self._page = f"http://{SITE}:{self._origin.http}/"
        self._home = self._code = ""
        self._button: Button | None = None
        self.seen: list[str] = []
        """What the site saw: first without the network, then through it, then without it again."""

    async def follow(self, action: Action) -> None:
        """Do it. Its command, or else its text, has to say one of the things that a user does here."""
        ways: dict[str, Callable[[], Awaitable[None]]] = {
            "make demo": partial(self._start, action.command),
            "Load unpacked": self._load,
            "macrovpn pair": partial(self._ask_for_code, action.command),
            "Type the code": self._type,
            "Click the button": self._click,
        }
        (way,) = (way for words, way in ways.items() if words in (action.command or action.text.replace("*", "")))
        await way()

    @property
    def button(self) -> Button:
        assert self._button is not None, "the extension is not loaded yet"
        return self._button

    async def _start(self, command: str) -> None:
        options = f"--allow-destination 127.0.0.0/8 --resolver {self._names.endpoint}"
        command = command.replace("ADDRESS", f"'{ROOT}'").replace("make demo", f"make demo ARGS='{options}'")
        log = self._folder / "terminal"
        self._stack.enter_context(_terminal(command, self._folder, log))
        found = await asyncio.to_thread(until, "the demo", lambda: _CODE_LINE.search(log.read_text()), FIRST_CLONE)
        self._home = found[1]

    async def _load(self) -> None:
        clone = self._folder / "macro-vpn"
        if self._browser == "firefox":
            _run("make extension", clone)
            environment = {"PATH": os.environ["PATH"], "HOME": str(self._folder)}
            unpacked = clone / "dist" / "macrovpn-firefox"
            settings = CLOSED | UNASKED | {"network.dns.localDomains": SITE}
            running = firefox(self._folder / "profile", unpacked, environment, settings)
            self._button = await self._stack.enter_async_context(running)
        else:
            playwright = await self._stack.enter_async_context(async_playwright())
            start = playwright.chromium.launch_persistent_context
            rule = f"--host-resolver-rules=MAP {SITE} 127.0.0.1"
            opened = chromium(start, self._folder / "profile", rule, ours=clone / "extension")
            self._button = button = await self._stack.enter_async_context(opened)
            button.tab = await button.context.new_page()  # the first one shows the page that pairs
        self.seen.append(await self.button.open(self._page))

    async def _ask_for_code(self, command: str) -> None:
        printed = await asyncio.to_thread(_run, command.replace("HOME", self._home), self._folder)
        self._code = printed.split()[0]

    async def _type(self) -> None:
        if isinstance(self.button, ChromiumButton):
            address = self.button.address("pair.html")
            (page,) = (page for page in self.button.context.pages if page.url == address)
            await page.locator("#code").press_sequentially(self._code)
            await page.keyboard.press("Enter")
            await page.get_by_text("Paired. Click the button").wait_for()
        else:
            assert (await pair(self.button, self._code)).startswith("Paired.")

    async def _click(self) -> None:
        await self.button.click()
        await eventually(self.button.badge, lambda text: text not in ("", "…", "!"))
        self.seen.append(await self.button.open(self._page))

    async def turn_off(self) -> None:
        """Click, and press Enter, which goes to the switch."""
        focused = partial(self.button.popup, "() => document.activeElement.id")
        if isinstance(self.button, ChromiumButton):
            await eventually(focused, "switch".__eq__)
            await self.button.enter()
        else:
            await self.button.popup(press("switch"))
        await eventually(self.button.badge, "".__eq__)
        self.seen.append(await self.button.open(self._page))


def _run(command: str, folder: Path) -> str:
    """Run a command as in a terminal; return what it prints."""
    done = subprocess.run(
        ["bash", "-ec", command],
        cwd=folder,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


@contextmanager
def _terminal(command: str, folder: Path, log: Path) -> Iterator[None]:
    """Run a command in a terminal of its own, and press Ctrl-C at the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-ec", command],
            cwd=folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _OUTER}


async def take(folder: Path, browser: str = "chromium") -> tuple[list[tuple[float, Action]], list[str]]:
    """Take all actions of README.md.

    Args:
        folder: is empty.
        browser: `chromium` or `firefox`.

    Returns:
        The actions with the seconds that each took; and what the site saw before, then, and after it was turned off.
    """
    taken = []
    async with AsyncExitStack() as stack:
        user = NewUser(stack, folder, browser)
        for action in actions((ROOT / "README.md").read_text(encoding="utf-8")):
            began = time.monotonic()
            await user.follow(action)
            taken.append((time.monotonic() - began, action))
        await user.turn_off()
    return taken, user.seen


def table(taken: list[tuple[float, Action]]) -> str:
    """Write down what was taken, a line for each action and one for all of them."""
    lines = [f"{seconds:6.1f} s  {action.command or action.text}" for seconds, action in taken]
    return "\n".join([*lines, f"{sum(seconds for seconds, _ in taken):6.1f} s  {len(taken)} actions"])


def main() -> None:
    """Take them, and print how long each took and what the site saw."""
    with tempfile.TemporaryDirectory() as folder:
        taken, seen = asyncio.run(take(Path(folder), *sys.argv[1:2]))
    print(table(taken))
    print("The site saw:", *(repr(text) for text in seen))


if __name__ == "__main__":
    main()
