"""A node's links, over engines in memory."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from core.errors import DecodeError, LinkError, Reason
from core.ids import PeerKey
from tests.harness.entropy import seeded
from tests.harness.linked import Events, Owner, told
from tests.harness.waiting import turns, until
from tests.harness.wire import Board
from tests.tunnel.wireguard.reference import SMALL_ORDER
from tunnel import links as links_module
from tunnel.creation import ANSWER_BYTES, CREATION_BYTES
from tunnel.limits import NEEDLESS_S
from tunnel.links import Links
from tunnel.path import Hop
from tunnel.wireguard.primitives import private_key, public_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tunnel.engines.seam import Address

PEER = PeerKey(bytes([7] * 32))
CREATION = bytes(CREATION_BYTES)


class Rig:
    """A serving node and a client, each with its links."""

    def __init__(self) -> None:
        board = Board()
        key = private_key(seeded("links")(32))
        self.engines = [board.engine(), board.engine()]
        self.events = [Events(), Events()]
        self.refused: set[str] = set()
        self.serving = Links(self.engines[0], key, lambda: b"descriptor", self.events[0], lambda host: True, tell=told)
        self.client = Links(self.engines[1], None, lambda: None, self.events[1], lambda host: host not in self.refused)
        self.link_key = public_bytes(key)
        self.port = 0

    def hop(self, *hosts: str, link_key: bytes | None = None) -> Hop:
        addresses = tuple((host, self.port) for host in hosts or ("127.0.0.1",))
        return Hop(PEER, link_key or self.link_key, bytes(32), addresses)


@asynccontextmanager
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    made.port = await made.serving.listen(0)
    await made.client.listen(0)
    try:
        yield made
    finally:
        await made.client.close()
        await made.serving.close()
        assert not list(made.client)
        assert not made.client._all
        assert not made.serving._all


async def test_one_link_for_all_who_ask() -> None:
    async with rig() as made:
        links = await asyncio.gather(*(made.client.to(made.hop()) for _ in range(5)))
        assert len({*links, await made.client.to(made.hop())}) == 1
        assert len(made.engines[1].dialled) == 1
        assert list(made.client) == links[:1]
        assert links[0].peer == PEER


async def test_a_link_that_went_is_made_anew() -> None:
    async with rig() as made:
        first = await made.client.to(made.hop())
        first.close()
        await turns()
        second = await made.client.to(made.hop())
        assert second is not first
        assert second.is_up


async def test_a_client_uses_a_fresh_key_for_every_link() -> None:
    async with rig() as made:
        for _ in range(3):
            (await made.client.to(made.hop())).close()
            await turns()
        assert len({link.static for link in made.events[0].ups}) == 3


async def test_only_allowed_addresses_are_dialled() -> None:
    async with rig() as made:
        made.refused = {"10.0.0.1", "127.0.0.1"}
        with pytest.raises(LinkError):
            await made.client.to(made.hop("10.0.0.1", "127.0.0.1"))
        assert not made.engines[1].dialled
        await made.client.to(made.hop("10.0.0.1", "192.0.2.1"))
        assert made.engines[1].dialled == [("192.0.2.1", made.port)]


async def test_the_next_address_is_tried() -> None:
    async with rig() as made:
        hop = Hop(PEER, made.link_key, bytes(32), (("127.0.0.1", 999), ("127.0.0.1", made.port)))
        assert (await made.client.to(hop)).is_up


async def test_a_peer_without_an_address_is_reached_over_the_link_that_it_made() -> None:
    async with rig() as made:
        there = await made.client.to(made.hop())
        (back,) = list(made.serving)
        hop, other = (Hop(PEER, key, bytes(32), ()) for key in (back.static, bytes(32)))
        assert await made.serving.to(hop) is back
        assert await made.serving.to(hop) is back
        assert back.peer == PEER
        assert not made.engines[0].dialled
        with pytest.raises(LinkError):
            await made.serving.to(replace(other, peer=PeerKey(bytes(32))))
        there.close()
        await until(lambda: not list(made.serving))
        with pytest.raises(LinkError):
            await made.serving.to(hop)


async def test_nobody_there() -> None:
    async with rig() as made:
        made.port = 999
        for _ in range(2):
            with pytest.raises(LinkError) as caught:
                await made.client.to(made.hop())
            assert caught.value.reason is Reason.NEXT_HOP
        assert not made.client._dialling


async def test_somebody_else_there() -> None:
    async with rig() as made:
        with pytest.raises(LinkError):
            await made.client.to(made.hop(link_key=bytes([9] * 32)))
        await until(lambda: not made.client._all and not made.serving._all)


@pytest.mark.parametrize("point", SMALL_ORDER[:2])
async def test_an_unusable_link_key_is_no_answer(point: str) -> None:
    async with rig() as made:
        with pytest.raises(LinkError):
            await made.client.to(made.hop(link_key=bytes.fromhex(point)))
        await until(lambda: not made.client._all and not made.serving._all)
        assert (await made.client.to(made.hop())).is_up


async def test_a_handshake_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links_module, "LINK_HANDSHAKE_S", 0.05)
    async with rig() as made:
        dialling = asyncio.ensure_future(made.client.to(made.hop()))
        await until(lambda: made.engines[0].connections)
        made.engines[0].connections[0].deaf = True
        with pytest.raises(LinkError):
            await asyncio.wait_for(dialling, 1)
        await until(lambda: made.serving.counters["handshake not finished"] == 1)


async def test_whoever_connects_and_stays_silent_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links_module, "LINK_HANDSHAKE_S", 0.05)
    async with rig() as made:
        await made.engines[1].dial(("127.0.0.1", made.port), lambda connection: Silent(), 1)
        assert len(made.serving._all) == 1
        await until(lambda: not made.serving._all)


class Silent:
    """A connection's owner that never says anything."""

    def stream_received(self, stream: int, data: memoryview, end: bool) -> None: ...

    def stream_reset(self, stream: int) -> None: ...

    def stream_drained(self, stream: int) -> None: ...

    def datagram_received(self, data: memoryview) -> None: ...

    def connection_closed(self) -> None: ...


async def test_a_client_takes_no_links() -> None:
    async with rig() as made:
        await made.engines[0].dial(("127.0.0.1", made.engines[1]._port), lambda connection: Silent(), 1)
        await until(lambda: not made.client._all)


async def test_one_who_gives_up_leaves_the_link_to_the_others() -> None:
    async with rig() as made:
        first, second = (asyncio.ensure_future(made.client.to(made.hop())) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).is_up


async def test_a_link_that_nobody_waits_for_any_more_is_found_by_the_next() -> None:
    async with rig() as made:
        only = asyncio.ensure_future(made.client.to(made.hop()))
        await asyncio.sleep(0)
        only.cancel()
        await until(lambda: list(made.client))
        assert [await made.client.to(made.hop())] == list(made.client)
        assert len(made.engines[1].dialled) == 1


async def test_bootstrap_by_peer_id() -> None:
    async with rig() as made:
        link = await made.client.bootstrap(("127.0.0.1", made.port), PEER, lambda raw: made.hop())
        assert link.peer == PEER
        assert await made.client.to(made.hop()) is link


async def test_bootstrap_with_a_descriptor_of_somebody_else() -> None:
    def refuse(raw: bytes) -> Hop:
        raise DecodeError("descriptor", "of somebody else")

    async with rig() as made:
        with pytest.raises(LinkError):
            await made.client.bootstrap(("127.0.0.1", made.port), PEER, refuse)
        await until(lambda: not made.client._all)


# -- links that nobody needs


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody needs goes at the next look."""
    monkeypatch.setattr(links_module, "NEEDLESS_S", -1.0)
    monkeypatch.setattr(links_module, "NEEDLESS_LINKS", 0)


@pytest.mark.usefixtures("impatient")
async def test_a_link_that_only_others_wanted_goes_and_is_made_anew() -> None:
    async with rig() as made:
        link = await made.client.to(made.hop(), for_others=True)
        made.client.close_needless()
        assert link.closed
        assert made.client.counters["link that nobody needs"] == 1
        await until(lambda: not made.serving._all)
        assert (await made.client.to(made.hop(), for_others=True)).is_up


async def test_a_link_is_chosen_when_this_node_wants_it_and_not_when_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    async with rig() as made:
        seen: list[bool] = []
        monkeypatch.setattr(made.client._events, "link_up", lambda link: seen.append(link.chosen))
        link = await made.client.to(made.hop(), for_others=True)
        assert not link.chosen
        assert await made.client.to(made.hop()) is link
        assert link.chosen
        assert not next(iter(made.serving._all)).chosen, "it was dialled by the other side"
        link.close()
        await until(lambda: not made.client._all)
        await made.client.to(made.hop())
        assert seen == [False, True], "known before anything is heard over it"


@pytest.mark.usefixtures("impatient")
async def test_a_link_for_a_question_goes_unless_it_is_kept_or_was_wanted_before() -> None:
    async with rig() as made:
        asked = await made.client.to(made.hop(), stays=False)
        assert not asked.chosen
        made.client.close_needless()
        assert asked.closed
        await until(lambda: not made.client._all)
        kept = await made.client.to(made.hop(), stays=False)
        kept.keep()
        made.client.close_needless()
        assert kept.is_up
        assert kept.chosen
        assert await made.client.to(made.hop(), stays=False) is kept
        made.client.close_needless()
        assert kept.is_up, "it was wanted before"


@pytest.mark.usefixtures("impatient")
async def test_it_is_looked_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links_module, "NEEDLESS_LOOK_S", 0.01)
    async with rig() as made:
        for _ in range(2):
            await made.client.to(made.hop(), for_others=True)
            await until(lambda: not made.client._all and not made.serving._all)


async def test_it_stays_for_a_while_from_when_it_was_wanted_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links_module, "NEEDLESS_LINKS", 0)
    async with rig() as made:
        link = await made.client.to(made.hop(), for_others=True)
        link.needed_at -= 2 * NEEDLESS_S
        assert await made.client.to(made.hop(), for_others=True) is link
        made.client.close_needless()
        assert link.is_up
        link.needed_at -= NEEDLESS_S + 1
        made.client.close_needless()
        assert link.closed


async def want(made: Rig) -> None:
    await made.client.to(made.hop())


async def meet(made: Rig) -> None:
    await made.client.meet(("127.0.0.1", made.port), b"", lambda raw: made.hop(), keep=lambda: True)


async def bootstrap(made: Rig) -> None:
    await made.client.bootstrap(("127.0.0.1", made.port), PEER, lambda raw: made.hop())


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("make", [want, meet, bootstrap])
async def test_a_link_that_this_node_wants_itself_stays(make: Callable[[Rig], Awaitable[None]]) -> None:
    async with rig() as made:
        await make(made)
        for _ in range(2):
            made.client.close_needless()
            made.serving.close_needless()
            await turns()
            (link,) = made.client
            assert link.is_up
            assert await made.client.to(made.hop(), for_others=True) is link


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("make", [want, bootstrap])
async def test_a_link_that_others_wanted_first_stays_as_well(make: Callable[[Rig], Awaitable[None]]) -> None:
    async with rig() as made:
        link = await made.client.to(made.hop(), for_others=True)
        await make(made)
        made.client.close_needless()
        assert list(made.client) == [link]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("side", ["near", "far"])
async def test_a_link_with_a_circuit_stays_whoever_made_that(side: str) -> None:
    """From when it is asked for until it is over, at either end."""
    async with rig() as made:
        near = await made.client.to(made.hop(), for_others=True)
        (far,) = made.serving
        maker, server, events = (near, far, made.events[0]) if side == "near" else (far, near, made.events[1])
        asked = asyncio.ensure_future(maker.create(CREATION, Owner(), 5.0))
        await until(lambda: events.creations)
        made.client.close_needless()
        ((number, _),) = events.creations
        server.answer(number, CREATION[:ANSWER_BYTES], Owner())
        await asked
        made.client.close_needless()
        assert near.is_up
        maker.destroy(number, Reason.CLOSED)
        await turns()
        made.client.close_needless()
        assert near.closed


# -- networks


@pytest.mark.parametrize("secrets", [(1, 2), (0, 1), (1, 0)], ids=["another", "none", "not needed"])
async def test_who_has_not_the_networks_key_gets_no_answer_and_no_link(secrets: tuple[int, int]) -> None:
    async with rig() as made:
        made.serving.preshared, made.client.preshared = (bytes([secret] * 32) for secret in secrets)
        with pytest.raises(LinkError):
            await made.client.to(made.hop())
        await until(lambda: not made.client._all and not made.serving._all)
        assert made.serving.counters["handshake not finished"] == 1
        assert not made.events[0].ups
        assert not made.events[1].ups


async def test_the_members_of_a_network_link() -> None:
    async with rig() as made:
        made.serving.preshared = made.client.preshared = bytes([1] * 32)
        assert (await made.client.to(made.hop())).is_up


async def test_whoever_is_at_an_address_is_met_and_the_link_kept_or_not() -> None:
    async with rig() as made:
        address = ("127.0.0.1", made.port)
        await made.client.meet(address, b"", lambda raw: made.hop(), keep=lambda: False)
        await until(lambda: not made.client._all and not made.serving._all)
        assert len(made.events[1].ups) == 1
        await made.client.meet(address, b"", lambda raw: made.hop(), keep=lambda: True)
        (link,) = made.client
        assert link.peer == PEER
        assert await made.client.to(made.hop()) is link
        assert len(made.engines[1].dialled) == 2


async def test_meeting_a_peer_leaves_the_link_to_it_as_it_is() -> None:
    async with rig() as made:
        link = await made.client.to(made.hop())
        await made.client.meet(("127.0.0.1", made.port), b"", lambda raw: made.hop(), keep=lambda: True)
        await until(lambda: list(made.client) == [link])
        assert await made.client.to(made.hop()) is link
        assert len(made.engines[1].dialled) == 2


async def test_a_peer_to_which_a_link_has_just_ended_is_met() -> None:
    async with rig() as made:
        address = ("127.0.0.1", made.port)
        ended = await made.client.to(made.hop())
        ended.close()
        made.client._by_peer[PEER] = ended  # as when it ends between its handshake and the return of its dial
        await made.client.meet(address, b"", lambda raw: made.hop(), keep=lambda: True)
        (link,) = made.client
        assert await made.client.to(made.hop()) is link


async def test_who_tells_another_peers_descriptor_is_not_met() -> None:
    """The descriptor is a true one; the link key in it is not of who told it."""
    async with rig() as made:
        other = made.hop(link_key=public_bytes(private_key(bytes([9] * 32))))
        with pytest.raises(LinkError):
            await made.client.meet(("127.0.0.1", made.port), b"", lambda raw: other, keep=lambda: True)
        await until(lambda: not made.client._all)
        assert not made.events[1].ups


async def test_who_may_not_ask_is_told_nothing() -> None:
    async with rig() as made:
        read: list[bytes] = []

        def verify(raw: bytes) -> Hop:
            read.append(raw)
            return made.hop()

        with pytest.raises(LinkError):
            await made.client.meet(("127.0.0.1", made.port), b"no proof", verify, keep=lambda: True)
        await until(lambda: not made.client._all and not made.serving._all)
        assert not read
        assert (await made.client.to(made.hop())).is_up


async def test_whoever_is_dialled_is_asked_about_right_before() -> None:
    """What was allowed when a peer was chosen may be inside by now; a descriptor cannot make this node send there."""
    async with rig() as made:
        made.refused = {"127.0.0.1"}
        hop = made.hop()
        with pytest.raises(LinkError):
            await made.client.bootstrap(("127.0.0.1", made.port), PEER, lambda raw: hop)
        with pytest.raises(LinkError):
            await made.client.meet(("127.0.0.1", made.port), bytes(32), lambda raw: hop, keep=lambda: True)
        made.client.arrange = lambda hop: somewhere(("127.0.0.1", made.port))
        with pytest.raises(LinkError):
            await made.client.to(Hop(PEER, made.link_key, bytes(32), ()))
        assert not made.engines[1].dialled


async def somewhere(address: Address) -> Address | None:
    return address
