"""The rows of `docs/state.md`: how each file is read."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Final

from node.settings import FIELDS
from pac.rules import parse_rules
from peers.descriptor import HEADER, MAX_DESCRIPTOR_BYTES, SIGNATURE_BYTES
from peers.invite import Invite
from tests.proofs.databases import LEDGER, MONEY
from tests.proofs.kept import Field, Kept, Kind, Listed, UnlistedError, lines, nothing, read_home, whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

PLAIN, RANDOM, TIME = Kind.PLAIN, Kind.RANDOM, Kind.TIME
DAY: Final = rb"(20[0-9]{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01]))"
PEER_ID: Final = rb"(12D3Koo[1-9A-HJ-NP-Za-km-z]{45})"
OWN: Final = rb"(?:core|pac|ledger|tunnel|peers|exits|proxy|node|__main__)"
OF_LIBRARIES: Final = rb"said something \([a-z_0-9]+\.py:[0-9]+\)"


def settings(data: bytes, path: Path) -> Iterator[Field]:
    """`config.toml`: nothing but settings."""
    for section, values in tomllib.loads(data.decode()).items():
        for key, value in values.items():
            if f"{section}.{key}" not in FIELDS:
                raise UnlistedError(f"{path.name} has {section}.{key}, which is no setting")
            yield Field("the settings that you set", str(value).encode())


def rules(data: bytes, path: Path) -> Iterator[Field]:
    """`rules/NAME.txt`: rules."""
    found = data.decode().splitlines()
    if len(parse_rules(found)) != len(found):
        raise UnlistedError(f"{path.name} has something else than rules")
    yield from (Field("a list of rules", line.encode()) for line in found)


def _json_values(value: object, path: Path, names: Mapping[str, tuple[str, Kind]]) -> Iterator[Field]:
    if not isinstance(value, dict) or value.keys() != names.keys():
        raise UnlistedError(f"{path.name} has other members: {value!r}"[:200])
    for key, (name, kind) in names.items():
        yield Field(name, str(value[key]).encode(), kind)


def control(data: bytes, path: Path) -> Iterator[Field]:
    names = {"url": ("`url`", PLAIN), "token_file": ("`token_file`", PLAIN), "pid": ("`pid`", PLAIN)}
    yield from _json_values(json.loads(data), path, names)


def pairings(data: bytes, path: Path) -> Iterator[Field]:
    names = {
        "id": ("an `id`", RANDOM),
        "origin": ("its `origin`", RANDOM),
        "digest": ("the SHA-256 of its token", RANDOM),
    }
    for paired in json.loads(data):
        yield from _json_values(paired, path, names)


def system_proxy(data: bytes, path: Path) -> Iterator[Field]:
    """What the system's settings were, and are."""
    record = json.loads(data)
    names = {"version": ("`version`", PLAIN), "proxy": ("`proxy`", PLAIN), "places": ("`places`", PLAIN)}
    yield from _json_values(record, path, names)
    for change in record["places"].values():
        yield from _json_values(change, path, {"before": ("`before`", PLAIN), "ours": ("`ours`", PLAIN)})


def peers(data: bytes, path: Path) -> Iterator[Field]:
    """`peers`: descriptors as they were published, each of which says when it ends, and often when it was made."""
    first = b"macro-vpn peers 2\n"
    if not data.startswith(first):
        raise UnlistedError(f"{path.name} begins otherwise: {data[:100]!r}")
    yield Field("the line `macro-vpn peers 2`", first)
    at = len(first)
    while at < len(data):
        size = int.from_bytes(data[at + 1 : at + 3])
        raw = data[at + 3 : at + 3 + size]
        if data[at] > 1 or len(raw) != size or size > MAX_DESCRIPTOR_BYTES:
            raise UnlistedError(f"{path.name} has another form at byte {at}")
        yield Field("one byte (1 if", data[at : at + 1])
        yield Field("the length (2 bytes", data[at + 1 : at + 3])
        yield from descriptor(raw, path)
        at += 3 + size


def descriptor(raw: bytes, path: Path) -> Iterator[Field]:
    """All fields of a descriptor, as `docs/protocol.md` numbers them."""
    if not raw.startswith(HEADER):
        raise UnlistedError(f"{path.name} has something else than descriptors")
    name, start = "its descriptor", len(HEADER) + 32
    yield Field(name, raw[len(HEADER) : start], RANDOM)
    body = raw[:-SIGNATURE_BYTES]
    while start < len(body):
        tag, size = body[start], int.from_bytes(body[start + 1 : start + 3])
        value = body[start + 3 : start + 3 + size]
        if tag not in range(1, 14) or len(value) != size:
            raise UnlistedError(f"{path.name} has a descriptor with an unknown field {tag}")
        yield Field(name, value, _OF_DESCRIPTOR.get(tag, PLAIN))
        start += 3 + size
    yield Field(name, raw[-SIGNATURE_BYTES:], RANDOM)


_OF_DESCRIPTOR: Final = {1: TIME, 2: TIME, 4: RANDOM, 5: RANDOM, 12: RANDOM}
"""Sequence and end, keys, and the words of relays."""


def invite(data: bytes, path: Path) -> Iterator[Field]:
    """`network`: an invite."""
    text = data.decode("ascii")
    found = Invite.decode(text)
    if f"{found.encode()}\n" != text:
        raise UnlistedError(f"{path.name} has more than an invite")
    yield Field("an invite", data, RANDOM)


LOG: Final = lines(
    None,
    rb"((?:DEBUG|INFO|WARNING|ERROR|CRITICAL)) (" + OWN + rb"[a-z_.]*: .+|[a-z_.0-9]+: " + OF_LIBRARIES + rb")",
    100_000,
    ("level", PLAIN),
    ("module, sentence", PLAIN),
)
LOCK: Final = whole(rb"([0-9]*)", ("the process id in decimal digits", PLAIN))
GUARDS: Final = lines(
    "macro-vpn guards 1",
    rb"(guard|second) " + PEER_ID + rb" " + DAY,
    22,
    ("`guard` or `second`", PLAIN),
    ("the peer id (52 characters)", RANDOM),
    ("the last day on which it is kept", TIME),
)
DHT: Final = lines(
    "macro-vpn dht 1",
    rb"(\[[0-9a-f:.]+\]|[0-9.]+):([0-9]{1,5})",
    200,
    ("an address and port of a node of the DHT", PLAIN),
    ("an address and port of a node of the DHT", PLAIN),
)


def _hex(digits: int, name: str) -> Listed:
    return Listed(
        f"`{name}`", name, whole(b"([0-9a-f]{%d})\n" % digits, (f"{digits} hex digits and a newline", RANDOM))
    )


def _key(name: str, pattern: str) -> Listed:
    return Listed(f"`{name}`", f"keys/{pattern}", whole(b"(.{32})", ("32 raw bytes", RANDOM)))


def as_it_is(data: bytes, path: Path) -> Iterator[Field]:
    """What is no form of its own: a part of another file, or what was set aside because it is damaged."""
    yield Field("", data, RANDOM)


ROWS: Final = (
    *(Listed(f"`{name}.bad`", f"{name}.bad", as_it_is) for name in ("pairings", "dht", "peers", "guards")),
    Listed("`ledger.db-journal`", "*ledger.db-journal", as_it_is),
    Listed("`.NAME.xxxxxxxx`", ".*.????????", as_it_is),
    Listed("`.NAME.xxxxxxxx`", "keys/.*.????????", as_it_is),
    Listed("`macrovpn-xxxxxxxx/`", "macrovpn-????????/*.pem", as_it_is),
    Listed("`config.toml`", "config.toml", settings),
    Listed("`rules/NAME.txt`", "rules/*.txt", rules),
    _hex(64, "control.token"),
    Listed("`control.json`", "control.json", control),
    Listed("`control.port`", "control.port", whole(rb"([0-9]{1,5})\n", ("in decimal digits, and a newline", PLAIN))),
    Listed("`pairings`", "pairings", pairings),
    Listed(
        "`dashboard.html`",
        "dashboard.html",
        whole(
            rb'<!doctype html><meta http-equiv="refresh" content="0;url=(http://127\.0\.0\.1:[0-9]+/#[0-9A-Z]{26})">'
            rb'<a href="(\1)">go on</a>',
            ("an address of the control interface with a code", RANDOM),
            ("an address of the control interface with a code", RANDOM),
        ),
    ),
    Listed("`switched-off`", "switched-off", whole(rb"")),
    Listed("`node.lock`", "node.lock", LOCK),
    Listed("`node.log`", "node.log", LOG),
    Listed("`peers`", "peers", peers),
    Listed("`dht`", "dht", DHT),
    Listed("`network`", "network", invite),
    _hex(32, "pac.token"),
    Listed("`guards`", "guards", GUARDS),
    _key("peer.key", "peer.key"),
    _key("link.key", "link.key"),
    _key("onion-N.key", "onion-[0-9]*.key"),
    Listed(
        "`carried`",
        "carried",
        whole(
            rb"macro-vpn carried 1 ([0-9]{4}-[0-9]{2}) ([0-9]{12}) MB\n",
            ("Year and month", TIME),
            ("in whole megabytes", PLAIN),
        ),
    ),
    Listed("`exit.explained`", "exit.explained", nothing),
    Listed("`switched-off`", "switched-off", nothing),
    _hex(64, "wallet.key"),
    Listed("`money.db`", "money.db", MONEY.read),
    Listed("`money.db-wal`", "money.db-wal", MONEY.read_log),
    Listed("`ledger.db`", "ledger.db", LEDGER.read),
    Listed("`shared-ledger.db`", "shared-ledger.db", LEDGER.read),
    Listed("`.macrovpn-demo`", ".macrovpn-demo", nothing),
)
"""Of homes."""
OF_THE_USER: Final = (Listed("`before.json`", "before.json", system_proxy), Listed("`node.lock`", "node.lock", LOCK))
"""Of the folder with what the system's settings were."""


def read_homes(homes: Iterable[Path]) -> list[Kept]:
    """Read some homes, of which one may lie in another.

    Raises:
        UnlistedError: there is something that is not listed.
    """
    homes = list(homes)
    return [
        kept for home in homes for kept in read_home(home, ROWS, apart=[one for one in homes if home in one.parents])
    ]
