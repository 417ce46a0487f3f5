"""A laptop that goes from one house to another, whose router looks the same; one web server for both.

    laptop -- home's router --+
          \\                   +-- the Internet: a web server and an exit
           \\- the imitator ---+

Both routers have the same addresses, hardware included, and each hides the laptop behind an address of its own. The
web server answers with the address from which it was asked, and counts who asked.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from tests.harness.demo import ROOT, until
from tests.harness.houses import House, end_all
from tests.harness.namespaces import Built, add, delete, enter, ip, put_up, run

if TYPE_CHECKING:
    from pathlib import Path

PORT: Final = 8080
WEB: Final = "11.81.0.1"
GATEWAY: Final = "192.168.7.1"
MAC: Final = "02:00:00:00:00:07"
_LAPTOP: Final = "192.168.7.2/24"
_MASQUERADE: Final = """
table ip house {
    chain translate {
        type nat hook postrouting priority srcnat;
        oifname "up0" masquerade
    }
}
"""
_numbers = itertools.count()


class Journey(Built):
    """The laptop, both houses and the Internet. At first the laptop is at home.

    Args:
        folder: for homes of nodes, and for the log of the web server.

    Attributes:
        laptop: its devices are `home0` and `away0`, of which one is up.
        internet: the machine with the web server.
    """

    HOME, AWAY = "home0", "away0"
    OUTSIDE: Final = {HOME: "11.80.1.2", AWAY: "11.80.2.2"}
    """What the laptop looks like to the web server, by its device."""

    def __init__(self, folder: Path) -> None:
        self.name = f"jo{os.getpid() % 100000}n{next(_numbers)}"
        self.laptop = House(f"{self.name}l", "192.168.7.2", folder / "laptop")
        self.internet = House(f"{self.name}i", WEB, folder / "internet")
        self._routers = {self.HOME: f"{self.name}h", self.AWAY: f"{self.name}a"}
        self._log = folder / "asked"
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def page(self) -> str:
        """URL of a page that says from where it was asked for."""
        return f"http://{WEB}:{PORT}/"

    def asked_from(self) -> list[str]:
        """From where the web server was asked, in order."""
        return self._log.read_text().split() if self._log.exists() else []

    def go_to(self, device: str) -> None:
        """Let everything leave by a device from now on. The other one stays as it is."""
        ip("-n", self.laptop.name, "link", "set", device, "up")
        ip("-n", self.laptop.name, "route", "replace", "default", "via", GATEWAY, "dev", device)
        # As if there had been traffic already: who has an address by DHCP knows the router's hardware.
        ip("-n", self.laptop.name, "neigh", "replace", GATEWAY, "lladdr", MAC, "dev", device, "nud", "reachable")

    def _build(self) -> None:
        for name in (self.laptop.name, self.internet.name, *self._routers.values()):
            add(name)
        for number, (device, router) in enumerate(self._routers.items(), 1):
            ip("link", "add", device, "netns", self.laptop.name, "type", "veth", "peer", "name", "lan", "netns", router)
            ip(
                "link",
                "add",
                "up0",
                "netns",
                router,
                "type",
                "veth",
                "peer",
                "name",
                device,
                "netns",
                self.internet.name,
            )
            ip("-n", self.laptop.name, "address", "add", _LAPTOP, "dev", device)
            ip("-n", router, "link", "set", "lan", "address", MAC)
            put_up(router, "lan", f"{GATEWAY}/24")
            put_up(router, "up0", f"{self.OUTSIDE[device]}/24")
            put_up(self.internet.name, device, f"11.80.{number}.1/24")
            ip("-n", router, "route", "add", "default", "via", f"11.80.{number}.1")
            run(*enter(router), "sysctl", "-qw", "net.ipv4.ip_forward=1")
            run(*enter(router), "nft", "-f", "-", text=_MASQUERADE)
        put_up(self.internet.name, "lo", f"{WEB}/32")
        ip("-n", self.internet.name, "route", "add", "default", "via", self.OUTSIDE[self.HOME])
        server = (sys.executable, "-m", "tests.harness.mirror", str(PORT), str(self._log))
        self._processes.append(subprocess.Popen(self.internet.inside(*server), cwd=ROOT))
        self.go_to(self.HOME)
        until("the web server", lambda: self.laptop.curl(self.page))

    def _tear_down(self) -> None:
        end_all((self.laptop, self.internet), self._processes)
        for name in (self.laptop.name, self.internet.name, *self._routers.values()):
            delete(name)
