"""Chains for tests of the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scripts.get_anvil import anvil as fetched
from tests.harness.chain import Anvil, PyEvm, Testnet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(scope="session")
def anvil_program() -> Path:
    """The program, fetched if need be."""
    try:
        return fetched()
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.fixture
async def anvil(anvil_program: Path) -> AsyncIterator[Anvil]:
    """A chain in a process of its own."""
    async with Anvil(anvil_program) as started:
        yield started


@pytest.fixture(params=["py-evm", "anvil"])
async def net(request: pytest.FixtureRequest) -> AsyncIterator[Testnet]:
    """Each of the two chains."""
    made = PyEvm() if request.param == "py-evm" else Anvil(request.getfixturevalue("anvil_program"))
    async with made as started:
        yield started
