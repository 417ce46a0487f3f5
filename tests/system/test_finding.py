"""How nodes find each other: through the DHT alone, and through gossip alone, each from nothing."""

from __future__ import annotations

import json
import os
import time
import tomllib
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.demo import Demo, newcomer, status_of, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.origin import Origin

pytestmark = pytest.mark.system

FIRST_CIRCUIT_S = 5.0


def settings_of(demo: Demo) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((demo.home / "config.toml").read_text())
    return found


def test_the_dht_alone(tmp_path: Path, origin: Origin) -> None:
    with Demo("--find", "dht", "--allow-destination", "127.0.0.0/8", log=tmp_path / "log") as demo:
        assert demo.curl("-o", os.devnull, f"http://127.0.0.1:{origin.http}/1000").returncode == 0
        peers = settings_of(demo)["peers"]
        assert not peers["bootstrap"]
        assert not peers["gossip"]
        environment = {
            "MACROVPN_PEERS_DHT": "true",
            "MACROVPN_PEERS_GOSSIP": "false",
            "MACROVPN_PEERS_DHT_LISTEN": "127.18.0.1:0",
            "MACROVPN_PEERS_DHT_NODES": json.dumps(peers["dht_nodes"]),
        }
        with newcomer(tmp_path / "home", environment):
            began = time.monotonic()
            until("the first circuit", lambda: status_of(tmp_path / "home").get("state") == "up", FIRST_CIRCUIT_S)
            print(f"first circuit {time.monotonic() - began:.1f} s after the process was started")
            assert status_of(tmp_path / "home")["peers"] >= 3


def test_gossip_alone(tmp_path: Path, origin: Origin) -> None:
    with Demo("--find", "gossip", "--allow-destination", "127.0.0.0/8", log=tmp_path / "log") as demo:
        assert demo.curl("-o", os.devnull, f"http://127.0.0.1:{origin.http}/1000").returncode == 0
        assert demo.status()["dht"] == "off"
        (bootstrap,) = settings_of(demo)["peers"]["bootstrap"]
        with newcomer(tmp_path / "home", {}, "--no-dht", "--bootstrap", bootstrap):
            began = time.monotonic()
            until("the first circuit", lambda: status_of(tmp_path / "home").get("state") == "up", FIRST_CIRCUIT_S)
            print(f"first circuit {time.monotonic() - began:.1f} s after the process was started")
        assert not (tmp_path / "home" / "dht").exists()
