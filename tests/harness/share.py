"""`macrovpn share` as a process of its own: an exit that joins a demo network, in a region of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from node.config import CONFIG_NAME
from node.config_edit import format_file
from node.files import KEYS_NAME, make_home, write_private
from peers.identity import Identity
from tests.harness.demo import ROOT, Demo, status_of, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

REGION: Final = "DE"
ELSEWHERE: Final = "127.22.0.1"
"""Where connections leave from that go over the demo's first exit."""
LOOPBACK: Final = "127.0.0.0/8"
PREFERRING: Final = ("--exits", "1", "--exit-region", "NL", "--region", REGION, "--region", "NL")
"""Options of a demo whose client prefers such an exit to the demo's own."""


class Share:
    """The process, its home, and what it says.

    Args:
        home: its folder, where its keys are from now on.
        number: its address is 127.NUMBER.0.1, and connections leave it from 127.88.0.NUMBER.
        sharing: settings of that section.
    """

    def __init__(self, home: Path, number: int = 99, **sharing: Any) -> None:
        self.home = make_home(home)
        self.log = home / "log"
        self.peer_id = Identity.load(home / KEYS_NAME).peer_id
        self.leaves_from = f"127.88.0.{number}"
        self._host = f"127.{number}.0.1"
        self._sharing = sharing
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, demo: Demo, *friends: str, output: int | None = None, **environment: str) -> None:
        """Start it as a member of a demo's network.

        Args:
            demo: whose first relay it begins with.
            friends: peer ids.
            output: a file descriptor for its standard output; None for its log.
            environment: variables beside those of this process.
        """
        first = demo.facts["processes"][0]
        tables: dict[str, dict[str, Any]] = {
            "node": {"roles": ["exit"], "region": REGION},
            "peers": {
                "address": self._host,
                "bootstrap": [f"{first['address']}/p2p/{first['peer_id']}"],
                "allow_addresses": [LOOPBACK],
                "dht": False,
                "friends": list(friends),
            },
            "exit": {"allow_destinations": [LOOPBACK], "egress_address": self.leaves_from},
            "sharing": self._sharing,
        }
        write_private(self.home / CONFIG_NAME, format_file(tables))
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "node", "share", "--home", str(self.home)],
                cwd=ROOT,
                env=os.environ | environment,
                stdout=log if output is None else output,
                stderr=log,
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def status(self) -> dict[str, Any]:
        """Empty while it does not run."""
        return status_of(self.home)

    def seen(self) -> dict[str, Any]:
        """The section `sharing` of its status; empty while it does not run."""
        section: dict[str, Any] = self.status().get("sharing", {})
        return section

    def ends_circuits(self, demo: Demo) -> int:
        """How many circuits of a demo's client end here."""
        circuits = demo.node.route()["circuits"]
        return sum(circuit["hops"][-1]["peer_id"] == self.peer_id for circuit in circuits)

    def wait_for_circuits(self, demo: Demo, limit_s: float = 30) -> None:
        until(f"circuits to {self.home.name}", lambda: self.ends_circuits(demo) >= 2, limit_s)

    async def ended_s(self, limit_s: float) -> float:
        """Tell it to stop; gives the seconds that it took."""
        started = time.monotonic()
        self.process.terminate()
        assert await asyncio.to_thread(self.process.wait, limit_s) == 0, self.log.read_text()
        return time.monotonic() - started

    def kill(self) -> None:
        """End it at once, if it was started."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@asynccontextmanager
async def preferred_exit(tmp_path: Path, relays: int = 4, **sharing: Any) -> AsyncIterator[tuple[Demo, Share]]:
    """A demo, and an exit that its client prefers and has circuits to."""
    options = ["--relays", f"{relays}", *PREFERRING, "--allow-destination", LOOPBACK]
    async with AsyncExitStack() as stack:
        demo = stack.enter_context(Demo(*options, log=tmp_path / "demo.log"))
        share = Share(tmp_path / "share", **sharing)
        stack.callback(share.kill)
        share.start(demo)
        await asyncio.to_thread(share.wait_for_circuits, demo)
        yield demo, share


async def left_from(demo: Demo, user: str = "user0") -> str:
    """The address that a new connection of a user leaves from, as the destination sees it."""
    seen: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("peername")[0])
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        done = await asyncio.to_thread(demo.curl, "--proxy-user", f"{user}:", f"http://127.0.0.1:{port}/", timeout=8)
    assert done.returncode == 0, done.stderr
    return " ".join(seen)
