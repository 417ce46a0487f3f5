"""Machines of their own: network namespaces on one wire, with an address, a home, and no way to the Internet."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any, Final

from tests.harness.demo import ROOT, until
from tests.harness.namespaces import Built, add, delete, enter, ip, put_up

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_FIRST: Final = int(IPv4Address("11.66.0.0"))
"""Public addresses, as exits want them for destinations; here nobody else has them."""
ORIGIN_PORT: Final = 8080
_numbers = itertools.count()


class House:
    """One machine.

    Args:
        name: of its namespace.
        address: its IPv4 address on the wire.
        home: the folder of its user's node.
    """

    def __init__(self, name: str, address: str, home: Path) -> None:
        self.name = name
        self.address = address
        self.home = home

    def inside(self, *command: str) -> list[str]:
        return [*enter(self.name), *command]

    def _macrovpn(self, *arguments: str) -> list[str]:
        return self.inside(sys.executable, "-m", "node", *arguments, "--json", "--home", str(self.home))

    def try_command(self, *arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run `macrovpn` as this machine's user."""
        command = self._macrovpn(*arguments)
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False)

    @contextmanager
    def trying(self, *arguments: str) -> Iterator[None]:
        """Run `macrovpn` meanwhile, for nodes that are not expected to get anywhere."""
        command = self._macrovpn(*arguments, "--foreground")
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                yield
            finally:
                process.terminate()

    def command(self, *arguments: str) -> dict[str, Any]:
        """Run `macrovpn`, which must succeed, and return its answer."""
        done = self.try_command(*arguments)
        assert done.returncode == 0, (arguments, done.stderr)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def curl(self, url: str, proxy: str = "") -> str:
        """Fetch a page, where it may have moved to; empty if that fails."""
        way = ["--proxy", f"socks5h://{proxy}"] if proxy else ["--noproxy", "*"]
        command = self.inside("curl", "-sSL", "--globoff", "--max-time", "20", *way, url)
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout


def end_all(houses: Iterable[House], others: Iterable[subprocess.Popen[bytes]]) -> None:
    """End the nodes of all homes, those of private networks among them, and then other processes.

    Args:
        houses: homes that are missing are passed over.
        others: what runs beside them.
    """
    for house in houses:
        if house.home.exists():
            for network in [[], *([["--network", path.name] for path in (house.home / "networks").glob("*")])]:
                with suppress(subprocess.TimeoutExpired):
                    house.try_command("down", *network, timeout_s=20)
    for process in others:
        process.kill()
        process.wait(5)


class Street(Built):
    """The wire, the houses on it, and a web server beside them. Leaving the context ends and removes all of it.

    Args:
        folder: for homes.
        count: how many houses.
    """

    def __init__(self, folder: Path, count: int) -> None:
        number = next(_numbers)
        # Several test runs may live at once, so each has a network of 256 addresses to itself.
        first = _FIRST + 256 * ((os.getpid() * 31 + number) % 256)
        self.name = f"st{os.getpid() % 100000}n{number}"
        self.origin = str(IPv4Address(first + 254))
        self._folder = folder
        self.houses = [
            House(f"{self.name}h{place}", str(IPv4Address(first + 1 + place)), folder / f"house-{place}")
            for place in range(count)
        ]
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def page(self) -> str:
        """URL of a page on the web server."""
        return f"http://{self.origin}:{ORIGIN_PORT}/page"

    def _build(self) -> None:
        add(self.name)
        ip("-n", self.name, "link", "add", "wire", "type", "bridge")
        put_up(self.name, "wire", f"{self.origin}/24")
        for place, house in enumerate(self.houses):
            house.home.mkdir()
            add(house.name)
            end = f"h{place}"
            ip("link", "add", "up0", "netns", house.name, "type", "veth", "peer", "name", end, "netns", self.name)
            put_up(house.name, "up0", f"{house.address}/32")
            ip("-n", house.name, "route", "add", "default", "dev", "up0")  # an exit goes nowhere else
            ip("-n", self.name, "link", "set", end, "master", "wire", "up")
        self._serve()

    def _serve(self) -> None:
        site = self._folder / "site"
        site.mkdir()
        (site / "page").write_text("a page of the web")
        command = [sys.executable, "-m", "http.server", str(ORIGIN_PORT), "--bind", self.origin, "-d", str(site)]
        self._server = subprocess.Popen(
            [*enter(self.name), *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until("the web server", lambda: self.houses[0].curl(self.page))

    def _tear_down(self) -> None:
        end_all(self.houses, [self._server] if self._server is not None else [])
        for name in (*(house.name for house in self.houses), self.name):
            delete(name)
