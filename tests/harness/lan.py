"""A house with servers in its LAN, which have private and public addresses, and the Internet before its router.

    Internet (web server) --- router --+-- LAN --------- this machine, a server
                                       +-- second LAN -- another server

Counters of the kernel's say what TCP and UDP has come to the servers and to the router.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.harness.demo import ROOT, until
from tests.harness.houses import House, end_all
from tests.harness.namespaces import Built, add, delete, enter, ip, run

if TYPE_CHECKING:
    from collections.abc import Iterator

PORT: Final = 8080
ONLY_LAN_PORT: Final = 8081
"""Where only the server in the LAN listens, and nobody of the Internet."""
LINKS_PORT: Final = 4433

WEB_V4, WEB_V6 = "11.81.0.1", "2a0b:81::1"
OUTSIDE_V4: Final = "11.80.0.2"
"""The router's public address. It forwards `PORT` to the server in the LAN, also for who asks from inside."""

MACHINE: Final = ("192.168.7.2/24", "11.90.0.2/24", "2a0c:90:0:1::2/64")
ROUTER: Final = ("192.168.7.1/24", "11.90.0.1/24", "2a0c:90:0:1::1/64")
SERVER: Final = ("192.168.7.20/24", "11.90.0.20/24", "2a0c:90:0:1::20/64")
SECOND: Final = ("2a0c:90:0:2::20/64",)
"""The site's prefix is 2a0c:90::/48, and only its first segment is connected to this machine."""

NAMES: Final = {
    "nas.local": ["192.168.7.20"],
    "nas.lan": ["192.168.7.20"],
    "nas": ["192.168.7.20"],
    "private.example.org": ["192.168.7.20"],
    "public4.example.org": ["11.90.0.20"],
    "public6.example.org": ["2a0c:90:0:1::20"],
    "second.example.org": ["2a0c:90:0:2::20"],
    "hairpin.example.org": [OUTSIDE_V4],
    "both.example.org": [WEB_V4, "11.90.0.20", "2a0c:90:0:1::20"],
    "web.example.org": [WEB_V4],
    "web6.example.org": [WEB_V6],
}
_ETC: Final = Path("/etc/netns")
"""`ip netns exec` shows the files of a folder here instead of those in `/etc`. Source: ip-netns(8)."""

_COUNTER: Final = """
table inet seen {
    counter arrived { }
    chain arrivals {
        type filter hook prerouting priority raw;
        iifname != "lo" meta l4proto { tcp, udp } counter name arrived
    }
}
"""
_ROUTER: Final = f"""
table inet seen {{
    counter arrived {{ }}
    chain arrivals {{
        type filter hook prerouting priority raw;
        iifname "lan" fib daddr type local meta l4proto tcp counter name arrived
        iifname "lan" fib daddr type local udp dport != 53 counter name arrived
    }}
}}
table ip house {{
    chain forwards {{
        type nat hook prerouting priority dstnat;
        ip daddr {OUTSIDE_V4} meta l4proto {{ tcp, udp }} th dport {PORT} dnat to 192.168.7.20
        ip daddr {OUTSIDE_V4} udp dport {LINKS_PORT} dnat to 192.168.7.2
    }}
    chain translate {{
        type nat hook postrouting priority srcnat;
        ip saddr 192.168.7.0/24 ip daddr 192.168.7.0/24 masquerade
        oifname "up0" masquerade
    }}
}}
"""
_numbers = itertools.count()


class Estate(Built):
    """The house and the Internet. Leaving the context ends and removes all of it.

    Args:
        folder: for homes and logs.

    Attributes:
        house: this machine, in the LAN.
        outside: a machine on the Internet, beside the web server.
    """

    def __init__(self, folder: Path) -> None:
        self.name = f"es{os.getpid() % 100000}n{next(_numbers)}"
        self.house = House(f"{self.name}m", "192.168.7.2", folder / "house")
        self.outside = House(f"{self.name}i", WEB_V4, folder / "outside")
        self._router, self._server, self._second = (f"{self.name}{end}" for end in "rst")
        self._log = folder / "names"
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def asked(self) -> list[str]:
        """The names that the router was asked for."""
        return self._log.read_text().split()

    def inside(self) -> dict[str, int]:
        """Packets that have come to the servers in the house, and to the router itself, DNS aside."""
        return {name: _count(name) for name in (self._router, self._server, self._second)}

    def came_out(self) -> int:
        """Packets that have come to the machine on the Internet."""
        return _count(self.outside.name)

    @contextmanager
    def datagrams(self, proxy: str, *hosts: str) -> Iterator[str]:
        """Send a datagram to `PORT` of each host, from outside through a proxy; gives the first host that answers, and
        keeps the association. The last one has to answer, and nobody else may."""
        command = (sys.executable, "-m", "tests.harness.lan_datagrams", proxy, str(PORT), *hosts)
        with subprocess.Popen(
            self.outside.inside(*command), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            yield process.stdout.readline().rstrip()
            others, _ = process.communicate(timeout=10)
            assert others == ""
            assert process.returncode == 0

    def forget(self) -> None:
        """Begin to count anew."""
        for name in (self.outside.name, self._router, self._server, self._second):
            run(*enter(name), "nft", "reset", "counters")

    def _build(self) -> None:
        for name in (self.outside.name, self._router, self.house.name, self._server, self._second):
            add(name)
        self._lay_wires()
        for name, rules in ((self._router, _ROUTER), *((name, _COUNTER) for name in self._counting())):
            run(*enter(name), "nft", "-f", "-", text=rules)
        self._start_servers()

    def _counting(self) -> tuple[str, ...]:
        return (self.outside.name, self._server, self._second)

    def _lay_wires(self) -> None:
        router, outside = self._router, self.outside.name
        ip("link", "add", "up0", "netns", router, "type", "veth", "peer", "name", "up0", "netns", outside)
        ip("-n", router, "link", "add", "lan", "type", "bridge")
        for number, name in enumerate((self.house.name, self._server)):
            ip("link", "add", "up0", "netns", name, "type", "veth", "peer", "name", f"l{number}", "netns", router)
            ip("-n", router, "link", "set", f"l{number}", "master", "lan", "up")
        ip("link", "add", "up0", "netns", self._second, "type", "veth", "peer", "name", "lan2", "netns", router)
        _settle(outside, "up0", "11.80.0.1/24", "2a0b:80::1/64")
        _settle(outside, "lo", f"{WEB_V4}/32", f"{WEB_V6}/128")
        _settle(router, "up0", f"{OUTSIDE_V4}/24", "2a0b:80::2/64")
        _settle(router, "lan", *ROUTER)
        _settle(router, "lan2", "2a0c:90:0:2::1/64")
        _settle(self.house.name, "up0", *MACHINE)
        _settle(self._server, "up0", *SERVER)
        _settle(self._second, "up0", *SECOND)
        run(*enter(router), "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        for name, *gateways in (
            (outside, "2a0b:80::2"),
            (router, "11.80.0.1", "2a0b:80::1"),
            (self.house.name, "192.168.7.1", "2a0c:90:0:1::1"),
            (self._server, "192.168.7.1", "2a0c:90:0:1::1"),
            (self._second, "2a0c:90:0:2::1"),
        ):
            for gateway in gateways:
                ip("-n", name, "route", "add", "default", "via", gateway)

    def _start_servers(self) -> None:
        names = (sys.executable, "-m", "tests.harness.lan_names", "192.168.7.1", str(self._log), json.dumps(NAMES))
        self._run(self._router, *names)
        for name, ports in (
            (self.outside.name, [PORT]),
            (self._server, [PORT, ONLY_LAN_PORT]),
            (self._second, [PORT]),
        ):
            for port in ports:
                self._run(name, sys.executable, "-m", "tests.harness.lan_site", str(port))
        etc = _ETC / self.house.name
        etc.mkdir(parents=True)
        (etc / "resolv.conf").write_text("nameserver 192.168.7.1\n")
        for page in pages():
            until(page, partial(self.house.curl, page), 20)

    def _run(self, name: str, *command: str) -> None:
        self._processes.append(
            subprocess.Popen([*enter(name), *command], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        )

    def _tear_down(self) -> None:
        end_all((self.house, self.outside), self._processes)
        shutil.rmtree(_ETC / self.house.name, ignore_errors=True)
        for name in (self.outside.name, self._router, self.house.name, self._server, self._second):
            delete(name)


def url(host: str, port: int = PORT) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/page"


def redirect(host: str) -> str:
    """A page of the web that sends the browser on to a host."""
    return f"http://{WEB_V4}:{PORT}/go?{url(host)}"


def inside_hosts() -> list[str]:
    """What stands in the house, by address and by name."""
    addresses = [text.partition("/")[0] for text in (*SERVER, *SECOND)]
    return [*addresses, OUTSIDE_V4, *(name for name in NAMES if not name.startswith(("web", "both")))]


def pages() -> list[str]:
    """Pages that this machine itself can read; all but the last two are in the house."""
    return [*map(url, inside_hosts()), url("both.example.org", ONLY_LAN_PORT), url(WEB_V4), url(WEB_V6)]


def _settle(name: str, device: str, *addresses: str) -> None:
    for address in addresses:
        at_once = ["nodad"] if ":" in address else []
        ip("-n", name, "address", "add", address, "dev", device, *at_once)
    ip("-n", name, "link", "set", device, "up")


def _count(name: str) -> int:
    shown = json.loads(run(*enter(name), "nft", "-j", "list", "counter", "inet", "seen", "arrived"))
    return sum(int(part["counter"]["packets"]) for part in shown["nftables"] if "counter" in part)
