"""Homes after all that a user can do with them, read to the last field by `docs/state.md`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest

from node.client import NodeClient
from tests.harness.demo import ROOT, alive, command, status_of, until
from tests.harness.desk import free_port
from tests.proofs.kept import read_home
from tests.proofs.listed import OF_THE_USER, ROWS, read_homes
from tests.proofs.page import unnamed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.origin import Origin

pytestmark = [
    pytest.mark.system,
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("gsettings") is None, reason="gsettings is not installed"),
]

MACROVPN: Final = (sys.executable, "-m", "node")
NET: Final = ("--network", "home")
LOOPBACK: Final = ("--allow-address", "127.0.0.0/8")
EXTENSION: Final = "chrome-extension://" + "abcdefghijklmnop" * 2
USERS: Final = {
    "bypass.rules": '["bypassed.example"]',
    "trust.networks": '["home: ssid=MyWifi security=wpa"]',
    "tunnel.allow_destinations": '["127.0.0.0/8"]',
    "payments.settlement": "local",
}
SERVERS: Final = {"payments.settlement": "local", "payments.tariff": "2", "sharing.monthly_gb": "1"}

CRASHED: Final = {"`money.db-wal`", "`control.json`", "`switched-off`"}
NOT_HERE: Final = {
    *("`pairings.bad`", "`dht.bad`", "`peers.bad`", "`guards.bad`", "`ledger.db-journal`"),
    *("`.NAME.xxxxxxxx`", "`macrovpn-xxxxxxxx/`", "`.macrovpn-demo`", "`shared-ledger.db`", "`dht`", "`guards`"),
}
"""What is damaged, or left by a crash at a bad moment; and what is of the demo, the DHT and paths of several hops: the
homes of those are read by another test."""


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a user of GNOME, whose settings lie in it, and whose browser is a program that does nothing."""
    for name in ("CONFIG", "DATA", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / f".{name.lower()}"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GSETTINGS_BACKEND", "keyfile")
    monkeypatch.setenv("XDG_CURRENT_DESKTOP", "GNOME")
    monkeypatch.setenv("BROWSER", "true")
    (tmp_path / ".config").mkdir()
    return tmp_path


def configure(home: Path, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        command("config", "set", name, value, *NET, home=home)


def serve(home: Path) -> None:
    """Make a private network, and share an exit in it, in the background."""
    command("network", "create", "home", home=home)
    configure(home, SERVERS)
    where = ("--address", "127.41.0.1", *LOOPBACK, "--allow-destination", "127.0.0.0/8")
    start(home, "share", "--role", "exit", *where, "--background")


def up(home: Path) -> None:
    start(home, "up", "--hops", "1", "--system-proxy", *LOOPBACK)


def start(home: Path, command: str, *options: str) -> None:
    """Start a node, and wait until it works. On a busy machine the command gives up before."""
    arguments = (command, *NET, *options, "--home", str(home))
    subprocess.run([*MACROVPN, *arguments], cwd=ROOT, check=False, capture_output=True)
    until("a node", lambda: status_of(home / "networks" / "home").get("state") == "up", 60)


def use(home: Path, origin: Origin) -> None:
    """Load something, pair a browser, open the dashboard, and import a list."""
    network = home / "networks" / "home"
    proxy = status_of(network)["proxy"]
    load = ["curl", "-sf", "--noproxy", "", "--max-time", "20", "-o", "/dev/null", "-x", f"http://{proxy}"]

    def loaded() -> bool:
        return subprocess.run([*load, f"http://127.0.0.1:{origin.http}/bytes/3000000"], check=False).returncode == 0

    until("a download", loaded, 60)
    pair(network)
    subprocess.run([*MACROVPN, "dashboard", *NET, "--home", str(home)], cwd=ROOT, check=True, capture_output=True)
    blocked = home / "ads"
    blocked.write_text("0.0.0.0 one.ads.example\n0.0.0.0 two.ads.example\n")
    command("bypass", "import", str(blocked), *NET, home=home)
    blocked.unlink()


def pair(home: Path) -> None:
    node = NodeClient(home)
    body = json.dumps({"code": node.code("extension")["code"]}).encode()
    headers = {"Origin": EXTENSION, "Content-Type": "application/json"}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(f"{node.url}/v1/pair", body, headers), timeout=10) as answer:
        assert "token" in json.loads(answer.read())


def test_after_all_that_a_user_does(user: Path, origin: Origin) -> None:
    one, other = user / "user", user / "server"
    with ExitStack() as ending:
        ending.callback(partial(end, other))
        serve(other)
        command("network", "join", command("network", "invite", "home", home=other)["invite"], home=one)
        ledger = other / "networks" / "home" / "ledger.db"
        configure(one, USERS | {"proxy.listen": f"127.0.0.1:{free_port()}", "payments.ledger": str(ledger)})
        ending.callback(partial(end, one))
        up(one)
        use(one, origin)
        command("down", *NET, home=one)
        up(one)
        held = read_home(user / ".data" / "macrovpn" / "system-proxy", OF_THE_USER)
        command("off", *NET, home=one)
        pid = NodeClient(one / "networks" / "home").pid
        os.kill(pid, signal.SIGKILL)
        until("its end", lambda: not alive(pid))
        crashed = read_homes([one / "networks" / "home", one])
        up(one)
    kept = read_homes([home for base in (one, other) for home in (base / "networks" / "home", base)])
    rows = {file.row.name for file in (*held, *crashed, *kept)}
    assert unnamed([*held, *crashed, *kept]) == set()
    assert rows == {row.name for row in (*ROWS, *OF_THE_USER)} - NOT_HERE
    assert {file.row.name for file in crashed} >= CRASHED
    assert not CRASHED & {file.row.name for file in kept}


def end(home: Path) -> None:
    subprocess.run([*MACROVPN, "down", *NET, "--home", str(home)], cwd=ROOT, check=False, capture_output=True)
