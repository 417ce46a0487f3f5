"""A running node: every layer made, joined to the others, started and stopped in order."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from core.errors import ConfigError, Reason
from core.flow import NO_OPTIONS, SiteOptions
from exits.policy import Policy
from node.choice_view import explanation, peer_rows, shown_options
from node.choosing import Choosing
from node.config import load
from node.control import Control
from node.discovery import Discovery
from node.exposure import not_hidden
from node.files import KEYS_NAME, load_token
from node.holding import Holding
from node.isolation import isolate_sites
from node.metrics import Sample
from node.money import Money
from node.networks import membership
from node.outside import OutsideOnly
from node.peering import Peering
from node.port_mapping import start_port_mapping
from node.price_view import dearest, price_per_gb
from node.reach import Facts, reach
from node.reachability import Reachability
from node.regions import RegionWatch
from node.reverse_links import ReverseLinks
from node.serving import Serving
from node.settings import join_endpoint, split_endpoint
from node.site_rules import load_rules
from node.trust.watch import NOWHERE, NothingToConfirmError, direct_because, open_watch
from pac.trusted import parse_networks
from peers.addresses import format_address
from peers.descriptor import Role
from peers.identity import Identity, peer_id
from peers.onion import OnionKeys, phase_of
from proxy.front import Front
from tunnel.control import Kind
from tunnel.engines import load_engine
from tunnel.padding import SHAPES
from tunnel.service import Tunnel, TunnelParts

if TYPE_CHECKING:
    from pathlib import Path as Folder

    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from exits.egress import Egress
    from exits.resolver import NameResolver
    from node.settings import Settings
    from node.trust.watch import TrustWatch
    from node.wallet_orders import WalletOrder
    from peers.port_mapping.service import PortMapping
    from tunnel.circuit import Circuit
    from tunnel.link import Link

BLOCKED_AFTER_S: Final = 3.0
"""Without a circuit for so long, the state is `blocked` and no longer `connecting`."""

_ASK_FOR_PEERS: Final = {
    False: "Name one with --bootstrap.",
    True: "Join again with an invite from a member whose node runs and has an address.",
}

PAC_TOKEN_NAME: Final = "pac.token"
PAC_TOKEN_BYTES: Final = 16
"""Out of reach for a page that tries addresses."""

_MEASURED_PARTS: Final = ("relay", "exit")
"""The parts whose counters `/metrics` shows: they are about the work for others."""

_log = logging.getLogger(__name__)


class RunningNode:
    """Implements `node.control.Controlled`.

    Args:
        settings: checked settings.
        home: the node's folder.
    """

    def __init__(self, settings: Settings, home: Folder) -> None:
        self._settings = settings
        self._home = home
        member = membership(home, settings.network.name)
        self._network = member.network
        roles = settings.node.roles
        self._is_client = "client" in roles
        self._role = (Role.RELAY if "relay" in roles else Role(0)) | (Role.EXIT if "exit" in roles else Role(0))
        self._identity = Identity.load(home / KEYS_NAME) if self._role else None
        self._onion = _load_onion(home, self._identity) if self._identity else None
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
        self._holding = Holding(self._peering, relays=Role.RELAY in self._role)
        ports = self._policy.summary() if Role.EXIT in self._role else ""
        self._serving = Serving(settings, home, self._peering, ports, self._sample)
        self._money = Money(settings.payments, home, relays=bool(self._role))
        self._serving.earned = self._money.earned
        self._control = Control(self, home)
        self._rules = load_rules(settings.bypass, home)
        self._reloading = asyncio.Lock()
        self._resolver: NameResolver | None = None
        self._egress: Egress | None = None
        self._tunnel: Tunnel | None = None
        self._front: Front | None = None
        self._trust: TrustWatch | None = None
        self._port_mapping: PortMapping | None = None
        self._port = 0
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
        self._money.start(self._tunnel)
        if self._role:
            self._serving.start(self._tunnel.relay, self._egress)
        self._choosing.attach(self._tunnel.links, self._tunnel.pool)
        self._port = await self._tunnel.start(self._settings.peers.port, client=self._is_client)
        self._peering.publish(self._port)
        self._peering.start(self._tunnel.links, self._port)
        self._discovery.start()
        self._reachability.start(self._tunnel.links, self._tunnel.observing)
        self._reverse_links.start(self._tunnel.links)
        self._port_mapping = start_port_mapping(self._settings, self._port, self._reachability.mapped)
        self._regions.start()
        if self._is_client:
            await self._start_front(self._tunnel)
        if self._settings.exit.allow_destinations and self._egress is not None:
            _log.warning("this exit also reaches networks that are not public, because exit.allow_destinations says so")

    async def _start_front(self, tunnel: Tunnel) -> None:
        host, port = self._settings.proxy.endpoint
        chosen = self._settings.tunnel
        own = SiteOptions(chosen.regions, chosen.mode, chosen.max_tariff)
        front = Front(
            OutsideOnly(await isolate_sites(tunnel.pool, chosen.spread, own), chosen.allow_destinations),
            self._rules,
            password=self._settings.proxy.password or None,
            pac_token=load_token(self._home / PAC_TOKEN_NAME, PAC_TOKEN_BYTES),
            own_ports=[self._own_control()[1]],
            early=self._settings.proxy.early,
        )
        try:
            await front.start(host, port)
        except OSError as error:
            where = self._settings.proxy.listen
            raise ConfigError("proxy.listen", f"{where} cannot be used; choose another port, or 0 for any") from error
        await front.obey(self._rules)
        self._front = front
        self._trust = open_watch(front.trusted)
        self._trust.use(parse_networks(self._settings.trust.networks))

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
            holding=self._hold,
            admits=self._serving.sharing.refuses_circuit,
            gate=self._serving.sharing.shaper,
            toll=self._money.toll,
        )

    async def stop(self) -> None:
        """Stop every layer, the front first."""
        await self._serving.stop()
        if self._trust is not None:
            await self._trust.close()
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
        if self._tunnel is None:
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
        if self._tunnel.pool.ready:
            self._silent_since = now
            return "up", ""
        failure = self._tunnel.pool.failure
        if not len(self._peering.directory):
            looked_for = "They are being looked for in the DHT. " if self._discovery.state == "on" else ""
            reason = f"No peers are known yet. {looked_for}{_ASK_FOR_PEERS[self._network.is_private]}"
        else:
            reason = (failure or Reason.NO_PATH).sentence
            if failure in (None, Reason.NO_PATH):
                reason = self._choosing.priced_out() or reason
        return ("blocked" if now - self._silent_since > BLOCKED_AFTER_S else "connecting"), reason

    def status(self) -> dict[str, Any]:
        state, reason = self._state()
        trust = self._trust.status() if self._trust is not None else NOWHERE
        tunnel, front = self._tunnel, self._front
        circuits = tunnel.pool.circuits if tunnel is not None else []
        circuits = sorted(circuits, key=lambda circuit: circuit.options != NO_OPTIONS)
        in_use = [circuit for circuit in circuits if circuit.isolation is not None] or circuits[:1]
        current = next(iter(in_use), None)
        regions = [self._choosing.region(circuit.path[-1].peer) for circuit in in_use]
        flows = sum(len(circuit.flows) for circuit in circuits)
        if tunnel is not None and self._role:
            flows += tunnel.relay.flow_count
        hops = len(current.path) if current else self._settings.tunnel.path_hops if self._is_client else 0
        return {
            "state": state,
            "reason": reason,
            "network": self._network.name,
            "private": self._network.is_private,
            "exit_region": next(iter(regions), ""),
            "exit_regions": sorted({region for region in regions if region}),
            "exit_serves": self._choosing.choice.offer(current.path[-1].peer) if current else "",
            "trust": trust,
            "direct_because": direct_because(trust),
            "mode": self._settings.tunnel.mode if self._is_client else "",
            "hops": hops,
            "not_hidden": not_hidden(hops),
            "flows": flows,
            "peers": len(self._peering.directory),
            "dht": self._discovery.state,
            "circuits": len(circuits),
            "relayed_circuits": tunnel.relay.circuit_count if tunnel is not None else 0,
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
        } | self._serving.facts()

    def _sample(self) -> Sample:
        counters = self._counters(self._tunnel) if self._tunnel is not None else {}
        return Sample(self._serving.section(), {part: counters.get(part, {}) for part in _MEASURED_PARTS})

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
        circuits = self._tunnel.pool.circuits if self._tunnel is not None else []
        return {"circuits": [self._circuit(circuit, now) for circuit in circuits]}

    def _circuit(self, circuit: Circuit, now: float) -> dict[str, Any]:
        last = len(circuit.path) - 1
        hops = []
        for place, hop in enumerate(circuit.path):
            role = "exit" if place == last else "guard" if place == 0 else "relay"
            rtt_ms = round(circuit.rtt_s * 1e3, 1) if place == last and circuit.rtt_s is not None else None
            region = self._choosing.region(hop.peer)
            serves = self._choosing.choice.offer(hop.peer) if place == last else ""
            shown = {"peer_id": peer_id(hop.peer), "role": role, "region": region, "rtt_ms": rtt_ms, "serves": serves}
            hops.append(shown)
        return {
            "id": f"{circuit.number}",
            "flows": len(circuit.flows),
            "in_use": circuit.isolation is not None,
            "options": shown_options(circuit.options),
            "price_per_gb": price_per_gb([hop.tariff for hop in circuit.path]),
            "age_s": round(now - circuit.made_at, 1),
            "hops": hops,
        }

    def explain(self) -> dict[str, Any]:
        answer = self.route()
        circuits = self._tunnel.pool.circuits if self._tunnel is not None else []
        for shown, circuit in zip(answer["circuits"], circuits, strict=True):
            for hop, reasons in zip(
                shown["hops"], explanation(self._choosing, circuit.path, circuit.options), strict=True
            ):
                hop.update(reasons)
        return answer

    def peers(self) -> dict[str, Any]:
        rows = zip(peer_rows(self._choosing), self._peering.directory.peers(), strict=True)
        return {"peers": [row | self._regions.facts(found) for row, found in rows]}

    def invite(self) -> str:
        return self._peering.invite().encode() if self._network.is_private else ""

    def pac(self) -> str:
        return self._front.pac_text if self._front is not None else ""

    async def confirm_trust(self) -> dict[str, Any]:
        if self._trust is None:
            raise NothingToConfirmError
        await self._trust.confirm()
        return self._trust.status()

    def reload_trust(self) -> None:
        networks = parse_networks(load(self._home).trust.networks)
        if self._trust is not None:
            self._trust.use(networks)

    def rules(self) -> dict[str, Any]:
        return {"count": len(self._rules), "digest": self._rules.digest}

    async def reload_rules(self) -> None:
        async with self._reloading:
            bypass = load(self._home).bypass
            self._rules = await asyncio.to_thread(load_rules, bypass, self._home)
            if self._front is not None:
                await self._front.obey(self._rules)

    async def wallet(self) -> dict[str, Any]:
        return await self._money.facts(self._tariffs())

    def _tariffs(self) -> list[int]:
        """The tariff steps of the dearest path that new flows go over, as far as there are any."""
        circuits = self._tunnel.pool.circuits if self._tunnel is not None else []
        in_use = [circuit for circuit in circuits if circuit.isolation is not None] or circuits
        return dearest(circuit.path for circuit in in_use)

    async def wallet_do(self, order: WalletOrder) -> dict[str, Any]:
        return await self._money.do(order)

    async def hop(self) -> None:
        if self._tunnel is not None:
            self._tunnel.pool.hop()

    def request_stop(self) -> float:
        """Begin to stop, as `Controlled` says; who serves others stops when nothing runs for them, or when asked again.

        Returns:
            Seconds that may take.
        """
        limit_s = None if self.stopping.is_set() else self._serving.leave(self.stopping.set)
        if limit_s is None:
            self.stopping.set()
            return 0.0
        return limit_s


def _load_onion(home: Folder, identity: Identity) -> OnionKeys:
    return OnionKeys(home / KEYS_NAME, phase_of(identity.peer), time.time())
