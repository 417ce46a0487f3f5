"""An exit for tests, with what they ask of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import ip_network
from typing import TYPE_CHECKING

from exits.addresses import AddressFilter
from exits.egress import Egress
from tests.exits.fakes import FakeFlow

if TYPE_CHECKING:
    from core.errors import Reason

LOOPBACK_OPEN = AddressFilter(allow=[ip_network("127.0.0.0/8"), ip_network("::1/128")])
NAME = "www.example.org"

type MakeEgress = Callable[..., Egress]


async def outcome(egress: Egress, host: str, port: int) -> Reason:
    """Ask for a destination that shall not be connected, and tell the reason."""
    flow = FakeFlow()
    egress.flow_requested(flow, host, port)
    reason = await flow.wait_closed()
    assert not flow.accepted.is_set()
    return reason


async def connect(egress: Egress, host: str, port: int) -> FakeFlow:
    flow = FakeFlow()
    egress.flow_requested(flow, host, port)
    await flow.wait_accepted()
    return flow


async def wait_idle(egress: Egress) -> None:
    async with asyncio.timeout(5):
        while egress.open_flows:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.001)
