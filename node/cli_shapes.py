"""The shapes of what commands print with `--json`, as far as the control interface does not answer the same."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from node.control import shapes
from node.control.shapes import Count, Shape, says
from node.settings import FIELDS
from node.settings_help import HELP

type _Value = bool | int | float | str | list[str]
type _Area = Literal[
    "node", "ports", "direct", "pac", "dns", "webrtc", "ipv6", "clock", "nat", "peers", "engine", "wallet"
]
type _Level = Literal["ok", "warning", "problem", "unchecked"]


class Status(shapes.Status, frozen=True, kw_only=True):
    """The state of now. Without a node, `state` is `down` and the rest is empty."""

    system_proxy: Annotated[Literal["", "set", "left"], says("whether the system's proxy settings are a node's")]


class StatusEvent(Status, frozen=True, kw_only=True, tag_field="event", tag="status"):
    """The same, whenever it has changed."""


class SecondEvent(shapes.Second, frozen=True, kw_only=True, tag_field="event", tag="second"):
    """The last second of this node's own connections."""


class Pac(Shape, frozen=True):
    """The PAC, in both forms."""

    pac: Annotated[str, says("its text")]
    data_url: Annotated[str, says("a `data:` URL with it")]


class Process(Shape, frozen=True):
    """A node of the demo."""

    role: Annotated[Literal["client", "relay", "exit", "dht"], says("what it does")]
    pid: Annotated[Count, says("its process")]
    peer_id: Annotated[str, says("empty for the client")]
    address: Annotated[str, says("where its links come in, or empty")]
    home: Annotated[str, says("its folder")]
    engine: Annotated[str, says("what carries its links")]


class Demo(Shape, frozen=True):
    """The network, once every circuit can be built."""

    proxy: Annotated[str, says("`HOST:PORT` to point a browser at")]
    pac: Annotated[str, says("address of the PAC")]
    control: Annotated[str, says("address of the client's control interface")]
    token_file: Annotated[str, says("the file with the token for it")]
    home: Annotated[str, says("folder of the client, for `--home`")]
    tariff: Annotated[Count, says("step that relays and exits ask, 0 for no payments")]
    engine: Annotated[str, says("what carries the client's links, or `mixed`")]
    processes: Annotated[list[Process], says("each node, the client last")]


class Switched(Shape, frozen=True):
    """The node after the switch."""

    state: Annotated[str, says("as `status` has it")]
    reason: Annotated[str, says("as `status` has it")]
    proxy: Annotated[str, says("`HOST:PORT`, which refuses everything while it is off")]


class Started(Switched, frozen=True, kw_only=True):
    """The node, once it is up or blocked."""

    proxy: Annotated[str, says("`HOST:PORT`, or empty for a node that only serves")]
    pac: Annotated[str, says("address of the PAC, or empty")]
    roles: Annotated[list[str], says("`client`, `relay`, `exit`")]
    peer_id: Annotated[str, says("of a node that serves, or empty")]
    home: Annotated[str, says("its folder")]
    pid: Annotated[Count, says("its process")]


class SharingChange(Shape, frozen=True):
    """What others can get, whenever that has changed, for as long as the command runs."""

    state: Annotated[str, says("as `status` has it")]
    reason: Annotated[str, says("as `status` has it")]
    reachable: Annotated[str, says("as `status` has it")]
    via: Annotated[Count, says("as `status` has it")]
    sharing: Annotated[str, says("`open`, `refusing`, `draining`, or empty")]
    biting: Annotated[list[str], says("words of the limits that hold something back for long")]


class Stopped(Shape, frozen=True):
    """No node runs any more."""

    state: Annotated[Literal["down"], says("what it is now")]
    stopped: Annotated[bool, says("whether one ran")]


class Env(Shape, frozen=True):
    """Variables for the environment of programs."""

    http_proxy: Annotated[str, says("`http://HOST:PORT`")]
    https_proxy: Annotated[str, says("`http://HOST:PORT`")]
    all_proxy: Annotated[str, says("`socks5h://HOST:PORT`")]
    no_proxy: Annotated[str, says("what never goes through a proxy")]
    HTTPS_PROXY: Annotated[str, says("the same, for programs that read capitals")]
    ALL_PROXY: Annotated[str, says("the same")]
    NO_PROXY: Annotated[str, says("the same")]


class NetworkInvite(Shape, frozen=True):
    """An invite. Who has it is in."""

    name: Annotated[str, says("of the network")]
    invite: Annotated[str, says("the line to pass on; it has the network's secret")]
    peers: Annotated[Count, says("that it names to begin with")]


class Joined(Shape, frozen=True):
    """A network that this user is in now."""

    name: Annotated[str, says("of the network, on this machine")]
    home: Annotated[str, says("folder of its node")]
    peers: Annotated[Count, says("that the invite named")]


class NetworkRow(Shape, frozen=True):
    """A network that this user is in."""

    name: Annotated[str, says("of the network, on this machine")]
    private: Annotated[bool, says("false for the public one")]
    running: Annotated[bool, says("whether its node runs")]
    home: Annotated[str, says("folder of its node")]


class Networks(Shape, frozen=True):
    """All of them."""

    networks: Annotated[list[NetworkRow], says("the public one first")]


class Left(Shape, frozen=True):
    """Something that is no more."""

    name: Annotated[str, says("what it was called")]


class Added(Shape, frozen=True):
    """Rules that are in the settings now."""

    added: Annotated[list[str], says("rules")]
    replaced: Annotated[list[str], says("rules that they stand in place of")]
    presets: Annotated[list[str], says("presets that were added")]
    running: Annotated[bool, says("whether a node goes by it already")]


class Removed(Shape, frozen=True):
    """What is no longer in the settings."""

    removed: Annotated[list[str], says("rules")]
    presets: Annotated[list[str], says("presets")]
    lists: Annotated[list[str], says("lists")]
    running: Annotated[bool, says("whether a node goes by it already")]


class Taken(Shape, frozen=True):
    """How many rules say what."""

    bypass: Annotated[Count, says("go past the tunnel")]
    tunnel: Annotated[Count, says("go through it")]
    block: Annotated[Count, says("go nowhere")]


class LeftOut(Shape, frozen=True):
    """A line that is no rule."""

    line: Annotated[Count, says("its number")]
    problem: Annotated[str, says("why")]


class Imported(Shape, frozen=True):
    """A list that is in the settings now."""

    list: Annotated[str, says("its name")]
    file: Annotated[str, says("where it is kept")]
    taken: Annotated[Taken, says("rules out of the file")]
    left_out: Annotated[Count, says("lines that are no rules")]
    left_out_lines: Annotated[tuple[LeftOut, ...], says("the first 1000 of them")]
    running: Annotated[bool, says("whether a node goes by it already")]


class AllOptions(Shape, frozen=True):
    """What a rule wants for a site; null for nothing."""

    regions: Annotated[list[str] | None, says("where the exit is, the preferred first")]
    mode: Annotated[str | None, says("`speed`, `balanced` or `privacy`")]
    max_tariff: Annotated[int | None, says("the dearest step of a hop")]
    isolated: Annotated[bool, says("whether it has circuits of its own")]


class Examined(Shape, frozen=True):
    """What happens to a URL."""

    url: Annotated[str, says("as it was given")]
    host: Annotated[str, says("of the URL")]
    port: Annotated[Count, says("of the URL, or its scheme's own")]
    scheme: Annotated[str, says("of the URL, or `https`")]
    action: Annotated[Literal["bypass", "tunnel", "block"], says("what happens in the end")]
    rule: Annotated[str, says("which decides, or empty where none fits")]
    source: Annotated[str, says("where it comes from, or empty")]
    options: Annotated[AllOptions, says("what it wants")]
    pac: Annotated[Literal["direct", "proxy"], says("what the PAC says")]
    proxy: Annotated[Literal["bypass", "tunnel", "block"], says("what the proxy does if it is asked")]
    agree: Annotated[bool, says("whether PAC and proxy do the same")]
    node: Annotated[str, says("what a running node goes by, in words")]
    beware: Annotated[str, says("what to know, or empty")]


class TrustedRow(Shape, frozen=True):
    """A trusted network."""

    name: Annotated[str, says("what you call it")]
    text: Annotated[str, says("its signs, as in `trust.networks`")]
    asks: Annotated[bool, says("whether anybody can imitate them, so that it only asks")]


class TrustedNetworks(Shape, frozen=True):
    """All of them."""

    networks: Annotated[list[TrustedRow], says("each of them")]


class Attached(Shape, frozen=True):
    """The network that this machine is on."""

    interface: Annotated[str, says("by which")]
    gateway: Annotated[str, says("address of its router")]
    mac: Annotated[str, says("the router's")]
    ssid: Annotated[str, says("of the Wi-Fi, or empty")]
    security: Annotated[str, says("what the network proved")]
    profile: Annotated[str, says("of the system, or empty")]


class Here(Shape, frozen=True):
    """Where this machine is, and what that is to you."""

    looks_like: Annotated[str, says("the trusted network that it may be, or empty")]
    proved: Annotated[bool, says("whether it proved that")]
    network: Annotated[Attached | None, says("its signs, or null where they cannot be told")]


class Claimed(Shape, frozen=True):
    """What was paid out."""

    claimed: Annotated[Count, says("units that were paid out now")]
    left: Annotated[Count, says("units left for later, as gas would cost too much")]


class Closing(Shape, frozen=True):
    """What closes."""

    closing: Annotated[Count, says("channels")]


class Cap(Shape, frozen=True):
    """The spending cap."""

    cap: Annotated[Count | None, says("units in all, or null for none")]


class Deposited(Shape, frozen=True):
    """A channel that holds more now."""

    channel: Annotated[str, says("its id")]
    deposit: Annotated[Count, says("units that it holds")]


class Exported(Shape, frozen=True):
    """A backup."""

    path: Annotated[str, says("of the file")]


class Book(shapes.Wallet, frozen=True, kw_only=True):
    """What one node holds."""

    node: Annotated[str, says("name of its folder, or `client`")]
    due: Annotated[int, says("units that were earned by voucher and not claimed")]


class Sums(Shape, frozen=True):
    """Units of all nodes together."""

    balance: Annotated[int, says("free")]
    locked: Annotated[int, says("in channels on which they pay")]
    due: Annotated[int, says("earned by voucher and not claimed")]
    spent: Annotated[int, says("for what others carried")]
    earned: Annotated[int, says("for what they carried")]
    paid: Annotated[int, says("promised by vouchers")]
    received: Annotated[int, says("in vouchers of others")]


class Books(Shape, frozen=True):
    """The books of all nodes."""

    books: Annotated[list[Book], says("of each node")]
    sums: Annotated[Sums, says("of all of them")]
    agree: Annotated[bool, says("whether what was spent is what was earned")]


def _for_each_setting(name: str, text: str, kinds: dict[str, Any]) -> type[msgspec.Struct]:
    """Make the shape of an object that has a key for each setting."""
    names = {key.replace(".", "_"): key for key in kinds}
    fields = [(field, Annotated[kinds[key], says(HELP[key])]) for field, key in names.items()]
    return msgspec.defstruct(name, fields, bases=(Shape,), namespace={"__doc__": text}, rename=names, frozen=True)


_VALUES: Final = "What each setting is; docs/settings.md says more. A secret that is set reads `[redacted]`."
_SOURCES: Final = "Where each comes from: `default`, `file`, `flag` or an environment variable."
Settings: Final = msgspec.defstruct(
    "Settings",
    [
        ("settings", _for_each_setting("SettingValues", _VALUES, FIELDS)),
        ("sources", _for_each_setting("SettingSources", _SOURCES, dict.fromkeys(FIELDS, str))),
        ("after_restart", Annotated[list[str], says("those of which the running node still has another value")]),
        ("file", Annotated[str, says("that has them")]),
        ("problem", Annotated[str, says("why the node goes by what it read before, or empty")]),
    ],
    bases=(Shape,),
    namespace={"__doc__": "All settings."},
    frozen=True,
)


class OneSetting(Shape, frozen=True):
    """A setting."""

    name: Annotated[str, says("`section.key`")]
    value: Annotated[_Value, says("what it is")]
    source: Annotated[str, says("`default`, `file`, `flag` or an environment variable")]


class SetSetting(Shape, frozen=True):
    """A setting that was changed."""

    name: Annotated[str, says("`section.key`")]
    value: Annotated[_Value, says("what it is now")]
    file: Annotated[str, says("that has it")]
    effect: Annotated[Literal["now", "for_new", "after_restart", "next_start"], says("when a node goes by it")]


class Service(Shape, frozen=True):
    """Whether a login starts the node."""

    installed: Annotated[bool, says("whether it does")]
    by: Annotated[str, says("systemd or the desktop's autostart, in words")]
    file: Annotated[str, says("that says so to the system")]


class Installed(Service, frozen=True, kw_only=True):
    """A login starts the node."""

    started: Annotated[bool, says("whether one is being started now")]


class Uninstalled(Service, frozen=True, kw_only=True):
    """No login starts the node."""

    removed: Annotated[bool, says("whether one did before")]


class Finding(Shape, frozen=True):
    """One thing that was looked at."""

    area: Annotated[_Area, says("what it is about")]
    check: Annotated[str, says("what, in a word that stays")]
    level: Annotated[_Level, says("how bad it is; `unchecked`: nobody looked, the sentence says why")]
    sentence: Annotated[str, says("what is so")]
    remedy: Annotated[str, says("what to do, or empty")]


class Counts(Shape, frozen=True):
    """How many findings there are of each level."""

    ok: Annotated[Count, says("nothing is wrong, or it is a thing to know")]
    warning: Annotated[Count, says("something may leave past the tunnel, or the node cannot be used")]
    problem: Annotated[Count, says("something leaves past the tunnel, or the node is broken")]
    unchecked: Annotated[Count, says("not looked at")]


class Findings(Shape, frozen=True):
    """What was found. It is printed also where the command ends with 1 because of a problem."""

    findings: Annotated[list[Finding], says("each of them")]
    counts: Annotated[Counts, says("how many there are of each level")]


class Pairings(Shape, frozen=True):
    """The paired browsers."""

    pairings: Annotated[list[shapes.Pairing], says("those that are left")]
    revoked: Annotated[list[str], says("ids that were to be revoked, or `all`")]


class Url(Shape, frozen=True):
    """The dashboard."""

    url: Annotated[str, says("its address, which holds a secret")]
    valid_s: Annotated[Count, says("seconds for which it counts, once")]


class Completion(Shape, frozen=True):
    """What a shell has to run."""

    shell: Annotated[Literal["bash", "zsh", "fish"], says("which")]
    script: Annotated[str, says("for its start file")]
