"""What the network of `macrovpn demo` consists of, before anything runs: members, addresses, settings files.

Every node stands at a loopback address of its own, in a /16 of its own, so that paths are as diverse as in a real
network: 127.20.0.1, 127.21.0.1, 127.23.0.1 and so on. With `--allow-destination` exits leave from 127.22.0.1,
127.22.0.2 and so on, and reach what is on this machine; without, the Internet, from the machine's own address.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from node.config_edit import format_file
from node.settings import MODE_HOPS, join_endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from node.children import Child

FIRST_ADDRESS: Final = "127.20.0.1"
_NETWORK: Final = "127.0.0.0/8"
_FIRST_NET: Final = 20
_EGRESS_NET: Final = 22
CLIENT_ADDRESS: Final = "127.19.0.1"
"""Of the client in the DHT; its links have no address of their own."""
LEDGER_NAME: Final = "shared-ledger.db"
_MIXED: Final = ("aiopquic", "aioquic")


class MemberSetting(NamedTuple):
    """A setting of some members: whose (a role or a name), `section.key`, and a value that was checked."""

    whose: str
    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the network shall be.

    Args:
        relays: how many relays.
        exits: how many exits; relays and exits together at most 200.
        mode: how the client chooses paths.
        hops: hops of its paths, 1 to 5; 0 for the mode's number.
        engine: what carries the links; `mixed`: one engine at every other node, the second at those between.
        listen: address of the client's proxy; one that others can reach needs a password among its settings.
        port: TCP port of the client's proxy; 0 for any free one.
        resolver: name server of the exits, `HOST:PORT`; empty for the system's.
        allow_destinations: networks that the exits reach although exits refuse them otherwise, and that the client
            asks them for.
        bypass: rules of what the client connects to past the tunnel. Nothing else goes past it, loopback included:
            here the destinations are local, and shall be reached through the network.
        exit_regions: what the exits say about their place, by turns; empty for nothing.
        exit_policies: policies of the exits, by turns; empty for the default.
        exit_rules: a rule of each exit before its policy, by turns, which may be empty; empty for none.
        regions: where the client wants its exit, the preferred first; empty for anywhere.
        home: folder of the network, kept at the end; None for one that is removed.
        log_level: how much every node says in its log.
        tariff: the step that relays and exits ask, 0 to 7, in test coins of a ledger that all share; 0: no payments.
        metrics: whether relays and exits serve their figures, each on a port of its own that its `status` names.
        find: how its nodes find each other: `gossip` from a first peer, a `dht` of their own, or `both`.
        settings: more of their settings, each of a role (`exit`) or of one node (`relay-1`).
    """

    relays: int = 4
    exits: int = 2
    mode: str = "balanced"
    hops: int = 0
    engine: str = "auto"
    listen: str = "127.0.0.1"
    port: int = 0
    resolver: str = ""
    allow_destinations: tuple[str, ...] = ()
    bypass: tuple[str, ...] = ()
    exit_regions: tuple[str, ...] = ()
    exit_policies: tuple[str, ...] = ()
    exit_rules: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    home: Path | None = None
    find: str = "both"
    log_level: str = "info"
    tariff: int = 2
    metrics: bool = False
    settings: tuple[MemberSetting, ...] = ()

    @property
    def nodes(self) -> int:
        """How many nodes it has, with the client."""
        return self.relays + self.exits + 1

    @property
    def path_hops(self) -> int:
        """Hops of the client's paths, with the mode's number filled in."""
        return self.hops or MODE_HOPS[self.mode]


@dataclass(slots=True)
class Member:
    """One node of the network.

    Args:
        role: what it does.
        name: what people read, such as `relay-1`.
        home: its folder.
        address: the loopback address that it announces; empty for the client.
        port: its UDP port; 0 for the client.
        dht_port: UDP port of its node in the DHT.
        ledger: file of the ledger that all share.
        egress: the address that an exit connects from; empty for others.
        region: what it says about its place; may be empty.
        policy: what it serves; empty for the default.
        rule: what it decides before that; may be empty.
        engine: what carries its links.
    """

    role: Literal["relay", "exit", "client"]
    name: str
    home: Path
    address: str = ""
    port: int = 0
    egress: str = ""
    region: str = ""
    policy: str = ""
    rule: str = ""
    engine: str = "auto"
    dht_port: int = 0
    ledger: str = ""
    child: Child | None = None
    status: dict[str, Any] = field(default_factory=dict)

    @property
    def multiaddr(self) -> str:
        """Where its links go, such as `/ip4/127.20.0.1/udp/41001/quic-v1`; empty for the client."""
        return f"/ip4/{self.address}/udp/{self.port}/quic-v1" if self.address else ""

    @property
    def dht_endpoint(self) -> str:
        """Where it stands in the DHT, such as `127.20.0.1:41002`; the client at an address of its own too, since the
        nodes of the DHT want their neighbours to be in different networks."""
        return f"{self.address or CLIENT_ADDRESS}:{self.dht_port}"


def member_names(counts: Mapping[str, int]) -> set[str]:
    """Name whom `MemberSetting.whose` may mean: roles that somebody has, and nodes.

    Args:
        counts: how many nodes have each role, beside the client.
    """
    nodes = {f"{role}-{number}" for role, count in counts.items() for number in range(1, count + 1)}
    return nodes | {role for role, count in counts.items() if count} | {"client"}


def plan(options: DemoOptions, folder: Path, ports: Sequence[int]) -> list[Member]:
    """Name the members: relays, exits, and the client last, whose home is the network's folder itself.

    Args:
        options: what the network shall be.
        folder: the network's folder.
        ports: UDP ports: one for each relay and exit, then one in the DHT for each node.
    """
    nets = [net for net in range(_FIRST_NET, 256) if net != _EGRESS_NET]
    members = []
    for index, port in enumerate(ports[: options.relays + options.exits]):
        role: Literal["relay", "exit"] = "relay" if index < options.relays else "exit"
        number = index + 1 if role == "relay" else index - options.relays + 1
        name = f"{role}-{number}"
        egress = f"127.{_EGRESS_NET}.0.{number}" if role == "exit" else ""
        region = _turn(options.exit_regions, number) if role == "exit" else ""
        member = Member(role, name, folder / name, f"127.{nets[index]}.0.1", port, egress, region)
        if role == "exit":
            member.policy = _turn(options.exit_policies, number)
            member.rule = _turn(options.exit_rules, number)
        members.append(member)
    members.append(Member("client", "client", folder))
    for member in members:
        member.ledger = str(folder / LEDGER_NAME)
    for index, member in enumerate(members):
        member.engine = _MIXED[index % len(_MIXED)] if options.engine == "mixed" else options.engine
        member.dht_port = ports[options.relays + options.exits + index]
    return members


def _turn(values: Sequence[str], number: int) -> str:
    return values[(number - 1) % len(values)] if values else ""


def settings_text(member: Member, options: DemoOptions, bootstrap: str, first: str) -> str:
    """Write the settings file of a member.

    Args:
        member: the node.
        options: what the network shall be.
        bootstrap: multiaddr of the peer to begin with; empty for the first node.
        first: where the DHT's first node stands.
    """
    found = {
        "gossip": options.find != "dht",
        "dht_listen": member.dht_endpoint,
        "dht_nodes": [first] if first != member.dht_endpoint else [],
    }
    peers = {"port": member.port, "bootstrap": [bootstrap] if bootstrap else [], "allow_addresses": [_NETWORK]}
    tables: dict[str, dict[str, Any]] = {
        "node": {"roles": [member.role], "engine": member.engine, "log_level": options.log_level}
        | ({"region": member.region} if member.region else {}),
        "peers": peers | found | {"address": member.address},
        "control": {"port": 0},
    }
    if options.tariff:
        asks = {} if member.role == "client" else {"tariff": options.tariff}
        tables["payments"] = {"settlement": "local", "ledger": member.ledger} | asks
    if member.role == "client":
        tables["proxy"] = {"listen": join_endpoint(options.listen, options.port)}
        tables["tunnel"] = {"mode": options.mode, "hops": options.hops}
        if options.allow_destinations:
            tables["tunnel"]["allow_destinations"] = list(options.allow_destinations)
        if options.regions:
            tables["tunnel"]["regions"] = list(options.regions)
        tables["bypass"] = {"rules": list(options.bypass), "presets": []}
    elif options.metrics:
        tables["sharing"] = {"metrics": "127.0.0.1:0"}
    if member.role == "exit":
        tables["exit"] = {
            "allow_destinations": list(options.allow_destinations),
            "resolver": options.resolver,
            "egress_address": member.egress if options.allow_destinations else "",
        }
        tables["exit"] |= {"policy": member.policy} if member.policy else {}
        tables["exit"] |= {"rules": [member.rule]} if member.rule else {}
    for whose, name, value in options.settings:
        if whose in (member.role, member.name):
            section, _, key = name.partition(".")
            tables.setdefault(section, {})[key] = list(value) if isinstance(value, tuple) else value
    return format_file(tables)
