"""Knowing other peers: the own descriptor, gossip over every link, and the first link of all."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import random
import secrets
import time
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from core.errors import ConfigError, DecodeError, LinkError
from core.tasks import Tasks
from node.bootstrap import GROWS, LONGEST_PAUSE_S, Bootstrap
from node.hearing import Hearing
from node.networks import introduce
from node.peer_filter import peer_filter, read_hosts
from peers import store
from peers.descriptor import Descriptor, Role
from peers.directory import Directory
from peers.gossip import Gossip
from peers.invite import Invite
from peers.networks import NONCE_BYTES, PUBLIC_NAME, Network
from peers.paths import path_of
from peers.voices import FROM_DHT
from tunnel.path import Hop

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from core.ids import PeerKey
    from exits.addresses import Address as IpAddress
    from exits.routes import Routes
    from node.settings import PeersSettings
    from peers.addresses import Address
    from peers.holds import Hold
    from peers.identity import Identity
    from peers.onion import OnionKeys
    from tunnel.link import Link
    from tunnel.links import Links

DESCRIPTOR_LIFE_S: Final = 20 * 3600
"""Shorter than an onion key's overlap, by more than clocks and slow circuits take: who still has a descriptor can use
the key in it. `tests/node/test_peering.py` holds that."""

RENEW_S: Final = 6 * 3600
CLOCK_S: Final = 60.0
"""The clock is looked at so often: it may be set, and does not run on while a machine sleeps."""

ANNOUNCE_S: Final = 60.0
TIDY_S: Final = 300.0
SETTLE_S: Final = 0.05
"""News are passed on after so long, so that what comes together goes together."""

FIRST_PAUSE_S: Final = 0.3
ADDRESSES_REMEMBERED: Final = 1 << 14
LINKS_KEPT: Final = 8
"""Who has more links than this does not keep one that was made to learn who is there."""
STORE_NAME: Final = "peers"
PUBLIC: Final = Invite(Network(PUBLIC_NAME))
NO_ONION_KEY: Final = bytes(32)

_log = logging.getLogger(__name__)


class Peering:
    """What this node knows of others, and what it tells of itself.

    Args:
        settings: the `peers` section.
        home: folder in which known peers are remembered.
        identity: own keys; None at a client, which publishes nothing.
        onion: own onion keys; None at a client.
        roles: what the descriptor offers.
        region: what it says about the place; may be empty.
        exit_policy: the policy's summary; may be empty.
        on_news: called when more peers became known.
        on_onion_keys: called when the onion keys have changed, before the descriptor says so.
        operator: what the descriptor says about whoever runs it; may be empty.
        membership: the network, and peers to begin with.
        asn_of: the number of the autonomous system that an IP literal belongs to; None when it is not known.
        routes: the way to an address; None to ask the system.
        restricted: whether the descriptor says that this node serves only those that it chose.
        tariff_step: what it says that carrying costs, 0 to 7.

    Attributes:
        network: which network this is.
        identity, roles: as given.
        address: where others reach this node, if that is known.
        directory: the peers that are known.
        hearing: who has named them.
        on_published: called when the own descriptor is a new one.
        own_hosts: names the IP literals under which others see this node, as far as that is known.

    Raises:
        ConfigError: there are bootstrap peers in a private network, where only the invite can name them.
    """

    def __init__(
        self,
        settings: PeersSettings,
        home: Path,
        identity: Identity | None,
        onion: OnionKeys | None,
        roles: Role,
        region: str,
        exit_policy: bytes,
        on_news: Callable[[], None],
        on_onion_keys: Callable[[list[X25519PrivateKey]], None],
        operator: str = "",
        membership: Invite = PUBLIC,
        asn_of: Callable[[str], int | None] = lambda host: None,
        routes: Routes | None = None,
        *,
        restricted: bool = False,
        tariff_step: int = 0,
    ) -> None:
        self._settings = settings
        self.identity = identity
        self.roles = self._offered = roles
        self.address: Address | None = None
        self._store = home / STORE_NAME
        self._onion = onion
        self._says: dict[str, Any] = {"region": region, "exit_policy": exit_policy, "operator": operator.encode()}
        self._says |= {"restricted": restricted, "tariff_step": tariff_step}
        self._on_news = on_news
        self._on_onion_keys = on_onion_keys
        if membership.network.is_private and settings.bootstrap:
            raise ConfigError("peers.bootstrap", "a private network's peers are in its invite; name none here")
        self.network = membership.network
        self._introductions = [found for found in membership.peers if identity is None or found.peer != identity.peer]
        self._filter = peer_filter(settings.allow_addresses, self.network, routes, self.own_addresses)
        self._links: Links | None = None
        self._gossip: dict[Link, Gossip] = {}
        self._news = asyncio.Event()
        self._tasks = Tasks()
        self._found: Address | None = None
        self._via: tuple[Hold, ...] = ()
        self._own: bytes | None = None
        self._port = self._published_at = self._sequence = 0
        self.on_published: Callable[[], None] = lambda: None
        self.own_hosts: Callable[[], frozenset[str]] = frozenset
        self.directory = Directory(identity.peer if identity else None, asn_of=asn_of, secret=secrets.token_bytes(16))
        self._address_ok = lru_cache(maxsize=ADDRESSES_REMEMBERED)(self._judge)
        own = identity.peer if identity else None
        self._bootstrap = Bootstrap(settings.bootstrap, own, self.directory, self.address_ok, self._learned)
        self.hearing = Hearing(self.directory, self.address_ok, needed=settings.gossip and not self.network.is_private)

    # -- what the tunnel asks

    def address_ok(self, host: str) -> bool:
        """Whether a peer at an IP literal may be chosen. Whether it may be dialled is another question each time."""
        return self._address_ok(host)

    def may_dial(self, host: str) -> bool:
        """Whether a peer may be dialled at an IP literal now."""
        return self._address_ok(host) and self._filter.allows(ipaddress.ip_address(host))

    def own_addresses(self) -> frozenset[IpAddress]:
        """Where others see this node, which is inside as seen from here."""
        hosts = self.own_hosts()
        return read_hosts(hosts if self.address is None else hosts | {self.address[0]})

    def _judge(self, host: str) -> bool:
        """Say what does not change, so that it can be remembered."""
        try:
            return self._filter.may_allow(ipaddress.ip_address(host))
        except ValueError:
            return False

    def descriptor(self) -> bytes | None:
        return self._own

    def sealed(self) -> bytes | None:
        """The own descriptor for the DHT; None if there is none that fits."""
        if self._own is None:
            return None
        try:
            return self.network.seal(self._own, secrets.token_bytes(NONCE_BYTES))
        except DecodeError:
            _log.warning("the descriptor is too long for the DHT: name fewer addresses, or a shorter policy")
            return None

    def tell(self, proof: bytes) -> bytes | None:
        """What whoever asks is told of this node before there is a link."""
        if not self.network.may_ask(proof, (self.address,) if self.address else (), time.time()):
            return None
        return self.sealed() if self.network.is_private else self._own

    def invite(self) -> Invite:
        """Invite to this network, naming this node if others can reach it, and some that it knows."""
        own = [] if self._own is None else [Descriptor.decode(self._own, time.time())]
        known = list(self.directory.peers())
        random.shuffle(known)
        return Invite(self.network, introduce([*own, *known], self.address_ok))

    def locate(self, peer: PeerKey) -> Hop | None:
        found = self.directory.get(peer)
        return path_of([found], self.address_ok)[0] if found is not None else None

    def link_key_of(self, peer: PeerKey) -> bytes | None:
        """The key with which a known peer proves on links who it is."""
        found = self.directory.get(peer)
        return None if found is None else found.link_key

    def holders(self, peer: PeerKey) -> list[PeerKey]:
        """Relays that hold a link to a peer, as it says."""
        found = self.directory.get(peer)
        return [hold.relay for hold in found.via] if found is not None else []

    def candidates(self, role: Role = Role.NONE) -> list[Hop]:
        """Peers that have a role and may be dialled at an address, in random order."""
        known = [found for found in self.directory.peers() if role in found.roles]
        random.shuffle(known)
        return [hop for hop in path_of(known, self.address_ok) if hop.addresses]

    # -- life

    def publish(self, port: int) -> None:
        """Sign the own descriptor.

        Args:
            port: the UDP port that links come in on.
        """
        if self.identity is None or self._onion is None:
            return
        now = int(time.time())
        self._port = port
        self._published_at = now
        self._sequence = max(self._sequence + 1, now)
        self.address = (self._settings.address, port) if self._settings.address else self._found
        via = () if self.address else tuple(hold for hold in self._via if hold.expiry > now)
        self._own = Descriptor.sign(
            self.identity,
            self._onion.publics,
            sequence=self._sequence,
            expiry=min([now + DESCRIPTOR_LIFE_S, *(hold.expiry for hold in via)]),
            roles=self._offered,
            addresses=(self.address,) if self.address else (),
            via=via,
            **self._says,
        )
        self.on_published()

    def reachable_at(self, address: Address | None) -> None:
        """Publish that others reach this node at an address, None for nowhere, unless the settings name one."""
        if self._settings.address or address == self._found:
            return
        self._found = address
        self._publish_anew()

    @property
    def offered(self) -> Role:
        """What the descriptor offers now."""
        return self._offered

    def offer(self, roles: Role) -> None:
        """Publish that this node does only so much for others now; part of `roles`, or nothing."""
        if roles != self._offered:
            self._offered = roles
            self._publish_anew()

    def restrict(self, restricted: bool) -> None:
        """Publish whether this node serves only those that it chose."""
        if self._says["restricted"] != restricted:
            self._says["restricted"] = restricted
            self._publish_anew()

    def held_by(self, holds: tuple[Hold, ...]) -> None:
        """Publish who holds a link to this node, as long as nobody can dial it."""
        if holds != self._via:
            self._via = holds
            self._publish_anew()

    def _publish_anew(self) -> None:
        if self._port:
            self.publish(self._port)
            self._news.set()

    def start(self, links: Links, port: int) -> None:
        """Load what was known, and begin to look for peers."""
        self._links = links
        try:
            kept = store.load(self._store, self.directory, time.time())
        except OSError as error:
            _log.warning("the file of known peers cannot be read: %s", type(error).__name__)
        else:
            _log.info("%d peers known from before", kept)
        if self._settings.gossip:
            self._tasks.spawn(self._spread(), "gossip")
            self._tasks.spawn(self._stay_linked(), "bootstrap")
            self._tasks.spawn(self._bootstrap.join_parts(links), "parts of the network")
        self._tasks.spawn(self._tidy(), "directory")
        self._tasks.spawn(self._renew(port), "descriptor")

    async def close(self) -> None:
        """Stop, and remember the peers."""
        await self._tasks.cancel()
        if self._links is not None:
            self._save()

    def _save(self) -> None:
        try:
            store.save(self._store, self.directory)
        except OSError as error:
            _log.warning("the file of known peers cannot be written: %s", type(error).__name__)

    # -- gossip

    def link_up(self, link: Link) -> None:
        if not self._settings.gossip:
            return
        self.hearing.link_up(link)
        gossip = self._gossip[link] = Gossip(self.directory, self.descriptor, tells=self.identity is not None)
        self._say(link, gossip.start(time.time()))

    def link_down(self, link: Link) -> None:
        self._gossip.pop(link, None)
        self.hearing.link_down(link)

    def gossip(self, link: Link, body: bytes) -> None:
        gossip = self._gossip.get(link)
        if gossip is None:
            return
        before, heard_before = self.directory.revision, self.directory.voices.revision
        try:
            answers = gossip.receive(body, time.time(), source=self.hearing.source(link))
        except DecodeError:
            link.fail("gossip")
            return
        self._say(link, answers)
        if self.directory.revision != before:
            self._learned()
        elif self.directory.voices.revision != heard_before:
            self._on_news()

    def learn(self, descriptor: Descriptor, source: Hashable) -> None:
        """Keep a verified descriptor that a source brought, if it is news."""
        if self.directory.insert(descriptor, source):
            self._learned()

    def _learned(self) -> None:
        self._news.set()
        self._on_news()

    @staticmethod
    def _say(link: Link, messages: list[bytes]) -> None:
        for message in messages:
            link.send_gossip(message)

    async def _spread(self) -> None:
        """Pass news on when they come, and ask again from time to time for what did not."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(ANNOUNCE_S):
                    await self._news.wait()
                    await asyncio.sleep(SETTLE_S)
            self._news.clear()
            for link, gossip in list(self._gossip.items()):
                self._say(link, gossip.announce(time.time()))

    async def _tidy(self) -> None:
        """Forget what has expired, and write down the rest."""
        while True:
            await asyncio.sleep(TIDY_S)
            self.directory.purge(time.time())
            self._save()

    async def _renew(self, port: int) -> None:
        """Publish anew from time to time, and at once when the onion keys change."""
        if self._onion is None:
            return
        while True:
            due_s = self._onion.due_in(time.time())
            await asyncio.sleep(min(CLOCK_S, due_s) if due_s > 0 else CLOCK_S)
            # By the time of day, since that is what the descriptor's life goes by, also over a machine's sleep.
            if self._advance_keys(self._onion) or abs(time.time() - self._published_at) >= RENEW_S:
                self.publish(port)
                self._news.set()

    def _advance_keys(self, onion: OnionKeys) -> bool:
        try:
            if not onion.advance(time.time()):
                return False
        except ConfigError as error:
            _log.warning("the onion key could not be changed, and stays: %s", error.problem)
            return False
        self._on_onion_keys(onion.privates)
        return True

    # -- the first link

    async def _stay_linked(self) -> None:
        """While there is no link to gossip over, make one: to a bootstrap peer, or to one that is remembered. With one,
        hear others as well."""
        assert self._links is not None
        pause = FIRST_PAUSE_S
        while True:
            made = await (self.hearing.hear_others(self._links) if self._gossip else self._make_link())
            pause = FIRST_PAUSE_S if made or self._gossip else min(pause * GROWS, LONGEST_PAUSE_S)
            await asyncio.sleep(1.0 if self._gossip and not made else pause)

    async def _make_link(self) -> bool:
        assert self._links is not None
        if await self._meet():
            return True
        if await self._bootstrap.link(self._links):
            return True
        for found in self.hearing.in_random_order()[:3]:
            hop = self.locate(found.peer)
            try:
                if hop is not None and hop.addresses:
                    await self._links.to(hop)
                    return True
            except LinkError:
                continue
        return False

    async def _meet(self) -> bool:
        """Make a link to a peer that the invite names. Its descriptor comes by gossip."""
        assert self._links is not None
        random.shuffle(self._introductions)
        for peer, link_key, address in self._introductions:
            with suppress(LinkError):
                await self._links.to(Hop(peer, link_key, NO_ONION_KEY, (address,)))
                return True
        return False

    # -- what the DHT says

    async def meet(self, address: Address) -> bool:
        """Make a link to whoever is at an address, and learn who that is. It is kept if there are few.

        Args:
            address: where somebody said that a peer is.

        Returns:
            Whether a peer is there, in this network, who says of himself that he is.
        """
        assert self._links is not None
        links, met = self._links, []

        def verify(raw: bytes) -> Hop:
            descriptor = Descriptor.decode(self.network.open(raw) if self.network.is_private else raw, time.time())
            if address not in descriptor.addresses or (self.identity and descriptor.peer == self.identity.peer):
                raise DecodeError("descriptor", "of another peer")
            met.append(descriptor)
            return path_of([descriptor])[0]

        proof = self.network.ask(address, time.time())
        try:
            await links.meet(address, proof, verify, keep=lambda: sum(1 for _ in links) <= LINKS_KEPT)
        except LinkError:
            return False
        self.learn(met[0], FROM_DHT)
        return True

    def found(self, peer: PeerKey, sealed: bytes) -> bool:
        """Take a descriptor that was found under a peer's name.

        Args:
            peer: the name.
            sealed: what was found.

        Returns:
            Whether it is this peer's, and valid.
        """
        try:
            descriptor = Descriptor.decode(self.network.open(sealed), time.time())
        except DecodeError:
            return False
        if descriptor.peer != peer:
            return False
        self.learn(descriptor, FROM_DHT)
        return True
