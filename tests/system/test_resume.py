"""A download that does not notice that its path dies and changes."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.demo import Demo, alive, command, until
from tests.harness.origin import content

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.origin import Origin

pytestmark = pytest.mark.system

SIZE = 150_000_000


def _busy(demo: Demo) -> dict[str, Any] | None:
    circuits = command("route", home=demo.home)["circuits"]
    return next((circuit for circuit in circuits if circuit["flows"]), None)


def _pid(demo: Demo, place: int) -> int:
    """The process at a place of the circuit that carries the flow, once all of them live."""

    def find() -> int:
        circuit = _busy(demo)
        by_peer = {entry["peer_id"]: entry["pid"] for entry in demo.facts["processes"]}
        pids = [by_peer[hop["peer_id"]] for hop in circuit["hops"]] if circuit else []
        return pids[place] if pids and all(map(alive, pids)) else 0

    found: int = until("a living circuit with a flow", find, 20)
    return found


@pytest.mark.parametrize("way", ["down", "up"])
def test_a_transfer_survives_death_and_hops(origin: Origin, tmp_path: Path, way: str) -> None:
    target, source = tmp_path / "target", tmp_path / "source"
    url = f"http://127.0.0.1:{origin.http}"
    if way == "down":
        what = ["-o", str(target), f"{url}/bytes/{SIZE}"]
    else:
        source.write_bytes(content(SIZE))
        what = ["-o", str(target), "-H", "Expect:", "--data-binary", f"@{source}", f"{url}/"]
    with Demo("--relays", "6", "--allow-destination", "127.0.0.0/8", log=tmp_path / "log") as demo:
        before = len(origin.seen)
        transfer = subprocess.Popen(
            ["curl", "-sS", "--noproxy", "", "--limit-rate", "12M", "--socks5-hostname", demo.proxy, *what]
        )
        try:
            os.kill(_pid(demo, 1), signal.SIGKILL)
            time.sleep(2.5)
            os.kill(_pid(demo, 0), signal.SIGKILL)
            time.sleep(2.5)
            for _ in range(3):
                command("hop", home=demo.home)
                time.sleep(0.3)
            assert transfer.wait(60) == 0
        finally:
            transfer.kill()
            transfer.wait()
        digest = hashlib.sha256(content(SIZE))
        if way == "down":
            assert hashlib.sha256(target.read_bytes()).digest() == digest.digest()
        else:
            assert target.read_text() == digest.hexdigest()
        assert [host for _, host in origin.seen[before:]].count("") == 1  # one connection reached the origin
