"""A new route only where there is one: not at a node that only serves, and not while it is switched off."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import create_autospec

import pytest

from core.errors import MacroVpnError
from node.switch import OFF, Switch
from proxy.front import Front
from tunnel.pool import CircuitPool

if TYPE_CHECKING:
    from pathlib import Path


async def test_circuits_are_given_only_while_they_carry(tmp_path: Path) -> None:
    front, pool, switch = create_autospec(Front), create_autospec(CircuitPool), Switch(tmp_path, None)
    assert switch.carrying(front, pool) is pool
    for missing in ((None, pool), (front, None)):
        with pytest.raises(MacroVpnError, match="has no proxy, or is not up yet, so it has no route"):
            switch.carrying(*missing)
    await switch.turn(front, pool, on=False)
    with pytest.raises(MacroVpnError, match=OFF):
        switch.carrying(front, pool)
    await switch.turn(front, pool, on=True)
    assert switch.carrying(front, pool) is pool
