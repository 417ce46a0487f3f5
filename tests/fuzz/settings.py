"""Readers of settings, orders and the node's files: what a user, a page or an older build has written."""

from __future__ import annotations

from pathlib import Path

from core.errors import ConfigError, DecodeError
from exits.hours import WEEK_MINUTES, Hours
from exits.name_server import NameServer
from node import config
from node.chromium_settings import parse_command, parse_extensions
from node.coins import coins, read_coins
from node.control.refused import RefusedError
from node.control.routes import TABLE
from node.control.server import read_body
from node.firefox_profiles import parse_prefs
from node.settings import join_endpoint, split_endpoint
from node.wallet_orders import WalletOrder
from pac.trusted import TrustedNetwork
from peers import dht_nodes, guard_store
from peers.holds import decode_word, encode_word, give
from peers.identity import peer_id
from tests.fuzz.target import Target
from tests.peers.build import NOW, identity

_ORDERS = ("claim", "close", "cap", "deposit", "export")
_SHAPES = {f"{route.method} {route.path}": route.body for route in TABLE if route.body is not None}


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def read_settings(data: bytes) -> None:
    values, places = config.parse(_text(data), Path("config.toml"))
    assert values.keys() == places.keys()


def read_amount(data: bytes) -> None:
    units = read_coins(_text(data))
    assert read_coins(coins(units)) == units


def read_trusted(data: bytes) -> None:
    found = TrustedNetwork.parse(_text(data))
    assert TrustedNetwork.parse(str(found)) == found


def read_name_server(data: bytes) -> None:
    found = NameServer.parse(_text(data))
    assert 0 < found.port < 65536


def read_hours(data: bytes) -> None:
    minutes = Hours.parse(_text(data).split("\n")).minutes
    assert minutes <= frozenset(range(WEEK_MINUTES))


def read_endpoint(data: bytes) -> None:
    found = split_endpoint(_text(data))
    assert split_endpoint(join_endpoint(*found)) == found


def read_prefs(data: bytes) -> None:
    parse_prefs(_text(data))


def read_command(data: bytes) -> None:
    parse_command(_text(data).split("\0"))


def read_extensions(data: bytes) -> None:
    for found in parse_extensions(_text(data)):
        assert isinstance(found.pac, str)


def read_order(data: bytes) -> None:
    """Which order (1), then the body of the request."""
    WalletOrder.read(_ORDERS[(data[0] if data else 0) % len(_ORDERS)], data[1:])


def read_request(data: bytes) -> None:
    """Which route's (1), then the body of a request to the control interface."""
    read_body(data[1:], list(_SHAPES.values())[(data[0] if data else 0) % len(_SHAPES)])


def read_guards(data: bytes) -> None:
    found = guard_store._decode(data)
    pins = [pin for kind in found.values() for pin in kind]
    assert len(pins) == data.count(b"\n") - 1


def read_dht_nodes(data: bytes) -> None:
    found = dht_nodes._decode(data)
    assert all(0 <= port < 65536 for _, port in found)


def read_word(data: bytes) -> None:
    assert encode_word(decode_word(identity(1).peer, data)) == data


def _lines(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _request(route: str, body: bytes) -> bytes:
    return bytes([list(_SHAPES).index(route)]) + body


_PEER = peer_id(identity(1).peer)
_DAMAGED = (DecodeError, ValueError)

TARGETS = (
    Target(
        "settings-file",
        read_settings,
        (
            b'[proxy]\nlisten = "127.0.0.1:1080"\npassword = "x" # why\n\n[peers]\nbootstrap = []\n',
            b"[exit]\nrules = ['reject *:25']\n[sharing]\nhours = [\n  'mon-fri 22:00-06:00',\n]\n",
        ),
        (ConfigError,),
        4096,
    ),
    Target("coins", read_amount, (b"0.5", b"1e3", b"1000000000"), (ValueError,), 80),
    Target(
        "trusted-network",
        read_trusted,
        (b"home: ssid=My%20Wifi security=wpa", b"a b: gateway=192.168.1.1 mac=00:11:22:aa:bb:cc"),
        (ConfigError,),
        300,
    ),
    Target(
        "name-server",
        read_name_server,
        (b"9.9.9.9:53", b"tls://9.9.9.9:853#dns.quad9.net", b"https://[2620:fe::fe]/dns-query#dns.quad9.net"),
        (ConfigError,),
        300,
    ),
    Target("sharing-hours", read_hours, (b"22:00-06:00", b"mon-fri 18:00-23:30\nsat,sun 00:00-24:00"), (ConfigError,)),
    Target("endpoint", read_endpoint, (b"127.0.0.1:1080", b"[::1]:0"), (ValueError,), 80),
    Target(
        "firefox-settings",
        read_prefs,
        (
            b'// Mozilla\nuser_pref("network.proxy.type", 1);\nuser_pref("network.proxy.socks", "127.0.0.1"); // x\n',
            b'/* a\n*/ user_pref("network.proxy.no_proxies_on", "a \\"b");\n',
        ),
        (),
    ),
    Target("chromium-command", read_command, (b"/usr/bin/chromium\0--proxy-server=socks5://127.0.0.1:1080",), ()),
    Target(
        "chromium-profile",
        read_extensions,
        (
            b'{"extensions": {"settings": {"a": {"state": 1, "preferences": {"proxy": {"mode": "fixed_servers"}}}}}}',
            b'{"extensions": {"settings": {"b": {"preferences": {"proxy": {"mode": "pac_script", "pac_url": "x"}}}}}}',
        ),
        (),
        1 << 16,
    ),
    Target(
        "wallet-order",
        read_order,
        (b'\0{"channel": "%s"}' % (b"ab" * 32), b'\2{"units": 5}', b'\3{"units": 5}', b'\4{"path": "/tmp/a"}'),
        (ValueError,),
        1 << 16,
    ),
    Target(
        "control-request",
        read_request,
        (_request("POST /v1/bypass", b'{"rule": "block a.example"}'), _request("PATCH /v1/settings", b'{"a": [1]}')),
        (RefusedError,),
        1 << 16,
    ),
    Target(
        "guards-file",
        read_guards,
        (_lines(guard_store.FIRST_LINE, f"guard {_PEER} 2026-12-24", f"second {_PEER} 2026-12-25"),),
    ),
    Target("dht-file", read_dht_nodes, (_lines(dht_nodes.FIRST_LINE, "203.0.113.7:6881", "[2a00::1]:1"),), _DAMAGED),
    Target("hold-word", read_word, (encode_word(give(identity(2), identity(1).peer, NOW)),), longest=80),
)
