"""A network of which one half asks for money, and the other has no payments at all."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from node.client import NodeClient
from tests.harness.demo import Demo, newcomer, settled, status_of, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.origin import NameServer, Origin

pytestmark = pytest.mark.system

RELAYS, EXITS = ("relay-1", "relay-2", "relay-3", "relay-4"), ("exit-1", "exit-2")
PAID, FREE = (*RELAYS[:2], EXITS[0]), (*RELAYS[2:], EXITS[1])
RATE: Final = 2
"""Units per MB of each hop's own share, at the demo's step."""
OPTIONS: Final = [
    *("--tariff", "2", "--relays", "4", "--exits", "2", "--allow-destination", "127.0.0.0/8", "--find", "gossip"),
    *("--set", "client:tunnel.min_tariff=1"),
    *(
        each
        for name in FREE
        for each in ("--set", f"{name}:payments.settlement=off", "--set", f"{name}:payments.tariff=0")
    ),
]
LARGE: Final = 20_000_000


def fetch(proxy: str, origin: Origin, size: int) -> int:
    """Fetch so many bytes through a proxy; returns how many came."""
    url = f"http://site.test:{origin.http}/bytes/{size}"
    options = ("-sS", "-o", "/dev/null", "-w", "%{size_download}", "--socks5-hostname", proxy, "--max-time", "60")
    done = subprocess.run(["curl", *options, url], capture_output=True, text=True, timeout=70, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def over(home: Path) -> tuple[set[str], set[int]]:
    """Over whom a client's circuits lead, and what they cost."""
    circuits = NodeClient(home).route()["circuits"]
    hops = {hop["peer_id"] for circuit in circuits for hop in circuit["hops"]}
    return hops, {circuit["price_per_gb"] for circuit in circuits}


def test_who_pays_and_who_does_not_each_has_paths_of_his_own(tmp_path: Path, origin: Origin, names: NameServer) -> None:
    with Demo(*OPTIONS, "--resolver", names.endpoint, log=tmp_path / "log") as demo:
        first, *_ = processes = demo.facts["processes"]
        peers = dict(zip((*RELAYS, *EXITS), (entry["peer_id"] for entry in processes), strict=False))
        home = tmp_path / "home"
        bootstrap = ("--bootstrap", f"{first['address']}/p2p/{first['peer_id']}")
        with newcomer(home, {"MACROVPN_TUNNEL_ALLOW_DESTINATIONS": '["127.0.0.0/8"]'}, "--no-dht", *bootstrap):
            until("a path that costs nothing", lambda: status_of(home).get("state") == "up", 30)
            assert fetch(status_of(home)["proxy"], origin, LARGE) == LARGE
            assert over(home) == ({peers[name] for name in FREE}, {0})
        assert fetch(demo.proxy, origin, LARGE) == LARGE
        assert over(demo.home) == ({peers[name] for name in PAID}, {3 * RATE * 1000})
        books = settled(demo.home)
        assert set(books) == {"client", *PAID}
        spent = books["client"]["spent"]
        assert LARGE / 1e6 <= spent / (3 * RATE) <= LARGE / 1e6 * 1.1, "what cost nothing is in nobody's books"
        assert abs(sum(books[name]["earned"] - books[name]["spent"] for name in PAID) - spent) <= len(PAID)
