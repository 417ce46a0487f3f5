"""The real settings of desktops, and a real browser that has nothing but them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest
from playwright.sync_api import Error, sync_playwright

from node.desktops import Gnome, Kde
from tests.harness.chromium import QUIET
from tests.harness.demo import ROOT, Demo, command, until
from tests.harness.desk import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

    from node.desktops import Place
    from tests.harness.origin import NameServer, Origin

PROGRAMS: Final = ("gsettings", "kwriteconfig5", "dbus-daemon", "dbus-send", "chromium")

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(
        any(shutil.which(program) is None for program in PROGRAMS),
        reason=f"not all of {', '.join(PROGRAMS)} are installed",
    ),
]


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a user of his own, whose settings lie in it; KDE's programs have a session bus."""
    for name in ("CONFIG", "DATA", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / f".{name.lower()}"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GSETTINGS_BACKEND", "keyfile")
    monkeypatch.setenv("XDG_CURRENT_DESKTOP", "GNOME")
    (tmp_path / ".config").mkdir()
    return tmp_path


@contextmanager
def session_bus() -> Iterator[str]:
    """Run a message bus, and give its address."""
    arguments = ["dbus-daemon", "--session", "--nofork", "--print-address"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as bus:
        assert bus.stdout is not None
        try:
            yield bus.stdout.readline().strip()
        finally:
            bus.terminate()


# -- a node, from its start to all kinds of ends


def up(home: Path, port: int) -> subprocess.Popen[str]:
    """Start a node that knows nobody, and so stays blocked."""
    arguments = ["up", "--system-proxy", "--foreground", "--no-dht", "--port", f"{port}", "--home", str(home)]
    return subprocess.Popen(
        [sys.executable, "-m", "node", *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_settings_of_gnome_over_a_crash_and_an_end(user: Path) -> None:
    gnome = Gnome()
    subprocess.run(["gsettings", "set", "org.gnome.system.proxy", "ignore-hosts", "['*.corp.example']"], check=True)
    before = gnome.read()
    home, port = user / "node", free_port()
    ours = gnome.ours("127.0.0.1", port, before)

    first = up(home, port)
    until("the proxy", lambda: listens(port), 30)
    assert gnome.read() == ours, "they were set before the proxy listened"
    first.kill()
    first.communicate()
    assert not listens(port)
    assert gnome.read() == ours, "browsers reach nothing"
    assert command("status", home=home)["system_proxy"] == "left"
    command("down", home=home)
    assert gnome.read() == before

    last = up(home, port)
    until("the proxy", lambda: listens(port), 30)
    assert gnome.read() == ours
    last.send_signal(signal.SIGINT)
    last.communicate(timeout=30)
    assert last.returncode == 0
    assert gnome.read() == before


# -- a browser


def load(page: Page, url: str) -> str:
    """Load a page and return its text, which begins with whom its server saw, or why there is none."""
    try:
        page.goto(url, timeout=20_000)
        return page.inner_text("body")
    except Error as error:
        return error.message


@pytest.mark.parametrize(("desktop", "kind"), [("GNOME", Gnome), ("KDE", Kde)])
def test_chromium_obeys_the_settings_and_fails_closed(
    user: Path,
    demo: Demo,
    origin: Origin,
    names: NameServer,
    monkeypatch: pytest.MonkeyPatch,
    desktop: str,
    kind: type[Gnome | Kde],
) -> None:
    # Chromium takes KDE 5 and 6 to have their files in ~/.config, whatever XDG_CONFIG_HOME says.
    monkeypatch.setenv("XDG_CONFIG_HOME", str(user / ".config"))
    environment: dict[str, str | float | bool] = {**os.environ, "XDG_CURRENT_DESKTOP": desktop}
    environment["KDE_SESSION_VERSION"] = "6" if desktop == "KDE" else ""
    tunnelled = f"https://site.test:{origin.https}/tunnelled"
    with session_bus() as bus, sync_playwright() as playwright:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus)
        place: Place = kind()
        before = place.read()
        host, _, port = demo.proxy.rpartition(":")
        place.write(place.ours(host, int(port), before))
        args = [*QUIET, "--host-resolver-rules=MAP site.test ~NOTFOUND, MAP evillocalhost 127.0.0.1"]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=args, env=environment)
        try:
            page = browser.new_page(ignore_https_errors=True)
            assert load(page, tunnelled).startswith("127.22.0.")
            assert load(page, f"http://127.0.0.1:{origin.http}/").startswith("127.0.0.1"), "this machine is no site"
            ending = load(page, f"http://evillocalhost:{origin.http}/")
            assert "127.0.0.1" not in ending, "a name that only ends like this machine's is one"
            place.write(place.ours(host, free_port(), before))
            until("closed", lambda: "ERR_PROXY_CONNECTION_FAILED" in load(page, tunnelled), 30)
            place.write(before)
            until("direct", lambda: "ERR_NAME_NOT_RESOLVED" in load(page, tunnelled), 30)
        finally:
            browser.close()
    assert "site.test" in names.asked
