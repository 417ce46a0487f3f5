"""A connection for its packets' sake: to open a way through routers, or to see whether anybody answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from core.errors import ConfigError, LinkError
from tunnel.engines import load_engine

if TYPE_CHECKING:
    from tunnel.engines.seam import Address, Connection, Engine


class Deaf:
    """A handler that wants nothing."""

    def stream_received(self, stream: int, data: memoryview, end: bool) -> None:
        pass

    def stream_reset(self, stream: int) -> None:
        pass

    def stream_drained(self, stream: int) -> None:
        pass

    def datagram_received(self, data: memoryview) -> None:
        pass

    def connection_closed(self) -> None:
        pass


async def knock(engine: Engine, address: Address, timeout_s: float) -> bool:
    """Dial an address from the engine's port, and end the connection when it stands.

    Returns:
        Whether a QUIC stack answered in time.
    """
    try:
        connection = await engine.dial(address, lambda _: Deaf(), timeout_s)
    except LinkError:
        return False
    connection.close()
    return True


async def knock_from_elsewhere(address: Address, timeout_s: float) -> bool:
    """Do the same from a UDP port that nobody has heard of yet.

    Returns:
        Whether a QUIC stack answered in time.
    """
    # The other engine starts a thread for each port.
    engine = load_engine("aioquic")
    try:
        await engine.listen(0, _refuse)
        return await knock(engine, address, timeout_s)
    except ConfigError:
        return False
    finally:
        await engine.close()


def _refuse(connection: Connection) -> Deaf:
    # The handler exists by then.
    asyncio.get_running_loop().call_soon(connection.close)
    return Deaf()
