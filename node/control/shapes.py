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


def says(text: str) -> msgspec.Meta:
    """Describe a key."""
    return msgspec.Meta(description=text)


class Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One JSON object."""


# -- what is asked


class Code(Shape, frozen=True):
    """A one-time code, as `macrovpn pair` and `macrovpn dashboard` show it."""

    code: Annotated[str, msgspec.Meta(min_length=1, max_length=64), says("as it was printed")]

    def __repr__(self) -> str:
        return "Code([redacted])"


class Hello(Shape, frozen=True):
    """A question that only the node which gave a token can answer; `nonce` is the extension's, new each time."""

    id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{8}$"), says("the pairing's")]
    nonce: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32,128}$"), says("new each time, hexadecimal digits")]


class NewCode(Shape, frozen=True):
    """What a code shall be for."""

    purpose: Annotated[Literal["extension", "page"], says("who shall trade it for a token")]


class PairingId(Shape, frozen=True):
    """Which pairing."""

    id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{8}$"), says("the pairing's")]


class OneRule(Shape, frozen=True):
    """A rule, as `macrovpn bypass add` takes it."""

    rule: Annotated[str, msgspec.Meta(min_length=1, max_length=1024), says("such as `block .ads.example`")]


class Order(Shape, frozen=True):
    """What goes with an order to the wallet; which keys, depends on the order."""

    channel: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{4,64})?$"), says("first digits of its id")] = ""
    units: Annotated[Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None, says("an amount, or null")] = None
    path: Annotated[str, msgspec.Meta(max_length=4096), says("of the file that `export` writes")] = ""


# -- what is answered


class Failure(Shape, frozen=True):
    """What happened, and what to do, in a sentence."""

    error: Annotated[str, says("what happened, and what to do")]


class Token(Shape, frozen=True):
    """A secret for the `Authorization` header of all further requests."""

    token: Annotated[str, says("hexadecimal digits")]

    def __repr__(self) -> str:
        return "Token([redacted])"


class PairedToken(Token, frozen=True, kw_only=True):
    """The same, of an extension; its pairing's id is no secret."""

    id: Annotated[str, says("the pairing's")]


class Proof(Shape, frozen=True):
    """HMAC-SHA256 in hexadecimal digits: the key is the SHA-256 of the token, the message `PORT:NONCE`."""

    proof: Annotated[str, says("64 hexadecimal digits")]


class GivenCode(Shape, frozen=True):
    """A one-time code."""

    code: Annotated[str, says("what to type or to open")]
    valid_s: Annotated[Count, says("seconds for which it counts, once")]

    def __repr__(self) -> str:
        return "GivenCode([redacted])"


class Pairing(Shape, frozen=True):
    """A paired extension."""

    id: Annotated[str, says("its name, no secret")]
    origin: Annotated[str, says("of the extension that was paired")]


class PairingList(Shape, frozen=True):
    """All paired extensions."""

    pairings: Annotated[list[Pairing], says("each paired extension")]


class Trust(Shape, frozen=True):
    """Where this machine stands."""

    state: Annotated[str, says("`off`, `unknown`, `asks` or `trusted`")]
    name: Annotated[str, says("the trusted network that it is, or looks like")]
    confirmed: Annotated[bool, says("whether the user said so")]


class Speed(Shape, frozen=True):
    """Bytes per second of this node's own flows; nothing of them is kept."""

    forth_bytes_s: Annotated[Count, says("bytes per second towards destinations")]
    back_bytes_s: Annotated[Count, says("bytes per second back")]


class Second(Speed, frozen=True, kw_only=True):
    """The last second of this node's own flows. The times are null when nothing was measured."""

    flows: Annotated[Count, says("connections that are open")]
    first_byte_ms: Annotated[Ms | None, says("median wait for the first byte that came back")]
    rtt_ms: Annotated[Ms | None, says("to the exit and back")]


class Money(Shape, frozen=True):
    """Amounts in units, 10^6 of which are a coin; no key at all while payments are off."""

    spent: Annotated[Count | Missing, says("units for what others carried")] = UNSET
    paid: Annotated[Count | Missing, says("units that vouchers promised")] = UNSET
    earned: Annotated[Count | Missing, says("units for what this node carried")] = UNSET
    received: Annotated[Count | Missing, says("units in vouchers of others")] = UNSET
    cap: Annotated[Count | Missing | None, says("units that are spent at most in all, or null for no cap")] = UNSET
    trouble: Annotated[str | Missing, says("what is wrong with the settlement, or empty")] = UNSET
    tariffs: Annotated[list[Count] | Missing, says("step of each hop of the dearest path")] = UNSET
    price_per_gb: Annotated[Count | Missing | None, says("units for 10^9 bytes on it, or null without one")] = UNSET


class Channel(Shape, frozen=True):
    """A payment channel."""

    id: Annotated[str, says("64 hexadecimal digits")]
    pays: Annotated[bool, says("whether this node pays on it, or is paid")]
    peer_id: Annotated[str, says("the neighbour, or empty while it is not linked")]
    state: Annotated[str, says("`open`, `closing` or `closed`")]
    deposit: Annotated[Count, says("units that were put in")]
    paid: Annotated[Count, says("units that vouchers promised")]
    claimed: Annotated[Count, says("units that were paid out")]


class Wallet(Money, frozen=True, kw_only=True):
    """What this node holds; only `settlement` while payments are off."""

    settlement: Annotated[str, says("`off`, `local` or `evm`")]
    chain: Annotated[str | Missing, says("the chain's number, or empty")] = UNSET
    account: Annotated[str | Missing, says("this node's, in hexadecimal digits")] = UNSET
    balance: Annotated[int | Missing | None, says("units that are free, or null while that is not known")] = UNSET
    locked: Annotated[int | Missing, says("units in channels on which this node pays")] = UNSET
    claimed: Annotated[Count | Missing, says("units that were paid out")] = UNSET
    tariff: Annotated[Count | Missing, says("step that this node asks, 0 for nothing")] = UNSET
    channels: Annotated[list[Channel] | Missing, says("those that are not over")] = UNSET


class Done(Shape, frozen=True):
    """What came of an order to the wallet."""

    claimed: Annotated[Count | Missing, says("units that were paid out now")] = UNSET
    left: Annotated[Count | Missing, says("units left for later, as gas would cost too much")] = UNSET
    closing: Annotated[Count | Missing, says("channels that close now")] = UNSET
    cap: Annotated[Count | Missing | None, says("units, or null for no cap")] = UNSET
    channel: Annotated[str | Missing, says("the one that was meant")] = UNSET
    deposit: Annotated[Count | Missing, says("units that it holds now")] = UNSET
    path: Annotated[str | Missing, says("of the file that was written")] = UNSET


class Limits(Shape, frozen=True):
    """The limits of sharing; 0 for none."""

    up_mbit: Annotated[float, says("Mbit/s that leave this machine")]
    down_mbit: Annotated[float, says("Mbit/s that come to this machine")]
    monthly_gb: Annotated[float, says("GB in a calendar month")]
    hours: Annotated[list[str], says("when it serves; always if there are none")]
    circuits: Annotated[Count, says("that pass or end here")]
    flows: Annotated[Count, says("that end here")]
    only_friends: Annotated[bool, says("whether only `peers.friends` are served")]


class Sharing(Shape, frozen=True):
    """The work for others; no key at all at a node that does none."""

    roles: Annotated[list[str] | Missing, says("`relay`, `exit` or both")] = UNSET
    state: Annotated[Literal["open", "refusing", "draining"] | Missing, says("whether new work is taken")] = UNSET
    biting: Annotated[list[str] | Missing, says("words of the limits that hold something back")] = UNSET
    circuits: Annotated[Count | Missing, says("that pass or end here")] = UNSET
    flows: Annotated[Count | Missing, says("that end here")] = UNSET
    forth_bytes_s: Annotated[Count | Missing | None, says("bytes per second towards destinations")] = UNSET
    back_bytes_s: Annotated[Count | Missing | None, says("bytes per second back")] = UNSET
    carried_mb: Annotated[Count | Missing | None, says("MB since the start, both ways")] = UNSET
    month_mb: Annotated[Count | Missing | None, says("MB in this month")] = UNSET
    earned: Annotated[Count | Missing | None, says("units for that, or null while payments are off")] = UNSET
    tariff: Annotated[Count | Missing, says("step that this node asks, 0 for nothing")] = UNSET
    limits: Annotated[Limits | Missing, says("how much is lent")] = UNSET
    policy: Annotated[str | Missing, says("what an exit connects to: `default` or `web`")] = UNSET
    rules: Annotated[Count | Missing, says("how many rules of yours stand before it")] = UNSET
    allow_destinations: Annotated[list[str] | Missing, says("networks that it reaches though exits do not")] = UNSET
    metrics: Annotated[str | Missing, says("`IP:PORT` of the figures, or empty")] = UNSET
    notice: Annotated[str | Missing, says("`IP:PORT` of the exit's page, or empty")] = UNSET


class Status(Shape, frozen=True):
    """The state of now, as `macrovpn status --json` prints it."""

    state: Annotated[Literal["up", "connecting", "down", "blocked", "leaving"], says("the word for it all")]
    reason: Annotated[str, says("why it is not `up`, or empty")]
    network: Annotated[str, says("name of the network")]
    private: Annotated[bool, says("whether it is a private one")]
    exit_region: Annotated[str, says("of the exit that new connections take first, or empty")]
    exit_regions: Annotated[list[str], says("of all exits in use")]
    exit_serves: Annotated[str, says("which ports the exit says that it serves")]
    trust: Annotated[Trust, says("the trusted networks")]
    direct_because: Annotated[str, says("why what no rule names goes direct, or empty")]
    mode: Annotated[str, says("`speed`, `balanced`, `privacy`, or empty without a proxy")]
    hops: Annotated[Count, says("of the present path")]
    not_hidden: Annotated[str, says("what so few hops do not hide, or empty")]
    flows: Annotated[Count, says("connections that are open: its own, and those that end here")]
    speed: Annotated[Speed, says("bytes per second, right now")]
    peers: Annotated[Count, says("that are known")]
    dht: Annotated[str, says("`on`, `resting`, `missing`, or empty: whether the DHT is asked")]
    circuits: Annotated[Count, says("that are built")]
    relayed_circuits: Annotated[Count, says("of others, through this node")]
    proxy: Annotated[str, says("`HOST:PORT`, or empty")]
    pac: Annotated[str, says("address of the PAC, or empty")]
    roles: Annotated[list[str], says("`client`, `relay`, `exit`")]
    peer_id: Annotated[str, says("of a node that serves, or empty")]
    engine: Annotated[str, says("what carries the links")]
    address: Annotated[str, says("at which peers reach this node, or empty")]
    reachable: Annotated[str, says("how they do, in a word")]
    via: Annotated[Count, says("relays that keep a link so that others reach this node")]
    port_mapping: Annotated[str, says("what the home router does, in a word")]
    counters: Annotated[dict[str, dict[str, Count]], says("why things ended or were refused since the start")]
    money: Annotated[Money, says("what it costs")]
    refuses: Annotated[str, says("why nothing new is taken for others, or empty")]
    late_ms: Annotated[Count, says("by how much the node's own timers are late")]
    sharing: Annotated[Sharing, says("the work for others")]
    restart_to_apply: Annotated[list[str], says("settings that wait for the next start")]
    settings_problem: Annotated[str, says("what is wrong with the settings file, or empty")]


class Figures(Shape, frozen=True):
    """What was measured of a peer."""

    rtt_ms: Annotated[Ms, says("to it and back")]
    expected_ms: Annotated[Ms | None, says("by its distance, or null where that is unknown")]
    jitter_ms: Annotated[Ms, says("by how much that differs")]
    rate_kb_s: Annotated[Count, says("KB per second that it carried")]
    failing: Annotated[float, says("share of tries that failed, 0 to 1")]
    tariff: Annotated[Count, says("step that it asks")]


class Factors(Shape, frozen=True):
    """What a weight is made of: 1 for a usual peer, more for a better one."""

    latency: Annotated[float, says("how near and steady it is")]
    throughput: Annotated[float, says("how fast it is")]
    reliability: Annotated[float, says("how seldom it fails")]
    price: Annotated[float, says("how cheap it is")]


class Standing(Shape, frozen=True):
    """How a peer fares at a place of a path; `chance` is null where it is not drawn."""

    peer_id: Annotated[str, says("who")]
    region: Annotated[str, says("as far as it is believed, or empty")]
    weight: Annotated[float, says("for the draw")]
    chance: Annotated[float | None, says("of being drawn, 0 to 1")]
    confidence: Annotated[float, says("how well the figures are known, 0 to 1")]
    figures: Annotated[Figures, says("what was measured")]
    factors: Annotated[Factors, says("what makes the weight")]


class Hop(Shape, frozen=True):
    """A hop of a circuit."""

    peer_id: Annotated[str, says("who")]
    role: Annotated[Literal["guard", "relay", "exit"], says("its place")]
    region: Annotated[str, says("as far as it is believed, or empty")]
    rtt_ms: Annotated[Ms | None, says("to the exit and back; null for other hops")]
    serves: Annotated[str, says("ports that an exit says it serves")]


class ExplainedHop(Hop, frozen=True, kw_only=True):
    """A hop, why it is there, and who else could be; `chosen` is null when it would not be chosen now."""

    why: Annotated[str, says("a sentence")]
    candidates: Annotated[Count, says("how many fit there")]
    chosen: Annotated[Standing | None, says("how it fares")]
    rivals: Annotated[list[Standing], says("the best of the others")]


class SiteOptions(Shape, frozen=True):
    """What a rule wants for a site; a key that is missing wants nothing."""

    regions: Annotated[list[str] | Missing, says("where the exit is, the preferred first")] = UNSET
    mode: Annotated[str | Missing, says("`speed`, `balanced` or `privacy`")] = UNSET
    max_tariff: Annotated[Count | Missing, says("the dearest step of a hop")] = UNSET
    isolated: Annotated[bool | Missing, says("true for a circuit of its own")] = UNSET


class _Circuit(Shape, frozen=True):
    id: Annotated[str, says("its name while it lives")]
    flows: Annotated[Count, says("connections on it")]
    in_use: Annotated[bool, says("whether it carries, or is ready to")]
    options: Annotated[SiteOptions, says("what is wanted for the sites that it may carry")]
    price_per_gb: Annotated[Count, says("units for 10^9 bytes")]
    age_s: Annotated[float, says("seconds since it was built")]


class Circuit(_Circuit, frozen=True, kw_only=True):
    """A live path. `options`: what is wanted for the sites it may carry."""

    hops: Annotated[list[Hop], says("from the guard to the exit")]


class ExplainedCircuit(_Circuit, frozen=True, kw_only=True):
    """A live path, with reasons."""

    hops: Annotated[list[ExplainedHop], says("from the guard to the exit")]


class Route(Shape, frozen=True):
    """The present circuits."""

    circuits: Annotated[list[Circuit], says("each of them")]


class ExplainedRoute(Shape, frozen=True):
    """The present circuits, with reasons."""

    circuits: Annotated[list[ExplainedCircuit], says("each of them")]


class Peer(Shape, frozen=True):
    """A known peer."""

    peer_id: Annotated[str, says("who")]
    roles: Annotated[list[str], says("`relay`, `exit` or both")]
    region: Annotated[str, says("as far as it is believed, or empty")]
    claimed_region: Annotated[str, says("as it says")]
    region_check: Annotated[str, says("what to think of that, in a word")]
    operator: Annotated[str, says("as it says, or empty")]
    tariff: Annotated[Count, says("step that it asks, 0 for nothing")]
    serves: Annotated[str, says("ports that an exit says it serves")]
    rtt_ms: Annotated[Ms | None, says("to it and back, or null where no link was")]
    score: Annotated[float, says("for the draw")]
    confidence: Annotated[float, says("how well it is known, 0 to 1")]
    pinned: Annotated[str, says("`guard`, `second`, or empty: whether it is held on to")]


class Peers(Shape, frozen=True):
    """The known peers."""

    peers: Annotated[list[Peer], says("each of them")]


class Region(Shape, frozen=True):
    """A region: how many known exits are believed to be there, and whether it is among the wanted ones."""

    region: Annotated[str, says("such as NL or US-CA")]
    exits: Annotated[Count, says("known ones that are believed to be there")]
    wanted: Annotated[bool, says("whether the settings name it")]


class Regions(Shape, frozen=True):
    """Regions with exits and wanted ones, by name."""

    regions: Annotated[list[Region], says("each of them")]


class Invite(Shape, frozen=True):
    """An invite to the private network."""

    invite: Annotated[str, says("a line to pass on")]


class Reloaded(Shape, frozen=True):
    """It was read again."""

    reloaded: Annotated[bool, says("true")]


class RuleCount(Shape, frozen=True):
    """The rules that are obeyed."""

    count: Annotated[Count, says("how many")]
    digest: Annotated[str, says("another one when they are others")]


class RuleSource(Shape, frozen=True):
    """Where rules come from."""

    source: Annotated[str, says("`your rules`, a preset or a list")]
    count: Annotated[Count, says("how many")]


class ListedRule(Shape, frozen=True):
    """A rule and where it comes from."""

    rule: Annotated[str, says("as `macrovpn bypass add` takes it")]
    source: Annotated[str, says("where it comes from")]


class Bypass(Shape, frozen=True):
    """Your rules, presets and lists, as `macrovpn bypass list --json` prints them."""

    sources: Annotated[list[RuleSource], says("where rules come from")]
    rules: Annotated[list[ListedRule], says("your own; with `--all` those of presets and lists, too")]
    file: Annotated[str, says("that has them")]


class Setting(Shape, frozen=True):
    """A setting.

    `value` is what the next start takes, `pending` says that the node goes by another one until then. `source` is
    `default`, `file`, `flag` or an environment variable; `live` when a change takes effect at once. A secret that is
    set reads `[redacted]`.
    """

    key: Annotated[str, says("its name")]
    value: Annotated[Any, says("see above")]
    default: Annotated[Any, says("what it is where nothing sets it")]
    kind: Annotated[Literal["switch", "integer", "number", "text", "choice", "list"], says("of value")]
    choices: Annotated[list[str], says("all that it may be, where that is a small number")]
    must: Annotated[str, says("what it must be")]
    help: Annotated[str, says("what it is for")]
    secret: Annotated[bool, says("whether it is one")]
    source: Annotated[str, says("see above")]
    live: Annotated[bool, says("see above")]
    pending: Annotated[bool, says("see above")]


class SettingList(Shape, frozen=True):
    """All settings; `problem` says what is wrong with the file, if something is."""

    settings: Annotated[list[Setting], says("each of them")]
    file: Annotated[str, says("that has them")]
    problem: Annotated[str, says("see above, or empty")]


class Changed(Shape, frozen=True):
    """Which settings are obeyed now, which of these only by what begins from now on, and which after the next start."""

    applied: Annotated[list[str], says("names of settings")]
    for_new: Annotated[list[str], says("names of settings")]
    after_restart: Annotated[list[str], says("names of settings")]


class Stopping(Shape, frozen=True):
    """The node stops; what it carries for others may go on for so many seconds."""

    stopping: Annotated[bool, says("true")]
    drain_s: Annotated[float, says("seconds")]
