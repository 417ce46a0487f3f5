"""What a client holds on to, and what a relay keeps of its keys, as real nodes leave them in their homes."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from node.client import NodeClient
from tests.harness.demo import command, until

if TYPE_CHECKING:
    from tests.harness.demo import Demo

pytestmark = pytest.mark.system


def _kept(home: Path) -> dict[str, list[str]]:
    lines = [line.split() for line in (home / "guards").read_text().splitlines()[1:]]
    return {kind: [name for found, name, _ in lines if found == kind] for kind in ("guard", "second")}


def _first_hops(home: Path) -> set[str]:
    return {circuit["hops"][0]["peer_id"] for circuit in NodeClient(home).route()["circuits"]}


def test_a_client_that_starts_again_keeps_its_guards(demo: Demo, tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = demo.facts["processes"][0]
    options = ["--bootstrap", f"{first['address']}/p2p/{first['peer_id']}", "--allow-address", "127.0.0.0/8"]
    guards: set[str] = set()
    for _ in range(4):
        try:
            command("up", *options, "--port", "0", home=home)
            until("circuits", lambda: len(_first_hops(home)) > 0)
            for _ in range(3):
                command("hop", home=home)
                until("circuits", lambda: len(_first_hops(home)) > 0)
                guards |= _first_hops(home)
            counters = NodeClient(home).status()["counters"]["guards"]
            assert not any(word.endswith("beyond") for word in counters), counters
        finally:
            command("down", home=home)
    assert len(guards) <= 2
    kept = _kept(home)
    assert guards <= {*kept["guard"]}
    assert len(kept["guard"]) <= 2
    assert 1 <= len(kept["second"]) <= 4
    assert stat.S_IMODE((home / "guards").stat().st_mode) == 0o600


def test_a_relay_keeps_its_onion_key_of_today_and_no_guards(demo: Demo) -> None:
    home = Path(next(entry["home"] for entry in demo.facts["processes"] if entry["role"] == "relay"))
    names = {path.name.partition("-")[0] for path in (home / "keys").iterdir()}
    assert names == {"link.key", "onion", "peer.key"}
    assert not (home / "guards").exists()
