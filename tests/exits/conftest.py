"""Every test with an event loop runs on both loops that the program may have; exits are stopped after each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from exits.egress import Egress
from exits.policy import Policy
from tests.exits.fakes import FixedResolver
from tests.exits.stage import LOOPBACK_OPEN
from tests.harness.loops import chosen_loops

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable

    from tests.exits.stage import MakeEgress


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return chosen_loops()


@pytest.fixture
async def make_egress() -> AsyncIterator[MakeEgress]:
    """Make an exit of the settings given, with loopback open; it is stopped at the end of the test."""
    made = []

    def make(**changes: Any) -> Egress:
        settings: dict[str, Any] = {
            "resolver": FixedResolver("127.0.0.1"),
            "address_filter": LOOPBACK_OPEN,
            "policy": Policy.parse("accept *:*"),
        }
        made.append(Egress(**{**settings, **changes}))
        return made[-1]

    yield make
    for egress in made:
        await egress.stop()
