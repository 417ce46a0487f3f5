"""Thousands of connections at once against the local port in a process of its own, set up as in a node."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import uvloop

from bench.flood import KINDS, held, raise_file_limit, visits
from bench.front import SOCKS, Way, local_port
from bench.processes import peak_mb
from proxy.front import FrontLimits
from tests.harness.waiting import until

if TYPE_CHECKING:
    from bench.flood import Held

pytestmark = pytest.mark.system

MIX = [KINDS[name] for name in ("silent", "half_socks", "half_http", "used")] * 1250
SEATS = FrontLimits().connections
VISITS = 3
MADE_ROOM = len(MIX) - SEATS + VISITS
HANDSHAKE_S = 2.0
LATE_S = 10.0
"""How late a busy machine may be."""
MOST_MB = 200


def is_open(connection: Held) -> bool:
    return connection.lasted_s is None


async def hold(port: int) -> None:
    browser, began = Way("socks", port, SOCKS), time.monotonic()
    async with held(port, MIX) as connections:
        opened_s = time.monotonic() - began
        await until(lambda: sum(map(is_open, connections)) <= SEATS)
        assert len([took_s async for took_s in visits(browser, VISITS)]) == VISITS, "a browser's requests"
        slow = [connection for connection in connections if connection.kind.slow]
        await until(lambda: not any(map(is_open, slow)), HANDSHAKE_S + LATE_S)
        lasted = sorted(connection.lasted_s for connection in slow if connection.lasted_s is not None)
        assert lasted[-1] < HANDSHAKE_S + opened_s + LATE_S
        # Some had to make room, perhaps before their first byte was read. All others were dealt with as alone.
        assert sum(lasted_s > HANDSHAKE_S / 2 for lasted_s in lasted) >= len(slow) - MADE_ROOM
        told = [connection for connection in slow if connection.came.startswith(b"HTTP/1.1 408 ")]
        assert len(told) >= len(MIX) // 4 - MADE_ROOM
        used = [connection for connection in connections if not connection.kind.slow]
        assert all(is_open(connection) == bool(connection.came) for connection in used), "who is served stays"
        assert len(list(filter(is_open, used))) >= len(MIX) // 4 - MADE_ROOM


def test_five_thousand_connections_at_once() -> None:
    raise_file_limit()
    with local_port("memory", handshake_s=HANDSHAKE_S) as (pid, port):
        uvloop.run(hold(port))
        assert peak_mb(pid) < MOST_MB
