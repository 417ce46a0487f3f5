"""What a user wants of one site, in a network of processes: where its connections leave, over how many hops, with whom.

The client is a node in this process, as its front would ask it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

from core.errors import FlowError, Reason
from core.flow import NO_OPTIONS, FlowRequest, SiteOptions
from node.running import RunningNode
from node.settings import PeersSettings, ProxySettings, Settings, TunnelSettings
from tests.harness.demo import Demo
from tests.harness.network import Collect
from tests.harness.waiting import until

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.system

LOOPBACK: Final = "127.0.0.0/8"
SITES: Final = ("127.0.0.1", "127.0.0.2")
NL, DE = "127.22.0.1", "127.22.0.2"
"""Where the exits leave from."""
LIMIT_S: Final = 20.0


async def tell_where_from(_reader: StreamReader, writer: StreamWriter) -> None:
    """Be a site that tells its visitors where they come from."""
    writer.write(writer.get_extra_info("peername")[0].encode())
    writer.write_eof()
    await writer.drain()
    writer.close()


class Client:
    """A client of a demo's network, and what it is told by sites."""

    def __init__(self, node: RunningNode, ports: dict[str, int]) -> None:
        self.node = node
        self._ports = ports

    async def left_from(self, options: SiteOptions = NO_OPTIONS, site: str = SITES[0]) -> str:
        """Open a connection to a site.

        Raises:
            FlowError: it was refused.
        """
        assert self.node._front is not None
        request = FlowRequest(site, self._ports[site], options=options)
        flow = await self.node._front._dialer.dial(request, early=False)
        heard = Collect(flow)
        flow.attach(heard)
        flow.finish()
        await until(lambda: heard.reason is not None, LIMIT_S)
        return heard.data.decode()

    def circuits(self, **options: Any) -> list[dict[str, Any]]:
        """Those that carry sites with these options, as `macrovpn route` shows them."""
        return [each for each in self.node.route()["circuits"] if each["options"] == options and each["in_use"]]


@asynccontextmanager
async def joined(demo: Demo, home: Path) -> AsyncIterator[Client]:
    """Start a client of the network that knows both exits, and the sites."""
    first = next(each for each in demo.facts["processes"] if each["role"] == "relay")
    peers = PeersSettings(
        bootstrap=(f"{first['address']}/p2p/{first['peer_id']}",), allow_addresses=(LOOPBACK,), dht=False
    )
    tunnel = TunnelSettings(regions=("NL",), spread=1, allow_destinations=(LOOPBACK,))
    os.mkdir(home)
    node = RunningNode(Settings(proxy=ProxySettings(listen="127.0.0.1:0"), peers=peers, tunnel=tunnel), home)
    servers = {site: await asyncio.start_server(tell_where_from, site, 0) for site in SITES}
    try:
        await node.start()
        await until(lambda: {"NL", "DE"} <= {peer["region"] for peer in node.peers()["peers"]}, LIMIT_S)
        await until(lambda: node.status()["state"] == "up", LIMIT_S)
        yield Client(node, {site: server.sockets[0].getsockname()[1] for site, server in servers.items()})
    finally:
        await node.stop()
        for server in servers.values():
            server.close()


async def test_a_site_has_what_its_user_wants_and_nothing_else(tmp_path: Path) -> None:
    options = ["--relays", "3", "--exits", "2", "--find", "gossip", "--allow-destination", LOOPBACK]
    options += ["--exit-region", "NL", "--exit-region", "DE"]
    german = SiteOptions(regions=("DE",))
    with Demo(*options, log=tmp_path / "log") as demo:
        async with joined(demo, tmp_path / "client") as client:
            assert await client.left_from() == NL
            assert await client.left_from(german) == DE
            assert await client.left_from(SiteOptions(mode="balanced", regions=("NL",), max_tariff=7)) == NL
            assert {len(each["hops"]) for each in client.circuits()} == {3}
            assert len(client.circuits()) == len(client.circuits(regions=("DE",))) == 1

            for mode, hops in (("speed", 2), ("privacy", 3)):
                assert await client.left_from(SiteOptions(mode=mode)) == NL
                assert [len(each["hops"]) for each in client.circuits(mode=mode)] == [hops]

            for site in SITES * 2:
                assert await client.left_from(SiteOptions(isolated=True), site) == NL
            assert len(client.circuits(isolated=True)) == len(SITES)
            guards = {each["hops"][0]["peer_id"] for each in client.node.route()["circuits"]}
            assert len(guards) <= 2

            os.kill(demo.pids("exit")[1], signal.SIGKILL)
            for _ in range(2):
                with pytest.raises(FlowError) as caught:
                    await client.left_from(german)
                assert caught.value.reason in (Reason.SITE_OPTIONS, Reason.NO_PATH, Reason.CLOSED)
                assert await client.left_from() == NL
            assert caught.value.reason is Reason.SITE_OPTIONS
