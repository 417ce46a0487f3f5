"""The proof that nothing leaks, with one browser, and that it would find what leaks."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.harness.closed import TUNNELLED
from tests.harness.demo import ROOT
from tests.harness.namespaces import why_not
from tests.harness.waiting import until
from tests.proofs import no_leaks
from tests.proofs.browsers import KINDS, fixed_chromium
from tests.proofs.tempting import STUN_PORT

if TYPE_CHECKING:
    from pathlib import Path

MISSING = why_not(*no_leaks.NEEDED)
pytestmark = [
    pytest.mark.system,
    pytest.mark.long,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
]


def test_a_closed_browser_sends_nothing_elsewhere() -> None:
    command = [sys.executable, "-m", "tests.proofs.no_leaks", KINDS[0].name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=590, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("nothing went elsewhere\n")


async def test_an_open_browser_is_found_out(tmp_path: Path) -> None:
    """Without its setting, Chromium sends WebRTC's datagrams past the proxy."""
    async with no_leaks.World(tmp_path, [fixed_chromium("open", "http")]) as world:
        world.forget()
        await world.start(clicked=False)
        await until(lambda: (TUNNELLED, "udp", STUN_PORT) in world.note("no node")["open"].strays, no_leaks.LIMIT_S)
    assert no_leaks.leaks(world)[0].startswith("LEAK, no node: open sent ")
