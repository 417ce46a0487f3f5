"""Every test of the local port runs on both event loops."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.loops import chosen_loops
from tests.proxy.harness import Stage

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Mapping


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return chosen_loops()


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with Stage() as stage:
        yield stage
