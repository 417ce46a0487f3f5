"""What a node may answer: every key that there is, with values as a real one has them."""

from __future__ import annotations

from typing import Any, Final

PEER_ID: Final = "12D3KooW" + "A" * 44
CHANNEL_ID: Final = "87bd316b" + "0" * 56

MONEY: Final[dict[str, Any]] = {
    "spent": 120,
    "paid": 124,
    "earned": 0,
    "received": 0,
    "cap": None,
    "trouble": "",
    "tariffs": [2, 2, 2],
    "price_per_gb": 6000,
}
CHANNEL: Final[dict[str, Any]] = {
    "id": CHANNEL_ID,
    "pays": True,
    "peer_id": PEER_ID,
    "state": "open",
    "deposit": 1_000_000,
    "paid": 124,
    "claimed": 0,
}
WALLET: Final[dict[str, Any]] = MONEY | {
    "settlement": "local",
    "chain": "",
    "account": "0x07f727f51e59938ead16f4a1159aef71b3755993",
    "balance": 999_000_000,
    "locked": 999_876,
    "claimed": 0,
    "tariff": 0,
    "channels": [CHANNEL],
}
ORDERS: Final[dict[str, dict[str, Any]]] = {
    "claim": {"claimed": 7, "left": 0},
    "close": {"closing": 1},
    "cap": {"cap": 500_000},
    "deposit": {"channel": CHANNEL_ID, "deposit": 2_000_000},
    "export": {"path": "/backup"},
}
"""What comes of each order to the wallet."""
SHARING: Final[dict[str, Any]] = {
    "roles": ["exit"],
    "state": "open",
    "biting": [],
    "circuits": 2,
    "flows": 1,
    "forth_bytes_s": 10,
    "back_bytes_s": None,
    "carried_mb": 3,
    "month_mb": None,
    "earned": 4,
    "tariff": 2,
    "limits": {
        "up_mbit": 0.0,
        "down_mbit": 0.0,
        "monthly_gb": 0.0,
        "hours": ["22:00-06:00"],
        "circuits": 0,
        "flows": 0,
        "only_friends": False,
    },
    "policy": "default",
    "rules": 0,
    "allow_destinations": [],
    "metrics": "",
    "notice": "",
}
STATUS: Final[dict[str, Any]] = {
    "state": "up",
    "reason": "",
    "network": "main",
    "private": False,
    "exit_region": "NL",
    "exit_regions": ["NL"],
    "exit_serves": "all ports but 25",
    "trust": {"state": "off", "name": "", "confirmed": False},
    "direct_because": "",
    "mode": "balanced",
    "hops": 3,
    "not_hidden": "",
    "flows": 2,
    "speed": {"forth_bytes_s": 0, "back_bytes_s": 1200},
    "peers": 0,
    "dht": "on",
    "circuits": 1,
    "relayed_circuits": 0,
    "proxy": "127.0.0.1:1080",
    "pac": "http://127.0.0.1:1080/x/proxy.pac",
    "roles": ["client"],
    "peer_id": "",
    "engine": "fake",
    "address": "",
    "reachable": "",
    "via": 0,
    "port_mapping": "off",
    "counters": {"links": {"reset": 1}},
    "money": MONEY,
    "refuses": "",
    "late_ms": 0,
    "sharing": {},
    "restart_to_apply": [],
    "settings_problem": "",
}
SECOND: Final[dict[str, Any]] = {
    "forth_bytes_s": 1,
    "back_bytes_s": 2,
    "flows": 3,
    "first_byte_ms": 4.5,
    "rtt_ms": None,
}
_STANDING: Final[dict[str, Any]] = {
    "peer_id": PEER_ID,
    "region": "NL",
    "weight": 1.5,
    "chance": None,
    "confidence": 0.5,
    "figures": {
        "rtt_ms": 10.0,
        "expected_ms": None,
        "jitter_ms": 1.0,
        "rate_kb_s": 500,
        "failing": 0.06,
        "tariff": 1,
    },
    "factors": {"latency": 2.0, "throughput": 1.0, "reliability": 0.9, "price": 0.8},
}
_HOP: Final[dict[str, Any]] = {"peer_id": PEER_ID, "role": "guard", "region": "NL", "rtt_ms": 12.4, "serves": ""}
_CIRCUIT: Final[dict[str, Any]] = {
    "id": "8",
    "flows": 2,
    "in_use": True,
    "options": {"regions": ["NL"], "isolated": True},
    "price_per_gb": 6000,
    "age_s": 61.7,
}
_REASONS: Final[dict[str, Any]] = {
    "why": "drawn by weight",
    "candidates": 2,
    "chosen": _STANDING,
    "rivals": [_STANDING],
}
ROUTE: Final[dict[str, Any]] = {"circuits": [_CIRCUIT | {"hops": [_HOP]}]}
EXPLAINED: Final[dict[str, Any]] = {"circuits": [_CIRCUIT | {"hops": [_HOP | _REASONS]}]}
PEERS: Final[dict[str, Any]] = {
    "peers": [
        {
            "peer_id": PEER_ID,
            "roles": ["relay"],
            "region": "",
            "claimed_region": "SG",
            "region_check": "contradicted",
            "operator": "",
            "tariff": 2,
            "serves": "",
            "rtt_ms": None,
            "score": 1.25,
            "confidence": 0.8,
            "pinned": "guard",
        }
    ]
}
REGIONS: Final[list[dict[str, Any]]] = [{"region": "NL", "exits": 3, "wanted": True}]
TRUST: Final[dict[str, Any]] = {"state": "trusted", "name": "home", "confirmed": True}
PAC: Final = "function FindProxyForURL(url, host) {}"
