"""Run inside a namespace with its own /etc: look names up through the system, and say what its DNS server was asked.

Usage: python -m tests.exits.names_worker NAME…
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from core.errors import FlowError
from exits.resolver import SystemResolver
from tests.exits.fakes import NXDOMAIN, DnsServer

PUBLIC = "9.9.9.9"


async def look_up(names: list[str]) -> dict[str, Any]:
    """Resolve each name.

    Returns:
        `found`: addresses, or a reason word, by name. `asked`: every name that the DNS server saw.
    """
    script: dict[tuple[str, str], list[Any]] = {}
    for name in names:
        script[name, "A"] = [NXDOMAIN]
        script[name, "AAAA"] = [NXDOMAIN]
    script["www.example.org", "A"] = [[PUBLIC]]
    script["www.example.org", "AAAA"] = [[]]
    found: dict[str, list[str] | str] = {}
    async with DnsServer(script, 53) as server:
        resolver = SystemResolver()
        for name in names:
            try:
                found[name] = [str(address) for address in await resolver.resolve(name)]
            except FlowError as error:
                found[name] = error.reason.word
        await resolver.close()
    return {"found": found, "asked": sorted(set(server.names))}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(look_up(sys.argv[1:]))))
