"""Chains for tests of the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.chain import Anvil, PyEvm, Testnet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(params=["py-evm", "anvil"])
async def net(request: pytest.FixtureRequest) -> AsyncIterator[Testnet]:
    """Each of the two chains."""
    made = PyEvm() if request.param == "py-evm" else Anvil(request.getfixturevalue("anvil_program"))
    async with made as started:
        yield started
