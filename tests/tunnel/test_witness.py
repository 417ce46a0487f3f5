"""What a client learns of its first hops when a circuit is created, and what an exit cannot make it believe."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from core.errors import CircuitError, Reason
from tests.harness.bare import path_of
from tests.harness.network import three_hops
from tests.harness.waiting import turns
from tests.harness.wire import Board
from tunnel.building import build

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.ids import PeerKey
    from tunnel.creation import Asked
    from tunnel.path import Path
    from tunnel.service import Tunnel


async def told(client: Tunnel, path: Path) -> list[tuple[Sequence[PeerKey], int, bool]]:
    """Build once, well or not, and say what the witness was told."""
    heard: list[tuple[Sequence[PeerKey], int, bool]] = []

    def tried(path: Path, served: int, at_fault: bool) -> None:
        heard.append(([hop.peer for hop in path], served, at_fault))

    client.links.tried = tried
    try:
        await build(path, client.links, 600, Mock(), client.memory)
    except CircuitError:
        pass
    finally:
        client.links.tried = Mock()
    return heard


async def test_all_hops_serve() -> None:
    async with three_hops(Board().engine) as (network, client, _):
        path = path_of(network)
        assert await told(client, path) == [([hop.peer for hop in path], 3, False)]


async def test_a_guard_that_cannot_be_dialled() -> None:
    async with three_hops(Board().engine) as (network, client, _):
        path = path_of(network)
        await network.nodes[0].close()
        await turns()
        assert await told(client, path) == [([hop.peer for hop in path], 0, True)]


async def test_a_second_hop_that_the_guard_cannot_reach_or_does_not_know() -> None:
    async with three_hops(Board().engine) as (network, client, _):
        path = path_of(network)
        await network.nodes[1].close()
        await turns()
        assert [rest for _, *rest in await told(client, path)] == [[1, True]]
        del network.hops[path[1].peer]
        assert [rest for _, *rest in await told(client, path)] == [[1, True]]


async def test_hops_that_refuse() -> None:
    async with three_hops(Board().engine) as (network, client, _):
        path = path_of(network)
        for place in (2, 1, 0):
            network.nodes[place].relay.use_onion_keys([])
            assert [rest for _, *rest in await told(client, path)] == [[place, True]]


@pytest.mark.parametrize("reason", list(Reason))
async def test_an_exit_refuses_with_any_reason(reason: Reason, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it says, the hops before it have served."""
    async with three_hops(Board().engine) as (network, client, _):
        path = path_of(network)
        relay = network.nodes[2].relay

        async def refuse(link: object, number: int, asked: Asked) -> None:
            relay._turn_down(link, number, asked, reason)  # type: ignore[arg-type]

        monkeypatch.setattr(relay, "_extend", refuse)
        heard = await told(client, path)
        assert all(served >= 2 for _, served, _ in heard)


async def test_an_exit_that_destroys_at_once_tells_nothing_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async with three_hops(Board().engine) as (network, client, _):
        path = path_of(network)
        relay = network.nodes[2].relay
        extend = relay._extend

        async def extend_and_destroy(link: object, number: int, asked: Asked) -> None:
            await extend(link, number, asked)  # type: ignore[arg-type]
            link.destroy(number, Reason.NEXT_HOP)  # type: ignore[attr-defined]

        monkeypatch.setattr(relay, "_extend", extend_and_destroy)
        assert all(served == 3 for _, served, _ in await told(client, path))
