"""Firefox, set up as `docs/clients.md` says, in every state of a node: it sends nothing past the proxy.

Beside it stands what no proxy can close: a Firefox that is told the address of a PAC which it cannot load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness import closed_firefox
from tests.harness.closed_firefox import STUN_PORT, Look
from tests.harness.firefox import FIREFOX, HTTP, SHUT, SOCKS, UNTOLD
from tests.harness.namespaces import why_not

if TYPE_CHECKING:
    from pathlib import Path

MISSING = why_not("nft", FIREFOX[0])
pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
]

CLOSED = Look("nothing", "direct", set())
WORKS = Look("through", "direct", set())


@pytest.mark.parametrize("how", [HTTP, pytest.param(SOCKS, marks=pytest.mark.long)])
async def test_a_node_that_was_never_started(tmp_path: Path, how: str) -> None:
    assert await closed_firefox.without_a_node(tmp_path, how) == {"never started": CLOSED}


@pytest.mark.long
@pytest.mark.parametrize(("missing", "port"), [(UNTOLD, 53), (SHUT, STUN_PORT)])
async def test_a_setting_that_is_missing_is_seen(tmp_path: Path, missing: dict[str, object], port: int) -> None:
    """Firefox asks the machine's name server about pages that are opened as `http://`, and a page has WebRTC send."""
    found = await closed_firefox.without_settings(tmp_path, HTTP, missing)
    assert {(kind, to) for _, kind, to in found} == {("udp", port)}


@pytest.mark.long
@pytest.mark.parametrize("how", [HTTP, SOCKS])
async def test_a_node_from_state_to_state(tmp_path: Path, how: str) -> None:
    assert await closed_firefox.with_a_node(tmp_path, how) == {
        "no peers": CLOSED,
        "up": WORKS,
        "suspended": CLOSED,
        "resumed": WORKS,
        "crashed": CLOSED,
        "restarted": WORKS,
        "cap reached": CLOSED,
        "no path": CLOSED,
    }


@pytest.mark.long
async def test_a_script_that_cannot_be_loaded(tmp_path: Path) -> None:
    found = await closed_firefox.without_a_script(tmp_path)
    assert found["PAC answers 404"].tunnelled == "direct"
