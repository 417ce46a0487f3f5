"""The shapes of what comes and goes as JSON. The description is made of them, and tests hold real answers against them.

A key that may be missing has the type `UnsetType` beside its own. Requests are read strictly: a key too many is an
error.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

Count = Annotated[int, msgspec.Meta(ge=0)]
Ms = Annotated[float, msgspec.Meta(ge=0)]
Missing = UnsetType


class Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One JSON object."""


# -- what is asked


class Code(Shape, frozen=True):
    """A one-time code, as `macrovpn pair` and `macrovpn dashboard` show it."""

    code: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]

    def __repr__(self) -> str:
        return "Code([redacted])"


class Hello(Shape, frozen=True):
    """A question that only the node which gave a token can answer; `nonce` is the extension's, new each time."""

    id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{8}$")]
    nonce: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32,128}$")]


class NewCode(Shape, frozen=True):
    """What a code shall be for."""

    purpose: Literal["extension", "page"]


class PairingId(Shape, frozen=True):
    """Which pairing."""

    id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{8}$")]


class OneRule(Shape, frozen=True):
    """A rule, as `macrovpn bypass add` takes it."""

    rule: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


class Order(Shape, frozen=True):
    """What goes with an order to the wallet; which keys, depends on the order."""

    channel: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{4,64})?$")] = ""
    units: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
    path: Annotated[str, msgspec.Meta(max_length=4096)] = ""


# -- what is answered


class Failure(Shape, frozen=True):
    """What happened, and what to do, in a sentence."""

    error: str


class Token(Shape, frozen=True):
    """A secret for the `Authorization` header of all further requests."""

    token: str

    def __repr__(self) -> str:
        return "Token([redacted])"


class PairedToken(Token, frozen=True, kw_only=True):
    """The same, of an extension; its pairing's id is no secret."""

    id: str


class Proof(Shape, frozen=True):
    """HMAC-SHA256 in hexadecimal digits: the key is the SHA-256 of the token, the message `PORT:NONCE`."""

    proof: str


class GivenCode(Shape, frozen=True):
    """A one-time code."""

    code: str
    valid_s: Count

    def __repr__(self) -> str:
        return "GivenCode([redacted])"


class Pairing(Shape, frozen=True):
    """A paired extension."""

    id: str
    origin: str


class PairingList(Shape, frozen=True):
    """All paired extensions."""

    pairings: list[Pairing]


class Trust(Shape, frozen=True):
    """Where this machine stands."""

    state: str
    name: str
    confirmed: bool


class Speed(Shape, frozen=True):
    """Bytes per second of this node's own flows; nothing of them is kept."""

    forth_bytes_s: Count
    back_bytes_s: Count


class Second(Speed, frozen=True, kw_only=True):
    """The last second of this node's own flows. The times are null when nothing was measured."""

    flows: Count
    first_byte_ms: Ms | None
    rtt_ms: Ms | None


class Money(Shape, frozen=True):
    """Amounts in units, 10^6 of which are a coin; no key at all while payments are off."""

    spent: Count | Missing = UNSET
    paid: Count | Missing = UNSET
    earned: Count | Missing = UNSET
    received: Count | Missing = UNSET
    cap: Count | Missing | None = UNSET
    trouble: str | Missing = UNSET
    tariffs: list[Count] | Missing = UNSET
    price_per_gb: Count | Missing | None = UNSET


class Channel(Shape, frozen=True):
    """A payment channel."""

    id: str
    pays: bool
    peer_id: str
    state: str
    deposit: Count
    paid: Count
    claimed: Count


class Wallet(Money, frozen=True, kw_only=True):
    """What this node holds; only `settlement` while payments are off."""

    settlement: str
    chain: str | Missing = UNSET
    account: str | Missing = UNSET
    balance: int | Missing | None = UNSET
    locked: int | Missing = UNSET
    claimed: Count | Missing = UNSET
    tariff: Count | Missing = UNSET
    channels: list[Channel] | Missing = UNSET


class Done(Shape, frozen=True):
    """What came of an order to the wallet."""

    claimed: Count | Missing = UNSET
    left: Count | Missing = UNSET
    closing: Count | Missing = UNSET
    cap: Count | Missing | None = UNSET
    channel: str | Missing = UNSET
    deposit: Count | Missing = UNSET
    path: str | Missing = UNSET


class Limits(Shape, frozen=True):
    """The limits of sharing; 0 for none."""

    up_mbit: float
    down_mbit: float
    monthly_gb: float
    hours: list[str]
    circuits: Count
    flows: Count
    only_friends: bool


class Sharing(Shape, frozen=True):
    """The work for others; no key at all at a node that does none."""

    roles: list[str] | Missing = UNSET
    state: Literal["open", "refusing", "draining"] | Missing = UNSET
    biting: list[str] | Missing = UNSET
    circuits: Count | Missing = UNSET
    flows: Count | Missing = UNSET
    forth_bytes_s: Count | Missing | None = UNSET
    back_bytes_s: Count | Missing | None = UNSET
    carried_mb: Count | Missing | None = UNSET
    month_mb: Count | Missing | None = UNSET
    earned: Count | Missing | None = UNSET
    tariff: Count | Missing = UNSET
    limits: Limits | Missing = UNSET
    policy: str | Missing = UNSET
    rules: Count | Missing = UNSET
    allow_destinations: list[str] | Missing = UNSET
    metrics: str | Missing = UNSET
    notice: str | Missing = UNSET


class Status(Shape, frozen=True):
    """The state of now, as `macrovpn status --json` prints it."""

    state: Literal["up", "connecting", "down", "blocked", "leaving"]
    reason: str
    network: str
    private: bool
    exit_region: str
    exit_regions: list[str]
    exit_serves: str
    trust: Trust
    direct_because: str
    mode: str
    hops: Count
    not_hidden: str
    flows: Count
    speed: Speed
    peers: Count
    dht: str
    circuits: Count
    relayed_circuits: Count
    proxy: str
    pac: str
    roles: list[str]
    peer_id: str
    engine: str
    address: str
    reachable: str
    via: Count
    port_mapping: str
    counters: dict[str, dict[str, Count]]
    money: Money
    refuses: str
    late_ms: Count
    sharing: Sharing
    restart_to_apply: list[str]
    settings_problem: str


class Figures(Shape, frozen=True):
    """What was measured of a peer."""

    rtt_ms: Ms
    expected_ms: Ms | None
    jitter_ms: Ms
    rate_kb_s: Count
    failing: float
    tariff: Count


class Standing(Shape, frozen=True):
    """How a peer fares at a place of a path; `chance` is null where it is not drawn."""

    peer_id: str
    region: str
    weight: float
    chance: float | None
    confidence: float
    figures: Figures
    factors: dict[str, float]


class Hop(Shape, frozen=True):
    """A hop of a circuit."""

    peer_id: str
    role: Literal["guard", "relay", "exit"]
    region: str
    rtt_ms: Ms | None
    serves: str


class ExplainedHop(Hop, frozen=True, kw_only=True):
    """A hop, why it is there, and who else could be; `chosen` is null when it would not be chosen now."""

    why: str
    candidates: Count
    chosen: Standing | None
    rivals: list[Standing]


class _Circuit(Shape, frozen=True):
    id: str
    flows: Count
    in_use: bool
    options: dict[str, Any]
    price_per_gb: Count
    age_s: float


class Circuit(_Circuit, frozen=True, kw_only=True):
    """A live path. `options`: what is wanted for the sites it may carry."""

    hops: list[Hop]


class ExplainedCircuit(_Circuit, frozen=True, kw_only=True):
    """A live path, with reasons."""

    hops: list[ExplainedHop]


class Route(Shape, frozen=True):
    """The present circuits."""

    circuits: list[Circuit]


class ExplainedRoute(Shape, frozen=True):
    """The present circuits, with reasons."""

    circuits: list[ExplainedCircuit]


class Peer(Shape, frozen=True):
    """A known peer."""

    peer_id: str
    roles: list[str]
    region: str
    claimed_region: str
    region_check: str
    operator: str
    tariff: Count
    serves: str
    rtt_ms: Ms | None
    score: float
    confidence: float
    pinned: str


class Peers(Shape, frozen=True):
    """The known peers."""

    peers: list[Peer]


class Region(Shape, frozen=True):
    """A region: how many known exits are believed to be there, and whether it is among the wanted ones."""

    region: str
    exits: Count
    wanted: bool


class Regions(Shape, frozen=True):
    """Regions with exits and wanted ones, by name."""

    regions: list[Region]


class Invite(Shape, frozen=True):
    """An invite to the private network."""

    invite: str


class Reloaded(Shape, frozen=True):
    """It was read again."""

    reloaded: bool


class RuleCount(Shape, frozen=True):
    """The rules that are obeyed."""

    count: Count
    digest: str


class RuleSource(Shape, frozen=True):
    """Where rules come from."""

    source: str
    count: Count


class ListedRule(Shape, frozen=True):
    """A rule and where it comes from."""

    rule: str
    source: str


class Bypass(Shape, frozen=True):
    """Your rules, presets and lists, as `macrovpn bypass list --json` prints them."""

    sources: list[RuleSource]
    rules: list[ListedRule]
    file: str


class Setting(Shape, frozen=True):
    """A setting.

    `value` is what the next start takes, `pending` says that the node goes by another one until then. `source` is
    `default`, `file`, `flag` or an environment variable; `live` when a change takes effect at once. A secret that is
    set reads `[redacted]`.
    """

    key: str
    value: Any
    default: Any
    kind: Literal["switch", "integer", "number", "text", "choice", "list"]
    choices: list[str]
    must: str
    help: str
    secret: bool
    source: str
    live: bool
    pending: bool


class SettingList(Shape, frozen=True):
    """All settings; `problem` says what is wrong with the file, if something is."""

    settings: list[Setting]
    file: str
    problem: str


class Changed(Shape, frozen=True):
    """Which settings are obeyed now, and which after the node's next start."""

    applied: list[str]
    after_restart: list[str]


class Stopping(Shape, frozen=True):
    """The node stops; what it carries for others may go on for so many seconds."""

    stopping: bool
    drain_s: float
