"""A laptop with a real node on networks of its own: what goes direct, and that it ends when the network does."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.harness.demo import ROOT, until
from tests.harness.manager import PROFILE
from tests.harness.namespaces import why_not
from tests.harness.roaming import GATEWAY, MAC, WEB, Journey

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.system

NET: Final = ("--network", "home")
OBEYED_S: Final = 5.0
"""Within so long a change of the network must be obeyed."""
HOME, AWAY = Journey.HOME, Journey.AWAY
DIRECT_HOME, DIRECT_AWAY = Journey.OUTSIDE[HOME], Journey.OUTSIDE[AWAY]


@pytest.fixture
def journey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journey]:
    if reason := why_not("nft", "curl", "dbus-daemon"):
        pytest.skip(reason)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path / 'bus'}")
    with Journey(tmp_path) as built:
        yield built


def connect(journey: Journey) -> str:
    """Make an exit on the Internet and a client on the laptop; give its proxy."""
    journey.internet.command("network", "create", "home")
    where = ("--address", WEB, "--port", "4433", "--allow-destination", f"{WEB}/32")
    journey.internet.command("share", *NET, "--role", "exit", *where, "--background")
    journey.laptop.command("network", "join", journey.internet.command("network", "invite", "home")["invite"])
    journey.laptop.try_command("up", *NET, "--hops", "1")  # it goes on where a busy machine takes longer than it waits
    proxy: str = journey.laptop.command("status", *NET)["proxy"]
    tunnels(journey, proxy)
    return proxy


def tunnels(journey: Journey, proxy: str) -> None:
    """Wait until a page comes through the tunnel."""
    until("the tunnel", lambda: journey.laptop.curl(journey.page, proxy) == WEB, 30)


def trust(journey: Journey) -> dict[str, Any]:
    """Where the node on the laptop says that it stands, asked as often as one likes."""
    facts = json.loads((journey.laptop.home / "networks" / "home" / "control.json").read_text())
    token = Path(facts["token_file"]).read_text().strip()
    command = journey.laptop.inside("curl", "-s", "-H", f"Authorization: Bearer {token}", f"{facts['url']}/v1/status")
    status = json.loads(subprocess.run(command, capture_output=True, timeout=10, check=True).stdout)
    found: dict[str, Any] = status["trust"]
    assert bool(status["direct_because"]) is (found["state"] == "trusted")
    return found


def ask_quickly(journey: Journey, proxy: str) -> None:
    """Ask for the page, and do not wait for what does not come."""
    command = journey.laptop.inside("curl", "-s", "--max-time", "0.5", "--proxy", f"socks5h://{proxy}", journey.page)
    subprocess.run(command, capture_output=True, timeout=10, check=False)


@contextmanager
def held(journey: Journey, proxy: str) -> Iterator[subprocess.Popen[bytes]]:
    """A connection over which something comes until it ends."""
    command = journey.laptop.inside("curl", "-sN", "--proxy", f"socks5h://{proxy}", f"{journey.page}hold")
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(1)
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def managed(tmp_path: Path, device: str, key_mgmt: str) -> Iterator[None]:
    """A NetworkManager that joined a network by a device."""
    command = [sys.executable, "-m", "tests.harness.manager", str(tmp_path / "bus"), device, key_mgmt]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield


def leave(journey: Journey, proxy: str, state: str) -> None:
    """Go from home to the imitator while a connection goes direct: it is cut, and from then on nothing goes direct.

    Args:
        state: what the node has to say within 5 s.
    """
    with held(journey, proxy) as connection:
        assert journey.asked_from()[-1] == DIRECT_HOME
        before = len(journey.asked_from())
        left_at = time.monotonic()
        journey.go_to(AWAY)
        while connection.poll() is None or trust(journey)["state"] != state:
            ask_quickly(journey, proxy)
            assert time.monotonic() < left_at + OBEYED_S
    tunnels(journey, proxy)
    assert set(journey.asked_from()[before:]) == {WEB}, "nothing past the tunnel, not even at first"


def test_a_laptop_between_two_networks_that_look_the_same(journey: Journey, tmp_path: Path) -> None:
    proxy = connect(journey)
    assert trust(journey)["state"] == "off"

    added = journey.laptop.command("trust", "add", "nest", *NET)
    assert added == {"name": "nest", "text": f"nest: gateway={GATEWAY} mac={MAC}", "asks": True}
    until("the question", lambda: trust(journey) == {"state": "asking", "name": "nest", "confirmed": False})
    assert journey.laptop.curl(journey.page, proxy) == WEB, "what can be imitated only asks"
    confirmed = journey.laptop.command("trust", "confirm", *NET)
    assert confirmed == trust(journey) == {"state": "trusted", "name": "nest", "confirmed": True}
    assert journey.laptop.curl(journey.page, proxy) == DIRECT_HOME
    leave(journey, proxy, "asking")

    with managed(tmp_path, HOME, "wpa-psk"):
        journey.go_to(HOME)
        journey.laptop.command("trust", "remove", "nest", *NET)
        added = journey.laptop.command("trust", "add", "nest", *NET)
        assert added["text"] == f"nest: ssid=My%20Wifi security=wpa profile={PROFILE}"
        until("the trust", lambda: trust(journey) == {"state": "trusted", "name": "nest", "confirmed": False})
        assert journey.laptop.curl(journey.page, proxy) == DIRECT_HOME, "what proved itself is trusted by itself"
        leave(journey, proxy, "elsewhere")
    assert DIRECT_AWAY not in journey.asked_from()
