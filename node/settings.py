"""Every setting of a node, once: its type, its default and the sentence that says what it must be."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import msgspec

from core.errors import ConfigError
from pac.options import REGION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MODE_HOPS: Final = {"speed": 2, "balanced": 3, "privacy": 3}
"""Hops of a path where `tunnel.hops` is 0."""

LIST_NAME: Final = "[a-z0-9][a-z0-9-]{0,31}"
"""What a list of rules may be called; its file has the same name."""

NO_CAP: Final = "none"
"""`payments.cap` where any amount may be spent."""

_HOST: Final = re.compile(r"(?=.{1,253}$)[0-9A-Za-z]([0-9A-Za-z-]{0,62}\.?)*[A-Za-z]")
_MULTIADDR: Final = re.compile(
    r"/(ip4|ip6|dns|dns4|dns6)/[0-9A-Za-z.:-]{1,255}/udp/[0-9]{1,5}/quic-v1/p2p/[1-9A-HJ-NP-Za-km-z]{40,64}"
)


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def split_endpoint(text: str) -> tuple[str, int]:
    """Take an address and a port apart: `127.0.0.1:1080`, `[::1]:1080`.

    Returns:
        The IP literal without brackets, and the port (0 to 65535).

    Raises:
        ValueError: it has another form.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = str(ipaddress.IPv6Address(host[1:-1]))
    else:
        host = str(ipaddress.IPv4Address(host))
    if not colon or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError("no port between 0 and 65535")
    return host, int(port)


def join_endpoint(host: str, port: int) -> str:
    """Write an IP literal and a port as `split_endpoint` reads them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_endpoint(text: str) -> bool:
    try:
        split_endpoint(text)
    except ValueError:
        return False
    return True


def _is_host_and_port(text: str) -> bool:
    if _is_endpoint(text):
        return True
    host, _, port = text.rpartition(":")
    return _HOST.fullmatch(host) is not None and re.fullmatch("[0-9]{1,5}", port) is not None and int(port) <= 65535


def _is_peer(text: str) -> bool:
    return _MULTIADDR.fullmatch(text) is not None


def _is_bypass(texts: tuple[str, ...]) -> bool:
    from pac.rules import Rule as BypassRule

    return all(BypassRule.parse(text) for text in texts)


def _is_preset(names: tuple[str, ...]) -> bool:
    from pac.presets import preset_rules

    return all(preset_rules(name) for name in names)


def _are_trusted(texts: tuple[str, ...]) -> bool:
    from pac.trusted import parse_networks

    return len(parse_networks(texts)) == len(texts)


def _are_lists(names: tuple[str, ...]) -> bool:
    return len(set(names)) == len(names) <= 16 and all(re.fullmatch(LIST_NAME, name) for name in names)


def _is_network_name(text: str) -> bool:
    from peers.networks import is_name

    return is_name(text)


def _always(_: object) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Rule:
    """What a value must be.

    Args:
        text: completes the sentence "… must be".
        check: True for a value, already of the right type, that is right. May raise ConfigError to say more.
        separator: what stands between the members of a list that is given as text; a regular expression.
    """

    text: str
    check: Callable[[Any], bool] = _always
    separator: str = ","


def _optional(check: Callable[[str], bool]) -> Callable[[str], bool]:
    return lambda value: value == "" or check(value)


def _each(check: Callable[[str], bool]) -> Callable[[tuple[str, ...]], bool]:
    return lambda values: all(check(value) for value in values)


def _matches(pattern: str) -> Callable[[str], bool]:
    return lambda value: re.fullmatch(pattern, value) is not None


def _is_path(text: str) -> bool:
    return len(text.encode("utf-8", "replace")) <= 4096 and "\0" not in text


def _is_url(text: str) -> bool:
    url = urlsplit(text)
    return url.scheme in ("http", "https") and bool(url.hostname) and text.isascii() and text.isprintable()


def _between(low: float, high: float) -> Callable[[float], bool]:
    return lambda value: low <= value <= high


def _different(values: tuple[str, ...]) -> bool:
    return 0 < len(values) == len(set(values))


def _are_regions(values: tuple[str, ...]) -> bool:
    return len(values) == len(set(values)) and all(re.fullmatch(REGION, value) for value in values)


def _is_operator(text: str) -> bool:
    return text.isprintable() and len(text.encode("utf-8", "replace")) <= 32


def _are_hours(texts: tuple[str, ...]) -> bool:
    from exits.hours import Hours

    return Hours.parse(texts) is not None


def _are_rules(lines: tuple[str, ...]) -> bool:
    from exits.policy import Policy

    return Policy.parse("\n".join(lines)) is not None


def _is_name_server(text: str) -> bool:
    from exits.name_server import NameServer

    try:
        return NameServer.parse(text) is not None
    except ConfigError:
        return False


def _is_peer_id(text: str) -> bool:
    from core.errors import DecodeError
    from peers.identity import parse_peer_id

    try:
        parse_peer_id(text)
    except DecodeError:
        return False
    return True


def _is_cap(text: str) -> bool:
    from node.coins import read_coins

    try:
        return text in ("", NO_CAP) or read_coins(text) >= 0
    except ValueError:
        return False


def _is_short(text: str) -> bool:
    return len(text.encode("utf-8", "replace")) <= 255


# The annotations below are evaluated outside this module's names, so rules are named here and not written there.
_NETWORK_NAME: Final = Rule('the name of a network, such as "home", or "main", the public one', _is_network_name)
_ROLES: Final = Rule('a list of different roles out of "client", "relay" and "exit"', _different)
_ENGINE: Final = Rule('one of "auto", "aiopquic" and "aioquic"')
_REGION: Final = Rule('a country code, such as "NL" or "US-CA", or ""', _matches(f"({REGION})?"))
_REGIONS: Final = Rule('a list of different country codes, such as ["NL", "US-CA"]', _are_regions)
_OPERATOR: Final = Rule('a name of at most 32 bytes, or ""', _is_operator)
_TARIFF: Final = Rule("a tariff step, 0 to 7", _between(0, 7))
_SETTLEMENT: Final = Rule('one of "off", "local" and "evm"')
_COINS: Final = Rule("an amount in coins, from 0.000001 to 1000000", _between(1e-6, 1e6))
_FILE: Final = Rule('the path of a file, or "" for one in the node\'s folder', _is_path)
_RPC: Final = Rule('the address of a node of the chain, such as "http://127.0.0.1:8545", or ""', _optional(_is_url))
_CONTRACT: Final = Rule(
    'the address of the contract, "0x" and 40 hexadecimal digits, or ""', _matches("(0x[0-9A-Fa-f]{40})?")
)
_CAP: Final = Rule(
    'an amount in coins, such as "0.5", or "none" for any, or "" for what the wallet was told last', _is_cap
)
_CHANNELS: Final = Rule("a number of open channels, 1 to 1000", _between(1, 1000))
_CHAIN: Final = Rule("the number of a chain, such as 1, or 0", _between(0, 2**63 - 1))
_WEI: Final = Rule("what a millionth of the token is worth in wei, or 0", _between(0, 2**63 - 1))
_CONFIRMATIONS: Final = Rule("a number of blocks, 0 to 1000", _between(0, 1000))
_LISTEN: Final = Rule('an IP address and a port, such as "127.0.0.1:1080"', _is_endpoint)
_PASSWORD: Final = Rule("a text of at most 255 bytes", _is_short)
_LOG_LEVEL: Final = Rule('one of "warning", "info" and "debug"')
_EARLY: Final = Rule('one of "auto", "always" and "never"')
_MODE: Final = Rule('one of "speed", "balanced" and "privacy"')
_HOPS: Final = Rule("a number of hops, 1 to 5, or 0 for the mode's own number", _between(0, 5))
_INTERVAL: Final = Rule("a time in seconds, 30 to 86400", _between(30, 86400))
_SPREAD: Final = Rule("a number of circuits that sites are spread over, 1 to 4", _between(1, 4))
_PORT: Final = Rule("a port number, 0 to 65535 (0: any free one)", _between(0, 65535))
_ADDRESS: Final = Rule('an IP address that peers can reach, or ""', _optional(_is_ip))
_PEERS: Final = Rule('a list of peers, such as ["/ip4/203.0.113.7/udp/4433/quic-v1/p2p/12D3Koo…"]', _each(_is_peer))
_NETWORKS: Final = Rule('a list of networks, such as ["127.0.0.0/8"]', _each(_is_network))
_DHT_LISTEN: Final = Rule('an IP address and a UDP port, such as "192.0.2.7:6881", or ""', _optional(_is_endpoint))
_DHT_NODES: Final = Rule('a list of hosts and ports, such as ["router.bittorrent.com:6881"]', _each(_is_host_and_port))
_SWITCH: Final = Rule("true or false")
_RESOLVER: Final = Rule(
    'the IP address and port of a name server, such as "9.9.9.9:53", "tls://9.9.9.9:853#dns.quad9.net" or '
    '"https://9.9.9.9/dns-query#dns.quad9.net", or "" for the system\'s',
    _optional(_is_name_server),
)
_NOTICE: Final = Rule('an IP address and a port of this machine, such as "0.0.0.0:80", or ""', _optional(_is_endpoint))
_METRICS: Final = Rule(
    'an IP address and a port of this machine, such as "127.0.0.1:9464", or ""', _optional(_is_endpoint)
)
_EGRESS: Final = Rule('an IP address of this machine, or ""', _optional(_is_ip))
_POLICY: Final = Rule('one of "default" and "web"')
_EXIT_RULES: Final = Rule('a list of rules, such as ["reject *.example.com:*"]', _are_rules)
_CONTACT: Final = Rule("a text of at most 255 bytes", _is_short)
_RATE: Final = Rule(
    "a rate in Mbit/s, from 0.1 to 100000, or 0 for no limit", lambda value: value == 0 or 0.1 <= value <= 1e5
)
_VOLUME: Final = Rule(
    "an amount in GB, from 0.001 to 1000000, or 0 for no limit", lambda value: value == 0 or 1e-3 <= value <= 1e6
)
_COUNT: Final = Rule("a number, 1 to 1000000, or 0 for no limit of its own", _between(0, 1_000_000))
_HOURS: Final = Rule('a list of times, such as ["mon-fri 18:00-23:30", "22:00-06:00"]', _are_hours)
_FRIENDS: Final = Rule('a list of peer ids, such as ["12D3Koo…"]', _each(_is_peer_id))
_MEMORY: Final = Rule(
    "an amount in MB, from 32 to 1000000, or 0 for half of the machine's",
    lambda value: value == 0 or 32 <= value <= 1e6,
)
_DRAIN: Final = Rule("a time in seconds, 0 to 3600", _between(0, 3600))
_RULES: Final = Rule(
    'a list of rules, such as ["example.org", "block .ads.example"]',
    _is_bypass,
    separator=rf",(?!{REGION}(?:[,\s]|$))",  # as in region=NL,DE
)
_LISTS: Final = Rule('a list of at most 16 different names, such as ["ads"]', _are_lists)
_PRESETS: Final = Rule('a list of presets, such as ["local"]', _is_preset)
_TRUSTED: Final = Rule(
    'a list of networks, such as ["home: ssid=MyWifi security=wpa", "office: gateway=10.0.0.1"]', _are_trusted
)


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the settings file."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}([redacted])"


class NodeSettings(_Section, frozen=True):
    """What this node is for the network, and what carries its links."""

    roles: Annotated[tuple[Literal["client", "relay", "exit"], ...], _ROLES] = ("client",)
    engine: Annotated[Literal["auto", "aiopquic", "aioquic"], _ENGINE] = "auto"
    region: Annotated[str, _REGION] = ""
    operator: Annotated[str, _OPERATOR] = ""
    log_level: Annotated[Literal["warning", "info", "debug"], _LOG_LEVEL] = "info"


class NetworkSettings(_Section, frozen=True):
    """Which network this home belongs to. `macrovpn network` writes it, beside the network's secret."""

    name: Annotated[str, _NETWORK_NAME] = "main"


class ProxySettings(_Section, frozen=True):
    """The port that the browser is pointed at."""

    listen: Annotated[str, _LISTEN] = "127.0.0.1:1080"
    password: Annotated[str, _PASSWORD] = ""
    early: Annotated[Literal["auto", "always", "never"], _EARLY] = "auto"

    @property
    def endpoint(self) -> tuple[str, int]:
        """`listen` as an IP literal and a port."""
        return split_endpoint(self.listen)


class TunnelSettings(_Section, frozen=True):
    """How paths are chosen."""

    mode: Annotated[Literal["speed", "balanced", "privacy"], _MODE] = "balanced"
    hops: Annotated[int, _HOPS] = 0
    regions: Annotated[tuple[str, ...], _REGIONS] = ()
    excluded_regions: Annotated[tuple[str, ...], _REGIONS] = ()
    switch_back: Annotated[bool, _SWITCH] = True
    min_tariff: Annotated[int, _TARIFF] = 0
    max_tariff: Annotated[int, _TARIFF] = 7
    spread: Annotated[int, _SPREAD] = 2
    hop_interval_s: Annotated[int, _INTERVAL] = 600
    allow_destinations: Annotated[tuple[str, ...], _NETWORKS] = ()

    @property
    def path_hops(self) -> int:
        """Hops of a path, 1 to 5, with the mode's own number filled in."""
        return self.hops or MODE_HOPS[self.mode]


class PeersSettings(_Section, frozen=True):
    """Where other peers find this one, and where it finds them."""

    port: Annotated[int, _PORT] = 0
    address: Annotated[str, _ADDRESS] = ""
    port_mapping: Annotated[bool, _SWITCH] = True
    bootstrap: Annotated[tuple[str, ...], _PEERS] = ()
    allow_addresses: Annotated[tuple[str, ...], _NETWORKS] = ()
    diversity: Annotated[bool, _SWITCH] = True
    friends: Annotated[tuple[str, ...], _FRIENDS] = ()
    gossip: Annotated[bool, _SWITCH] = True
    dht: Annotated[bool, _SWITCH] = True
    dht_listen: Annotated[str, _DHT_LISTEN] = ""
    dht_nodes: Annotated[tuple[str, ...], _DHT_NODES] = (
        "router.bittorrent.com:6881",
        "dht.libtorrent.org:25401",
        "dht.transmissionbt.com:6881",
    )


class ExitSettings(_Section, frozen=True):
    """What this node reaches for others while it has the role exit."""

    allow_destinations: Annotated[tuple[str, ...], _NETWORKS] = ()
    resolver: Annotated[str, _RESOLVER] = ""
    egress_address: Annotated[str, _EGRESS] = ""
    policy: Annotated[Literal["default", "web"], _POLICY] = "default"
    rules: Annotated[tuple[str, ...], _EXIT_RULES] = ()
    notice: Annotated[str, _NOTICE] = ""
    contact: Annotated[str, _CONTACT] = ""


class SharingSettings(_Section, frozen=True):
    """How much this node does for others, as relay and as exit together."""

    up_mbit: Annotated[float, _RATE] = 0.0
    down_mbit: Annotated[float, _RATE] = 0.0
    monthly_gb: Annotated[float, _VOLUME] = 0.0
    hours: Annotated[tuple[str, ...], _HOURS] = ()
    circuits: Annotated[int, _COUNT] = 0
    flows: Annotated[int, _COUNT] = 0
    only_friends: Annotated[bool, _SWITCH] = False
    drain_s: Annotated[int, _DRAIN] = 60
    memory_mb: Annotated[int, _MEMORY] = 0
    metrics: Annotated[str, _METRICS] = ""


class BypassSettings(_Section, frozen=True):
    """What does not travel through the tunnel, or not as everything else."""

    rules: Annotated[tuple[str, ...], _RULES] = ()
    presets: Annotated[tuple[str, ...], _PRESETS] = ("local",)
    lists: Annotated[tuple[str, ...], _LISTS] = ()


class TrustSettings(_Section, frozen=True):
    """On which networks what no rule names goes direct."""

    networks: Annotated[tuple[str, ...], _TRUSTED] = ()


class PaymentsSettings(_Section, frozen=True):
    """How neighbours pay each other, and what this node asks."""

    settlement: Annotated[Literal["off", "local", "evm"], _SETTLEMENT] = "off"
    tariff: Annotated[int, _TARIFF] = 0
    cap: Annotated[str, _CAP] = ""
    deposit: Annotated[float, _COINS] = 1.0
    channels: Annotated[int, _CHANNELS] = 64
    ledger: Annotated[str, _FILE] = ""
    rpc: Annotated[str, _RPC] = ""
    contract: Annotated[str, _CONTRACT] = ""
    chain_id: Annotated[int, _CHAIN] = 0
    unit_wei: Annotated[int, _WEI] = 0
    confirmations: Annotated[int, _CONFIRMATIONS] = 12


class ControlSettings(_Section, frozen=True):
    """The control interface on loopback."""

    port: Annotated[int, _PORT] = 0


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of a node. `load` makes one that has been checked."""

    node: NodeSettings = NodeSettings()
    network: NetworkSettings = NetworkSettings()
    proxy: ProxySettings = ProxySettings()
    tunnel: TunnelSettings = TunnelSettings()
    peers: PeersSettings = PeersSettings()
    exit: ExitSettings = ExitSettings()
    sharing: SharingSettings = SharingSettings()
    bypass: BypassSettings = BypassSettings()
    trust: TrustSettings = TrustSettings()
    payments: PaymentsSettings = PaymentsSettings()
    control: ControlSettings = ControlSettings()


def _fields() -> Iterator[tuple[str, Any]]:
    for section in msgspec.structs.fields(Settings):
        for field in msgspec.structs.fields(section.type):
            yield f"{section.name}.{field.name}", field.type


FIELDS: Final = dict(_fields())
"""Every setting's name (`section.key`) and its annotated type."""
SECTIONS: Final = tuple(section.name for section in msgspec.structs.fields(Settings))
