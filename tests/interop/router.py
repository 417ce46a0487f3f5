"""A home and its router, in network namespaces: a machine inside, the real miniupnpd on the router, a machine outside.

Outside stand public addresses, since miniupnpd maps nothing to others. No packet leaves: nothing joins the namespaces
to this machine.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

from tests.harness.namespaces import Built, add, delete, enter, ip, put_up, run

ROOT: Final = Path(__file__).resolve().parents[2]
INSIDE: Final = "192.168.77.2"
ROUTER_INSIDE: Final = "192.168.77.1"
ROUTER_OUTSIDE: Final = "20.0.0.1"
OUTSIDE: Final = "20.0.0.2"
LIMIT_S: Final = 15.0

RULES: Final = """
table inet filter {
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
        iifname lan0 accept
        jump miniupnpd
    }
    chain miniupnpd { }
    chain prerouting {
        type nat hook prerouting priority -100; policy accept;
        jump prerouting_miniupnpd
    }
    chain postrouting {
        type nat hook postrouting priority 100; policy accept;
        jump postrouting_miniupnpd
        oifname wan0 masquerade
    }
    chain prerouting_miniupnpd { }
    chain postrouting_miniupnpd { }
}
"""


class Router(Built):
    """Leaving the context ends and removes all of it.

    Args:
        folder: for miniupnpd's files.
        number: different for each router of this process.
        upnp: whether it speaks UPnP.
        nat_pmp: whether it speaks NAT-PMP and PCP.
    """

    def __init__(self, folder: Path, number: int, *, upnp: bool, nat_pmp: bool) -> None:
        self._folder = folder
        names = [f"mv{os.getpid() % 100000}{place}{number}" for place in ("in", "ro", "out")]
        self._inside, self._router, self._outside = names
        self._switches = {"enable_upnp": upnp, "enable_natpmp": nat_pmp}
        self._daemon: subprocess.Popen[bytes] | None = None
        self._processes: list[subprocess.Popen[str]] = []

    def _build(self) -> None:
        for name in (self._inside, self._router, self._outside):
            add(name)
        self._join(self._inside, INSIDE, "lan0", ROUTER_INSIDE)
        self._join(self._outside, OUTSIDE, "wan0", ROUTER_OUTSIDE)
        ip("-n", self._inside, "route", "add", "default", "via", ROUTER_INSIDE)
        run(*enter(self._router), "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        self.start_daemon()

    def _join(self, name: str, host: str, port: str, router_host: str) -> None:
        ip("-n", name, "link", "add", "up0", "type", "veth", "peer", "name", port, "netns", self._router)
        put_up(name, "up0", f"{host}/24")
        put_up(self._router, port, f"{router_host}/24")

    def _tear_down(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()
        self._stop_daemon()
        for name in (self._inside, self._router, self._outside):
            delete(name)

    # -- the router

    def start_daemon(self) -> None:
        """Start miniupnpd with an empty table, and wait until it listens."""
        run(*enter(self._router), "nft", "-f", "-", text=f"flush ruleset\n{RULES}")
        config = self._folder / "miniupnpd.conf"
        switches = "".join(f"{name}={'yes' if on else 'no'}\n" for name, on in self._switches.items())
        config.write_text(
            "ext_ifname=wan0\nlistening_ip=lan0\nsystem_uptime=no\nsecure_mode=yes\nipv6_disable=yes\n"
            f"uuid=00000000-0000-4000-8000-000000000001\n{switches}"
        )
        self._daemon = subprocess.Popen(
            [*enter(self._router), "miniupnpd", "-d", "-f", config, "-P", self._folder / "miniupnpd.pid"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wanted = {1900 if self._switches["enable_upnp"] else 0, 5351 if self._switches["enable_natpmp"] else 0} - {0}
        end = time.monotonic() + LIMIT_S
        while not wanted <= self._listening():
            assert self._daemon.poll() is None, "miniupnpd ended"
            assert time.monotonic() < end, "miniupnpd did not begin to listen"
            select.select([], [], [], 0.02)

    def _listening(self) -> set[int]:
        lines = run(*enter(self._router), "cat", "/proc/net/udp").splitlines()[1:]
        return {int(line.split()[1].rpartition(":")[2], 16) for line in lines}

    def _stop_daemon(self) -> None:
        if self._daemon is not None:
            self._daemon.send_signal(signal.SIGKILL)
            self._daemon.wait(5)
            self._daemon = None

    def lose_power(self) -> None:
        """End miniupnpd without a farewell, and forget every mapping."""
        self._stop_daemon()
        run(*enter(self._router), "nft", "flush", "ruleset")

    # -- the machines

    def inside(self, *protocols: str) -> Inside:
        """Start the machine inside, which uses these protocols; all, if none is named."""
        process = subprocess.Popen(
            [*enter(self._inside), sys.executable, "-m", "tests.interop.mapped", *protocols],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._processes.append(process)
        return Inside(process)

    def node(self, home: Path) -> Node:
        """Start a node inside that serves others."""
        return Node(enter(self._inside), home, self._processes)

    def rules(self) -> str:
        """What the router passes on at present, as nftables shows it."""
        return run(*enter(self._router), "nft", "list", "chain", "inet", "filter", "prerouting_miniupnpd")

    def outside(self, address: tuple[str, int]) -> socket.socket:
        """Make a socket of the machine outside that is connected to an address."""
        made: list[socket.socket] = []

        def make() -> None:
            with open(f"/var/run/netns/{self._outside}") as namespace:
                os.setns(namespace.fileno(), os.CLONE_NEWNET)
            made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

        # Only the thread is moved. A socket stays where it was made.
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        made[0].settimeout(LIMIT_S)
        made[0].connect(address)
        return made[0]


class Inside:
    """The machine inside, as `tests.interop.mapped` tells of it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines = self._process.stdout

    def hear(self) -> dict[str, Any]:
        """Wait for the next line."""
        assert self._lines is not None
        ready, _, _ = select.select([self._lines], [], [], LIMIT_S)
        assert ready, "the machine inside says nothing"
        found: dict[str, Any] = json.loads(self._lines.readline())
        return found

    def mapped(self) -> tuple[str, int]:
        """Wait for the external address."""
        host, port = self.hear()["mapped"]
        return host, port

    def end_mapping(self) -> str:
        """Have the mapping deleted, and return the word of its state before."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        state: str = self.hear()["closed"]
        return state


class Node:
    """A real node inside."""

    def __init__(self, enter: tuple[str, ...], home: Path, processes: list[subprocess.Popen[str]]) -> None:
        self._program = [*enter, sys.executable, "-m", "node"]
        self._home = home
        self._process = subprocess.Popen(
            [*self._program, "share", "--role", "relay", "--home", home],
            cwd=ROOT,
            env=os.environ | {"MACROVPN_PEERS_PORT_MAPPING": "true"},
            stdout=subprocess.DEVNULL,
            text=True,
        )
        processes.append(self._process)

    def status(self) -> dict[str, Any]:
        """Ask for the status; without a node that answers, its state is `down`."""
        found: dict[str, Any] = json.loads(self._ask("status", "--json"))
        return found

    def status_text(self) -> str:
        return self._ask("status")

    def _ask(self, *words: str) -> str:
        command = [*self._program, *words, "--home", str(self._home)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=True).stdout

    def until(self, state: str) -> None:
        """Wait until `status` says so of the port mapping."""
        end = time.monotonic() + LIMIT_S
        while (found := self.status()["port_mapping"]) != state:
            assert time.monotonic() < end, f"the port mapping is {found} and not {state}"

    def stop(self) -> int:
        """Stop the node, and return its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(LIMIT_S)
