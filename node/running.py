"""A running node: every layer made, joined to the others, started and stopped in order."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from core.errors import ConfigError, Reason
from exits.policy import Policy
from node.applying import Parts, own_options
from node.choice_view import circuit_row, explained_row, own_paths, peer_rows, region_rows
from node.choosing import Choosing
from node.coins import coins
from node.control.server import Control
from node.discovery import Discovery
from node.exposure import not_hidden
from node.files import KEYS_NAME, load_token
from node.health import health
from node.holding import Holding
from node.isolation import isolate_sites
from node.live import LiveSettings
from node.metrics import MEASURED_PARTS, Sample
from node.money import Money
from node.networks import membership
from node.outside import OutsideOnly
from node.own_traffic import NO_SPEED, OwnTraffic, second
from node.peering import Peering
from node.port_mapping import start_port_mapping
from node.price_view import dearest
from node.reach import Facts, reach
from node.reachability import Reachability
from node.regions import RegionWatch
from node.reverse_links import ReverseLinks
from node.serving import Serving
from node.settings import NO_CAP, join_endpoint, split_endpoint
from node.site_asking import ask_site, local_port
from node.site_rules import load_rules
from node.switch import OFF, Switch
from node.trust.watch import NOWHERE, NothingToConfirmError, direct_because, open_watch
from pac.trusted import parse_networks
from peers.addresses import format_address
from peers.descriptor import Role
from peers.identity import Identity
from peers.onion import OnionKeys, phase_of
from proxy.front import Front
from tunnel.control import Kind
from tunnel.engines import load_engine
from tunnel.padding import SHAPES
from tunnel.service import Tunnel, TunnelParts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path as Folder

    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from exits.egress import Egress
    from exits.resolver import NameResolver
    from node.settings import Settings
    from node.switch import SystemProxy
    from node.wallet_orders import WalletOrder
    from peers.port_mapping.service import PortMapping
    from tunnel.circuit import Circuit
    from tunnel.link import Link

BLOCKED_AFTER_S: Final = 3.0
"""Without a circuit for so long, the state is `blocked` and no longer `connecting`."""

PAC_TOKEN_NAME: Final = "pac.token"
PAC_TOKEN_BYTES: Final = 16
"""Out of reach for a page that tries addresses."""

_log = logging.getLogger(__name__)


class RunningNode:
    """Implements `node.control.Controlled`.

    Args:
        settings: checked settings.
        home: the node's folder.
        overrides: those settings that options of the command gave, and not the file or the environment.
        system_proxy: the system's proxy settings; None where this node leaves them alone.
    """

    def __init__(
        self,
        settings: Settings,
        home: Folder,
        overrides: Mapping[str, object] | None = None,
        system_proxy: SystemProxy | None = None,
    ) -> None:
        self._settings = settings
        self._home = home
        member = membership(home, settings.network.name)
        self._network = member.network
        roles = settings.node.roles
        self._is_client = "client" in roles
        self._role = (Role.RELAY if "relay" in roles else Role(0)) | (Role.EXIT if "exit" in roles else Role(0))
        self._identity = own = Identity.load(home / KEYS_NAME) if self._role else None
        self._onion = OnionKeys(home / KEYS_NAME, phase_of(own.peer), time.time()) if own else None
        self._policy = Policy.preset(settings.exit.policy).after(Policy.parse("\n".join(settings.exit.rules)))
        self._regions = RegionWatch(settings, lambda peer: self._peering.directory.get(peer))
        self._peering = Peering(
            settings.peers,
            home,
            self._identity,
            self._onion,
            self._role,
            settings.node.region,
            self._policy.summary().encode() if Role.EXIT in self._role else b"",
            self._peers_changed,
            self._onion_keys_changed,
            settings.node.operator,
            member,
            self._regions.asn_of,
            restricted=settings.sharing.only_friends,
            tariff_step=settings.payments.tariff,
        )
        # The members of a private network were chosen: nobody comes there in crowds, and few networks are diverse.
        self._choosing = Choosing(
            settings,
            home,
            self._peering.directory,
            self._peering.address_ok,
            asn_of=self._regions.asn_of,
            region_of=self._regions.region,
            diversity=settings.peers.diversity and not self._network.is_private,
            on_answer=self._regions.answered,
            seen_from=self._regions.seen_from,
        )
        self._discovery = Discovery(settings.peers, home, self._peering, self._in_need)
        self._peering.on_published = self._published
        self._reachability = Reachability(
            self._peering.candidates,
            self._peering.reachable_at,
            Facts(bool(self._role), bool(settings.peers.address)),
            is_private=self._network.is_private,
        )
        self._peering.own_hosts = lambda: self._reachability.hosts
        self._reverse_links = ReverseLinks(self._peering, is_private=self._network.is_private)
        self._holding = Holding(self._peering, relays=Role.RELAY in self._role, is_private=self._network.is_private)
        ports = self._policy.summary() if Role.EXIT in self._role else ""
        self._serving = Serving(settings, home, self._peering, ports, self._sample)
        self._money = Money(settings.payments, home, relays=bool(self._role))
        self._serving.earned = self._money.earned
        self._control = Control(self, home)
        self._following = Parts(home, self._choosing, self._serving, self._money, load_rules(settings.bypass, home))
        self._live = LiveSettings(settings, self._following, overrides)
        self._switch = Switch(home, system_proxy)
        self._resolver: NameResolver | None = None
        self._egress: Egress | None = None
        self._tunnel: Tunnel | None = None
        self._front: Front | None = None
        self._own: OwnTraffic | None = None
        self._port_mapping: PortMapping | None = None
        self._silent_since = asyncio.get_running_loop().time()
        self.stopping = asyncio.Event()

    # -- life

    async def start(self) -> None:
        """Start every layer.

        Raises:
            ConfigError: a port is taken, or a setting cannot be met.
        """
        engine = load_engine(self._settings.node.engine)
        await self._control.start(self._settings.control.port)
        await self._serving.pages.start()
        if Role.EXIT in self._role:
            from node.exit_parts import open_exit  # only exits pay for what exits need

            self._resolver, self._egress = open_exit(
                self._settings.exit, self._policy, self._serving, self._own_control(), self._peering.own_addresses
            )
        await self._money.open()
        self._tunnel = Tunnel(engine, self._parts())
        self._tunnel.pool.builder.age_s = float(self._settings.tunnel.hop_interval_s)
        self._following.pool = self._tunnel.pool
        if not self._switch.is_on:
            self._tunnel.pool.rest()
        self._money.start(self._tunnel)
        if self._role:
            self._serving.start(self._tunnel.relay, self._egress)
        self._choosing.attach(self._tunnel.links, self._tunnel.pool)
        port = await self._tunnel.start(self._settings.peers.port, client=self._is_client)
        self._peering.publish(port)
        self._peering.start(self._tunnel.links, port)
        self._discovery.start()
        self._reachability.start(self._tunnel.links, self._tunnel.observing)
        self._reverse_links.start(self._tunnel.links)
        self._port_mapping = start_port_mapping(self._settings, port, self._reachability.mapped)
        self._regions.start()
        if self._is_client:
            await self._start_front(self._tunnel)
        if self._settings.exit.allow_destinations and self._egress is not None:
            _log.warning("this exit also reaches networks that are not public, because exit.allow_destinations says so")

    async def _start_front(self, tunnel: Tunnel) -> None:
        host, port = self._settings.proxy.endpoint
        chosen, following = self._settings.tunnel, self._following
        following.sites = await isolate_sites(tunnel.pool, chosen.spread, own_options(self._settings))
        front = Front(
            OutsideOnly(following.sites, chosen.allow_destinations),
            following.rules,
            password=self._settings.proxy.password or None,
            pac_token=load_token(self._home / PAC_TOKEN_NAME, PAC_TOKEN_BYTES),
            own_ports=[self._own_control()[1]],
            early=self._settings.proxy.early,
        )
        front.switch(on=self._switch.is_on)
        try:
            await front.start(host, port)
        except OSError as error:
            where = self._settings.proxy.listen
            raise ConfigError("proxy.listen", f"{where} cannot be used; choose another port, or 0 for any") from error
        await front.obey(following.rules)
        self._front = following.front = front
        self._own = OwnTraffic(front.traffic)
        self._own.start()
        following.trust = open_watch(front.trusted)
        following.trust.use(parse_networks(self._settings.trust.networks))

    def _own_control(self) -> tuple[str, int]:
        return split_endpoint(self._control.url.removeprefix("http://"))

    def _parts(self) -> TunnelParts:
        peering, identity = self._peering, self._identity
        return TunnelParts(
            address_ok=peering.may_dial,
            link_key=identity.link_private if identity else None,
            onion_keys=self._onion.privates if self._onion else [],
            descriptor=peering.descriptor,
            locate=peering.locate,
            find=self._discovery.find,
            choose=self._choosing.choose,
            tried=self._choosing.tried,
            rank=self._choosing.rank,
            offers=self._choosing,
            witness=self._choosing,
            shape=SHAPES[self._settings.tunnel.mode],
            relays=Role.RELAY in self._role,
            acceptor=self._egress,
            link_up=peering.link_up,
            link_down=self._link_down,
            gossip=peering.gossip,
            preshared=self._network.preshared,
            tell=peering.tell,
            seen_at=self._reachability.told,
            held_by=peering.holders,
            helps=lambda peer: identity is not None and identity.peer in peering.holders(peer),
            calls=self._reverse_links.holds,
            holding=self._hold,
            admits=self._serving.sharing.refuses_circuit,
            gate=self._serving.sharing.shaper,
            toll=self._money.toll,
        )

    async def stop(self) -> None:
        """Stop every layer, the front first."""
        await self._serving.stop()
        if self._following.trust is not None:
            await self._following.trust.close()
        if self._own is not None:
            await self._own.close()
        if self._front is not None:
            await self._front.stop()
        if self._port_mapping is not None:
            await self._port_mapping.close()
        await self._regions.close()
        await self._discovery.close()
        await self._reachability.close()
        await self._reverse_links.close()
        await self._peering.close()
        if self._tunnel is not None:
            await self._tunnel.close()
        await self._money.close()
        if self._egress is not None:
            await self._egress.stop()
        if self._resolver is not None:
            await self._resolver.close()
        await self._serving.close()
        await self._control.stop()

    # -- what is missing

    def _in_need(self) -> bool:
        if self._tunnel is None or (self._is_client and not self._switch.is_on):
            return False
        return not self._tunnel.pool.ready if self._is_client else not any(True for _ in self._tunnel.links)

    # -- what became known

    def _peers_changed(self) -> None:
        if self._tunnel is not None and self._is_client:
            self._tunnel.pool.paths_changed()

    def _link_down(self, link: Link) -> None:
        self._peering.link_down(link)
        self._reachability.link_down(link)
        self._reverse_links.link_down(link)
        self._holding.link_down(link)

    def _published(self) -> None:
        self._discovery.published()
        self._reverse_links.published()

    def _hold(self, link: Link, kind: Kind, body: bytes) -> None:
        (self._holding.asked if kind is Kind.HOLD else self._reverse_links.told)(link, body)

    def _onion_keys_changed(self, keys: list[X25519PrivateKey]) -> None:
        if self._tunnel is not None:
            self._tunnel.relay.use_onion_keys(keys)

    @property
    def _circuits(self) -> list[Circuit]:
        return self._tunnel.pool.circuits if self._tunnel is not None else []

    # -- node.control.Controlled

    def _state(self) -> tuple[str, str]:
        """The state's word, and a sentence when it is not `up`."""
        now = asyncio.get_running_loop().time()
        if (left_s := self._serving.leaving_in_s) is not None:
            return "leaving", f"What runs for others may go on for {left_s:.0f} s more."
        if self._tunnel is None or (self._is_client and self._front is None):
            return "connecting", "The node is starting."
        if not self._is_client:
            return "up", ""
        if not self._switch.is_on:
            return "down", OFF
        if self._tunnel.pool.ready:
            self._silent_since = now
            return "up", ""
        failure = self._tunnel.pool.failure
        if not len(self._peering.directory):
            reason = self._discovery.nobody_yet
        else:
            reason = (failure or Reason.NO_PATH).sentence
            if failure in (None, Reason.NO_PATH):
                reason = self._choosing.priced_out() or reason
        return ("blocked" if now - self._silent_since > BLOCKED_AFTER_S else "connecting"), reason

    def status(self) -> dict[str, Any]:
        state, reason = self._state()
        trust = self._following.trust.status() if self._following.trust is not None else NOWHERE
        tunnel, front = self._tunnel, self._front
        own = own_paths(self._choosing, self._circuits)
        hops = own["hops"] or (self._live.running.tunnel.path_hops if self._is_client else 0)
        relayed = tunnel.relay if tunnel is not None and self._role else None
        return (
            own
            | {
                "state": state,
                "reason": reason,
                "network": self._network.name,
                "private": self._network.is_private,
                "trust": trust,
                "direct_because": direct_because(trust),
                "mode": self._live.running.tunnel.mode if self._is_client else "",
                "hops": hops,
                "not_hidden": not_hidden(hops),
                "flows": own["flows"] + (relayed.flow_count if relayed is not None else 0),
                "speed": self._own.speed if self._own is not None else NO_SPEED,
                "peers": len(self._peering.directory),
                "dht": self._discovery.state,
                "relayed_circuits": relayed.circuit_count if relayed is not None else 0,
                "proxy": join_endpoint(*front.address) if front is not None else "",
                "pac": front.pac_url if front is not None else "",
                "roles": list(self._settings.node.roles),
                "peer_id": self._identity.peer_id if self._identity else "",
                "engine": tunnel.engine.name if tunnel is not None else "",
                "address": self._address(),
                "reachable": reach(self._reachability.facts).value,
                "via": self._reverse_links.count,
                "port_mapping": self._port_mapping.state.value if self._port_mapping is not None else "off",
                "counters": self._counters(tunnel) if tunnel is not None else {},
                "money": self._money.section(self._tariffs()),
            }
            | (self._serving.facts() | self._live.facts())
        )

    def _sample(self) -> Sample:
        counters = self._counters(self._tunnel) if self._tunnel is not None else {}
        return Sample(self._serving.section(), {part: counters.get(part, {}) for part in MEASURED_PARTS})

    def _counters(self, tunnel: Tunnel) -> dict[str, dict[str, int]]:
        """Why things ended or were refused since the start, as reason words; they say nothing about whom or when."""
        kept = {
            "circuits": tunnel.pool.counters,
            "guards": self._choosing.pins.counters,
            "links": tunnel.links.counters,
            "relay": tunnel.relay.counters,
            "holding": self._holding.counters,
            "exit": self._egress.counters if self._egress is not None else {},
            "load": self._serving.load_counters,
        }
        return {name: dict(counters) for name, counters in kept.items()} | {"memory": {"shed": tunnel.memory.shed}}

    def _address(self) -> str:
        address = self._peering.address
        return format_address(*address) if address is not None else ""

    def route(self) -> dict[str, Any]:
        now = asyncio.get_running_loop().time()
        return {"circuits": [circuit_row(self._choosing, circuit, now) for circuit in self._circuits]}

    def explain(self) -> dict[str, Any]:
        now = asyncio.get_running_loop().time()
        return {"circuits": [explained_row(self._choosing, circuit, now) for circuit in self._circuits]}

    def second(self) -> dict[str, Any]:
        circuits = self._circuits
        times_s = [found.rtt_s for found in circuits if found.isolation is not None and found.rtt_s is not None]
        return second(self._own, sum(len(found.flows) for found in circuits), next(iter(times_s), None))

    def health(self) -> dict[str, Any]:
        return health(self._choosing, self._tunnel, time.time())

    def new_probe(self) -> str:
        return local_port(self._following).probes.make()

    def probe_came(self, name: str) -> bool:
        return local_port(self._following).probes.came(name)

    async def ask_site(self, url: str) -> dict[str, Any]:
        return await ask_site(url, self._following, self._settings.proxy.password)

    def regions(self) -> list[dict[str, Any]]:
        return region_rows(self._choosing, self._live.running.tunnel.regions)

    def settings(self) -> dict[str, Any]:
        return self._live.listing()

    async def change(self, changes: dict[str, Any]) -> dict[str, Any]:
        return await self._live.change(changes)

    async def switch(self, on: bool) -> None:
        await self._switch.turn(self._front, self._following.pool, on=on)
        self._silent_since = asyncio.get_running_loop().time()

    def peers(self) -> dict[str, Any]:
        rows = zip(peer_rows(self._choosing), self._peering.directory.peers(), strict=True)
        return {"peers": [row | self._regions.facts(found) for row, found in rows]}

    def invite(self) -> str:
        return self._peering.invite().encode() if self._network.is_private else ""

    def pac(self) -> str:
        return self._front.pac_text if self._front is not None else ""

    async def confirm_trust(self) -> dict[str, Any]:
        if self._following.trust is None:
            raise NothingToConfirmError
        await self._following.trust.confirm()
        return self._following.trust.status()

    async def reload_trust(self) -> None:
        await self._live.reread("trust")

    def rules(self) -> dict[str, Any]:
        return {"count": len(self._following.rules), "digest": self._following.rules.digest}

    async def reload_rules(self) -> None:
        await self._live.reread("bypass")

    async def wallet(self) -> dict[str, Any]:
        return await self._money.facts(self._tariffs())

    def _tariffs(self) -> list[int]:
        """The tariff steps of the dearest path that new flows go over, as far as there are any."""
        in_use = [circuit for circuit in self._circuits if circuit.isolation is not None] or self._circuits
        return dearest(circuit.path for circuit in in_use)

    async def wallet_do(self, order: WalletOrder) -> dict[str, Any]:
        if order.what == "cap" and self._settings.payments.settlement != "off":
            await self._live.change({"payments.cap": NO_CAP if order.units is None else coins(order.units)})
            return {"cap": order.units}
        return await self._money.do(order)

    async def hop(self) -> None:
        self._switch.carrying(self._front, self._following.pool).hop()

    def request_stop(self) -> float:
        """Begin to stop, as `Controlled` says; who serves others stops when nothing runs for them, or when asked again.

        Returns:
            Seconds that may take.
        """
        if not self.stopping.is_set() and (limit_s := self._serving.leave(self.stopping.set)) is not None:
            return limit_s
        self.stopping.set()
        return 0.0
