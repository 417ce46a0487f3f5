"""A node's end: at once when nothing runs, later when something does, and never after its limit."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Literal

import pytest

from core.errors import FlowError, Reason
from core.flow import FlowRequest
from node import drain as drain_module
from node.app import _watch_parent
from node.config import PARENT_FD_ENV
from node.drain import LAST_WORDS_S, Drain
from node.running import RunningNode
from node.settings import NodeSettings, PeersSettings, Settings, SharingSettings
from tests.harness.bare import bare
from tests.harness.network import Collect, Network, chain
from tests.harness.waiting import until
from tests.harness.wire import Board

if TYPE_CHECKING:
    from pathlib import Path

    from tunnel.service import Tunnel

ECHO = FlowRequest("echo.example", 80)
LONG_S = 60.0


def leave(network: Network, place: int, limit_s: float = LONG_S) -> tuple[Drain, asyncio.Task[None]]:
    """Let a node of a chain take nothing new, and end."""
    relay = network.nodes[place].relay
    relay._admits = lambda link: Reason.LEAVING
    drain = Drain(relay, limit_s)
    return drain, asyncio.create_task(drain.run())


async def talking(client: Tunnel) -> Collect:
    flow = await client.pool.dial(ECHO)
    heard = Collect(flow)
    flow.attach(heard)
    flow.write(b"word")
    await until(lambda: heard.data == b"word")
    return heard


async def test_circuits_without_flows_do_not_keep_a_node() -> None:
    async with chain(2, Board().engine) as (network, _, _):
        _, ending = leave(network, 1)
        await asyncio.wait_for(ending, 1)
        assert not network.nodes[1].relay.circuit_count


async def test_a_client_that_does_not_listen_keeps_an_exit_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain_module, "LAST_WORDS_S", 0.1)
    async with chain(1, Board().engine) as (network, client, _):
        kept = await bare(network, client)
        _, ending = leave(network, 0)
        await asyncio.wait_for(ending, LAST_WORDS_S)
        assert network.nodes[0].relay.circuit_count == 1
        assert kept.owner.reasons == []


async def test_a_flow_keeps_an_exit_until_it_ends() -> None:
    async with chain(2, Board().engine) as (network, client, _):
        heard = await talking(client)
        drain, ending = leave(network, 1)
        await until(lambda: network.nodes[1].relay.circuit_count == 1)
        assert not ending.done()
        assert LONG_S - 5 < drain.left_s <= LONG_S
        with pytest.raises(FlowError):
            await client.pool.dial(ECHO)
        assert heard.flow is not None
        heard.flow.finish()
        await asyncio.wait_for(ending, 2)
        assert heard.reason is Reason.DONE


async def test_flows_that_outlast_the_limit_are_reset_and_none_before() -> None:
    async with chain(2, Board().engine) as (network, client, echo):
        heard = await talking(client)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        _, ending = leave(network, 1, 0.5)
        await until(lambda: heard.reason is not None)
        assert loop.time() - begun >= 0.5
        assert heard.reason is Reason.LEAVING
        assert echo.listeners[0].reason is Reason.LEAVING
        await asyncio.wait_for(ending, 1)


async def test_without_time_flows_are_reset_at_once() -> None:
    async with chain(2, Board().engine) as (network, client, _):
        heard = await talking(client)
        _, ending = leave(network, 1, 0)
        await asyncio.wait_for(ending, 1)
        await until(lambda: heard.reason is Reason.LEAVING)


# -- a whole node


def settings(role: Literal["client", "relay"]) -> Settings:
    return Settings(
        node=NodeSettings(roles=(role,)),
        peers=PeersSettings(dht=False, port_mapping=False, address="127.0.0.1"),
        sharing=SharingSettings(drain_s=7),
    )


async def test_who_serves_others_stops_when_asked_twice(tmp_path: Path) -> None:
    node = RunningNode(settings("relay"), tmp_path)
    await node.start()
    try:
        assert node.status()["state"] == "up"
        offered = node._peering.descriptor()
        assert node.request_stop() == 7.0
        assert not node.stopping.is_set()
        assert node.status()["state"] == "leaving"
        assert node._serving.sharing.refuses_flow() is Reason.LEAVING
        assert node._peering.descriptor() != offered
        assert node.request_stop() == 0.0
        assert node.stopping.is_set()
    finally:
        await node.stop()


async def test_who_serves_nobody_else_stops_at_once(tmp_path: Path) -> None:
    node = RunningNode(settings("client"), tmp_path)
    await node.start()
    try:
        assert node.request_stop() == 0.0
        assert node.stopping.is_set()
    finally:
        await node.stop()


async def test_the_end_of_its_parent_stops_a_node_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    monkeypatch.setenv(PARENT_FD_ENV, str(reading))
    node = RunningNode(settings("relay"), tmp_path)
    _watch_parent(asyncio.get_running_loop(), node)
    await node.start()
    try:
        os.close(writing)
        await asyncio.wait_for(node.stopping.wait(), 1)
        assert node.status()["state"] == "up"
    finally:
        await node.stop()
        os.close(reading)


async def test_a_node_that_nobody_uses_is_done_soon(tmp_path: Path) -> None:
    node = RunningNode(settings("relay"), tmp_path)
    await node.start()
    try:
        node.request_stop()
        await asyncio.wait_for(node.stopping.wait(), 1)
    finally:
        await node.stop()
