"""Pages of a node are for its operator: nobody reaches them through the exit, even one that may reach loopback."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from node.client import NodeClient
from tests.harness.demo import Demo

if TYPE_CHECKING:
    from tests.harness.origin import Origin

pytestmark = pytest.mark.system


def test_an_exit_does_not_reach_its_own_pages(tmp_path: Path, origin: Origin) -> None:
    options = ["--relays", "0", "--exits", "1", "--hops", "1", "--metrics", "--allow-destination", "127.0.0.0/8"]
    with Demo(*options, log=tmp_path / "demo.log") as demo:
        (exit_home,) = (Path(entry["home"]) for entry in demo.facts["processes"] if entry["role"] == "exit")
        node = NodeClient(exit_home)
        metrics, control = f"http://{node.status()['sharing']['metrics']}/metrics", f"{node.url}/v1/status"
        direct = subprocess.run(["curl", "-sS", "--noproxy", "*", metrics], capture_output=True, text=True, check=True)
        assert 'macrovpn_role_info{role="exit"} 1\n' in direct.stdout
        assert demo.curl(f"http://127.0.0.1:{origin.http}/bytes/100", "-o", "/dev/null").returncode == 0
        refused = node.status()["counters"]["exit"].get("not_allowed", 0)
        for url in (metrics, control, metrics.replace("127.0.0.1", "[::ffff:127.0.0.1]")):
            done = demo.curl(url)
            assert (done.returncode, done.stdout) == (97, ""), "the proxy says that it may not be reached"
        assert node.status()["counters"]["exit"]["not_allowed"] == refused + 3
