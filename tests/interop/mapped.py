"""The machine inside: keeps a port mapped, and says on stdout, a line of JSON each, what it is told and what arrives.

Started in a network namespace as `python -m tests.interop.mapped PROTOCOL…`. A line on stdin ends the mapping; the
socket stays until stdin is closed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from exits.addresses import is_public
from peers.port_mapping.service import MAPPERS, Pace, PortMapping

if TYPE_CHECKING:
    from peers.addresses import Address


def say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


def receive(arrived: socket.socket) -> None:
    data, _ = arrived.recvfrom(2048)
    say(received=data.decode())


def told(address: Address | None) -> None:
    say(mapped=address)


async def run(protocols: list[str]) -> None:
    loop = asyncio.get_running_loop()
    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link.bind(("0.0.0.0", 0))
    link.setblocking(False)
    loop.add_reader(link, receive, link)
    mapping = PortMapping(
        link.getsockname()[1],
        told,
        lambda host: is_public(ipaddress.ip_address(host)),
        mappers=[(state, make) for state, make in MAPPERS if not protocols or state in protocols],
        pace=Pace(check_s=0.2, retry_s=0.5),
    )
    mapping.start()
    read = partial(loop.run_in_executor, None, sys.stdin.readline)
    await read()
    state = mapping.state
    await mapping.close()
    say(closed=state)
    await read()
    loop.remove_reader(link)
    link.close()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1:]))
