"""Finding peers through the DHT.

A node that serves others stays in the DHT. A client enters it while it has no path or knows few peers, and leaves.

What strangers say there is a hint. A peer is known once a link to the address was made and the descriptor that was told
over it is of who holds the link; or once its descriptor was found under its name, signed by it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from core.errors import ConfigError
from core.tasks import Tasks
from node.presence import Presence
from peers import dht_nodes
from peers.descriptor import Role
from peers.dht import Dht, DhtOptions
from peers.hints import Hints
from peers.rendezvous import keys_to_ask
from tunnel.rate import Rate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from core.ids import PeerKey
    from node.peering import Peering
    from node.settings import PeersSettings
    from peers.addresses import Address

NODES_NAME: Final = "dht"

ENOUGH: Final = 64
"""Who knows so many peers looks for more only while there is no path; and who serves meets so many in a round."""
FEW: Final = 8
"""A client meets so many in a round, and learns of the others from them: whoever is met sees its address."""
EXITS_FROM: Final = 3
"""The round from which on a client that is still in need meets exits as well."""
ENTER_S: Final = 1.5
"""A node that has just entered the DHT knows nobody there; so long it waits for the first answers before it asks."""
DIALLERS: Final = 16

FIRST_PAUSE_S: Final = 2.0
"""Between the first round and the second; then it doubles. In a small DHT each node is asked for each key, and does not
hear who sends more than fifty packets in ten seconds, questions and answers together."""
LONGEST_PAUSE_S: Final = 900.0
LONGEST_IN_NEED_S: Final = 30.0
LEAVE_FROM_S: Final = 20.0
"""A client leaves the DHT when the next round is not nearer than this."""
CHECK_S: Final = 0.2
"""Need, the number of known peers and the time decide together when to ask, and nothing calls when `in_need` changes.
So all three are looked at this often, and a need is seen at most so late."""

FIND_S: Final = 1.0
"""A circuit's patience with a search for its next hop by name. The search itself goes on, for the next circuit."""
MAX_FINDS: Final = 8
FINDS_PER_MINUTE: Final = 60

_ASK_FOR_PEERS: Final = {
    False: "Name one with --bootstrap.",
    True: "Join again with an invite from a member whose node runs and has an address.",
}

_random = random.SystemRandom()
_log = logging.getLogger(__name__)


class Discovery:
    """This node in the DHT.

    Args:
        settings: the `peers` section.
        home: folder in which nodes of the DHT are remembered.
        peering: what is known of peers.
        in_need: whether this node lacks a path, or, if it only serves, a link.
    """

    def __init__(
        self,
        settings: PeersSettings,
        home: Path,
        peering: Peering,
        in_need: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._path = home / NODES_NAME
        self._peering = peering
        self._in_need = in_need
        self._time = asyncio.get_running_loop().time
        self._hints = Hints(peering.address_ok, _random)
        self._hinted = asyncio.Event()
        self._known: set[Address] = set()
        self._to_meet = 0
        self._rounds = 0
        self._finding: dict[PeerKey, asyncio.Task[None]] = {}
        self._finds = Rate(FINDS_PER_MINUTE, FINDS_PER_MINUTE / 60, self._time())
        self._dht: Dht | None = None
        self._presence: Presence | None = None
        self._state = "off"
        self._searches = Tasks()
        self._tasks = Tasks()

    @property
    def state(self) -> str:
        """One of `off`, `missing` (the library is), `resting` (nobody is looked for) and `on`."""
        return "resting" if self._state == "on" and self._dht is None else self._state

    @property
    def nobody_yet(self) -> str:
        """What to say while no peer is known."""
        looked_for = "They are being looked for in the DHT. " if self.state == "on" else ""
        return f"No peers are known yet. {looked_for}{_ASK_FOR_PEERS[self._peering.network.is_private]}"

    # -- life

    def start(self) -> None:
        """Begin to look, and to be found; or do nothing, if the settings say so or the library is missing."""
        if not self._settings.dht:
            return
        try:
            dht = self._enter()
        except ConfigError as error:
            self._state = "missing"
            _log.warning("%s", error.problem)
            return
        self._state = "on"
        if self._peering.identity is not None:
            self._presence = Presence(dht, self._peering, self._keep_going)
            self._tasks.spawn(self._presence.run(), "presence")
        for _ in range(DIALLERS):
            self._tasks.spawn(self._meet_hinted(), "hints")
        self._tasks.spawn(self._look(), "search")

    def published(self) -> None:
        """Hear that the own descriptor is a new one."""
        if self._presence is not None:
            self._presence.published()

    async def close(self) -> None:
        """Leave the DHT, and remember its nodes."""
        await self._tasks.cancel()
        await self._leave()

    def _enter(self) -> Dht:
        if self._dht is None:
            options: dict[str, Any] = {"listen": self._settings.dht_listen} if self._settings.dht_listen else {}
            self._dht = Dht(DhtOptions(routers=self._routers(), read_only=self._peering.address is None, **options))
            self._dht.add_nodes([*self._routers(), *self._remembered()])
        return self._dht

    async def _leave(self) -> None:
        if self._dht is not None:
            leaving, self._dht = self._dht, None
            await self._searches.cancel()
            self._remember(leaving)
            await leaving.close()

    def _keep_going(self, dht: Dht) -> None:
        """Remember the DHT's nodes; or begin with the first ones anew, if there are none."""
        if not self._remember(dht):
            dht.add_nodes([*self._routers(), *self._remembered()])

    def _routers(self) -> tuple[Address, ...]:
        parts = (text.rpartition(":") for text in self._settings.dht_nodes)
        return tuple((host.strip("[]"), int(port)) for host, _, port in parts)

    def _remembered(self) -> list[Address]:
        try:
            return dht_nodes.load(self._path)
        except OSError as error:
            _log.warning("the file of remembered DHT nodes cannot be read: %s", type(error).__name__)
            return []

    def _remember(self, dht: Dht) -> bool:
        nodes = dht.nodes()
        if nodes:
            try:
                dht_nodes.save(self._path, nodes)
            except OSError as error:
                _log.warning("the file of remembered DHT nodes cannot be written: %s", type(error).__name__)
        return bool(nodes)

    # -- looking

    async def _look(self) -> None:
        """Ask in rounds, with pauses that grow; from the shortest again when a need arises."""
        pause, began, in_need = 0.0, self._time(), False
        while True:
            before, in_need = in_need, self._in_need()
            if in_need and not before:
                pause = min(pause, FIRST_PAUSE_S)
            longest = LONGEST_IN_NEED_S if in_need else LONGEST_PAUSE_S
            few = self._peering.hearing.knows_few(ENOUGH)
            if (in_need or few) and self._time() - began >= min(pause, longest):
                pause = min(2 * pause or FIRST_PAUSE_S, LONGEST_PAUSE_S)
                began = self._time()
                await self._round(self._enter())
            elif self._peering.identity is None and (pause >= LEAVE_FROM_S or not (in_need or few)):
                await self._leave()
            await asyncio.sleep(CHECK_S)

    async def _round(self, dht: Dht) -> None:
        """Ask once for each key. Answers are taken as they come."""
        roles, self._to_meet = self._whom()
        with suppress(TimeoutError):
            async with asyncio.timeout(ENTER_S):
                await dht.entered.wait()
        if not dht.nodes():
            self._keep_going(dht)
        self._known = {address for found in self._peering.directory.peers() for address in found.addresses}
        if self._peering.address is not None:
            self._known.add(self._peering.address)
        for key in keys_to_ask(self._peering.network, roles, time.time(), _random):
            self._searches.spawn(dht.search(key, self._found), "search")

    def _whom(self) -> tuple[Role, int]:
        """Which roles are asked for, and how many peers may be met.

        A client does not dial the exits that it may use: an exit shall not hear of its address. It hears of exits from
        relays, unless there is no gossip, or none of these knows any.
        """
        self._rounds = self._rounds + 1 if self._in_need() else 0
        if self._peering.identity is not None or not self._settings.gossip:
            return Role.RELAY | Role.EXIT, ENOUGH
        return (Role.RELAY | Role.EXIT if self._rounds >= EXITS_FROM else Role.RELAY), FEW

    def _found(self, addresses: list[Address]) -> None:
        if self._hints.add((address for address in addresses if address not in self._known), self._time()):
            self._hinted.set()

    async def _meet_hinted(self) -> None:
        while True:
            await self._hinted.wait()
            address = self._hints.take(self._time()) if self._to_meet > 0 else None
            if address is None:
                self._hinted.clear()
                continue
            self._to_meet -= 1
            if not await self._peering.meet(address):
                self._to_meet += 1

    # -- by name

    async def find(self, peer: PeerKey) -> None:
        """Look for a peer's descriptor under its name, for a second; if it comes later, it is kept all the same.

        Nodes of the DHT near that name learn who asks for it. So this is for relays, which look for others' next hops;
        a client that looked for its guards would tell strangers who they are.

        Args:
            peer: who shall be known.
        """
        if (task := self._begin_to_find(peer)) is not None:
            await asyncio.wait((task,), timeout=FIND_S)

    def _begin_to_find(self, peer: PeerKey) -> asyncio.Task[None] | None:
        task = self._finding.get(peer)
        if task is not None or self._dht is None or self._peering.directory.get(peer) is not None:
            return task
        if len(self._finding) >= MAX_FINDS or not self._finds.take(self._time()):
            return None
        task = self._finding[peer] = self._tasks.spawn(self._find(self._dht, peer), "search by name")
        task.add_done_callback(lambda _: self._finding.pop(peer, None))
        return task

    async def _find(self, dht: Dht, peer: PeerKey) -> None:
        for sealed in await dht.get(peer, self._peering.network.salt(peer)):
            if self._peering.found(peer, sealed):
                return
