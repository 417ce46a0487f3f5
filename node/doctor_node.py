"""Judge what the node says of itself: state, ports, reach, peers, clock, engine. Nothing is asked here."""

from __future__ import annotations

from collections import Counter
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from node.client import NoNodeError
from node.doctor_scene import unchecked, without_node
from node.exposure import not_hidden
from node.findings import Finding, Level
from node.reach import Reach, sentence
from peers.port_mapping.service import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from node.doctor_scene import Told
    from node.settings import Settings

SKEW_S: Final = 300
"""Relays refuse creations whose time is off by more (`tunnel.limits.CLOCK_SKEW_S`)."""
UNEASY_S: Final = 30
"""A clock that follows network time is off by less than one."""

_SERVING: Final = ("relay", "exit")
_RESTART: Final = "Stop it with `macrovpn down` and start it with `macrovpn up`."


def node_state(told: Told, *, is_starting: bool) -> Finding:
    """Say how the node is.

    Args:
        told: by it.
        is_starting: somebody holds the home, and does not answer yet.
    """
    if isinstance(told.error, NoNodeError):
        if is_starting:
            wait = "Wait some seconds and ask again; `macrovpn down` ends it."
            return Finding("node", Level.WARNING, "The node is starting.", wait)
        return Finding("node", Level.WARNING, f"No node runs in {told.error.home}.", "Start one with `macrovpn up`.")
    if told.error is not None:
        return Finding("node", Level.PROBLEM, str(told.error), _RESTART)
    state, reason = str(told.status.get("state", "")), str(told.status.get("reason", "")).rstrip(".")
    if state == "up":
        return Finding("node", Level.OK, f"The node runs and is up, as {' and '.join(told.roles) or 'nothing'}.")
    if state == "down":
        remedy = "Switch it on with `macrovpn on`. Until then browsers are refused, and nothing goes direct."
        return Finding("node", Level.WARNING, "The node is switched off.", remedy)
    said = f"The node is {state or 'in no state that this version knows'}{f': {reason}' if reason else ''}."
    if state == "leaving":
        return Finding("node", Level.WARNING, said, "Start it again with `macrovpn up` when it is gone.")
    remedy = "Until it is up, browsers are refused. `macrovpn peers` and `macrovpn route` say more."
    return Finding("node", Level.WARNING if state == "connecting" else Level.PROBLEM, said, remedy)


def look_at_settings(told: Told) -> list[Finding]:
    """Say what of the settings file a running node does not go by."""
    waiting = [str(name) for name in told.status.get("restart_to_apply", ())]
    if "proxy.listen" in waiting:
        said = "The settings name another port for the proxy than the node listens at."
        return [Finding("port_moved", Level.WARNING, said, f"{_RESTART} Then point browsers to the new port.")]
    if waiting:
        said = f"{', '.join(waiting)}: changed in the file, and the node still goes by what was there before."
        return [Finding("settings", Level.WARNING, said, _RESTART)]
    return []


# -- NAT


def look_at_nat(told: Told) -> list[Finding]:
    """Say how others reach this node, if they have to."""
    if not told.status:
        return [without_node("nat", "how others reach it")]
    if not told.serves:
        return [
            Finding("nat", Level.OK, "Nobody has to reach this node: it works for itself alone, behind any router.")
        ]
    word, via = str(told.status.get("reachable", "")), int(told.status.get("via", 0))
    said = sentence(word, via)
    said = f"{said[:1].upper()}{said[1:]}."
    if word in (Reach.PUBLIC, Reach.MAPPED) or via:
        return [Finding("nat", Level.OK, said), *_mapping(told, is_needed=word not in (Reach.PUBLIC, Reach.MAPPED))]
    remedy = (
        "Wait a minute: neighbours are asked. If it stays so, have your router forward a UDP port to this machine, and "
        "set peers.port and peers.address."
    )
    return [Finding("nat", Level.WARNING, said, remedy), *_mapping(told, is_needed=True)]


def _mapping(told: Told, *, is_needed: bool) -> list[Finding]:
    state = str(told.status.get("port_mapping", State.OFF.value))
    if state in (State.PCP, State.NAT_PMP, State.UPNP):
        return [Finding("port_mapping", Level.OK, f"The router forwards a port to this node, asked by {state}.")]
    if not is_needed:
        return []
    said, remedy = {
        State.OFF.value: ("The router is not asked for a port.", "`macrovpn config set peers.port_mapping true`"),
        State.SEARCHING.value: ("A router that forwards a port is being looked for.", "Wait a minute."),
        State.BEHIND_ANOTHER_NAT.value: (
            "The router forwards a port, and stands behind another router, which does not.",
            "Forward a port in the outer router; or leave it: relays hold links to this node.",
        ),
    }.get(state, ("No router here forwards a port by PCP, NAT-PMP or UPnP.", "Switch that on in your router."))
    return [Finding("port_mapping", Level.WARNING, said, remedy)]


# -- peers


def look_at_peers(told: Told, settings: Settings) -> list[Finding]:
    """Say whether enough peers are known, and such as are wanted."""
    if not told.status:
        return [without_node("peers", "which peers there are")]
    roles = Counter(role for peer in told.peers for role in peer.get("roles", ()))
    counted = f"{len(told.peers)} known: {roles['relay']} relays, {roles['exit']} exits."
    ask = "Name one with --bootstrap, let peers.dht be true, or join a network with an invite."
    if not told.peers:
        level = Level.PROBLEM if "client" in told.roles else Level.WARNING
        return [Finding("peers", level, "No other peer is known.", ask)]
    found = [Finding("peers", Level.OK, counted)]
    if "client" in told.roles:
        hops = settings.tunnel.path_hops
        if len(told.peers) < hops:
            said = f"{counted} A path of {hops} hops needs as many different peers."
            found = [Finding("peers", Level.PROBLEM, said, f"{ask} Or take fewer hops: tunnel.hops.")]
        if not roles["exit"]:
            found.append(Finding("exits", Level.PROBLEM, "No exit is known, so nothing can leave.", ask))
        found += [*_regions(told), *_guards(told), *_short(told)]
    return found


def _regions(told: Told) -> list[Finding]:
    wanted = [row for row in told.regions if row.get("wanted")]
    missing = [str(row["region"]) for row in wanted if not row["exits"]]
    if not missing:
        return []
    said = f"No exit is known in {', '.join(missing)}, which tunnel.regions wants."
    remedy = "Wait until one is found, or choose other countries: `macrovpn config set tunnel.regions …`."
    level = Level.PROBLEM if len(missing) == len(wanted) else Level.WARNING
    return [Finding("regions", level, said, remedy)]


def _guards(told: Told) -> list[Finding]:
    guards: Mapping[str, Any] = told.health.get("guards", {})
    kept, linked = int(guards.get("kept", 0)), int(guards.get("linked", 0))
    if not kept:
        return []
    if linked:
        return [Finding("guards", Level.OK, f"{linked} of the {kept} guards that this node keeps are linked now.")]
    said = f"None of the {kept} guards that this node keeps is linked now."
    remedy = "Look whether this machine is online and UDP may leave. Do not delete the guards: new ones are no better."
    return [Finding("guards", Level.WARNING, said, remedy)]


def _short(told: Told) -> list[Finding]:
    if not (said := not_hidden(int(told.status.get("hops", 0)))):
        return []
    remedy = "Three hops hide more: `macrovpn config set tunnel.hops 3`, if enough peers are known."
    return [Finding("exposure", Level.WARNING, f"The path is of {said}", remedy)]


# -- clock


def look_at_clock(told: Told, set_by_network: bool | None) -> list[Finding]:
    """Say how right the clock is, as far as that is known without asking anybody.

    Args:
        told: by the node.
        set_by_network: what the system says of its clock; None when it says nothing.
    """
    return [_beside_peers(told), _set(set_by_network)]


def _beside_peers(told: Told) -> Finding:
    clock: Mapping[str, int] = told.health.get("clock", {})
    if not clock:
        return without_node("clock", "at which times peers signed their descriptors")
    behind, ahead, peers = clock["behind_s"], clock["ahead_s"], clock["peers"]
    if peers < 3:
        return unchecked("clock", f"{peers} peers are known; three are needed to compare the clock with theirs.")
    remedy = "Set it by network time: `timedatectl set-ntp true` on Linux, Settings, General, Date & Time on macOS."
    if behind > UNEASY_S:
        said = f"This machine's clock is at least {_long(behind)} behind those of its peers."
        return Finding("clock", Level.PROBLEM if behind > SKEW_S else Level.WARNING, said, f"{remedy} {_WHY}")
    if ahead > UNEASY_S:
        said = f"No peer signed anything for {_long(ahead)} longer than they should: the clock may be ahead by that."
        return Finding("clock", Level.WARNING, said, f"{remedy} {_WHY}")
    return Finding("clock", Level.OK, f"Nothing that {peers} peers signed contradicts this machine's clock.")


_WHY: Final = f"Relays refuse paths whose time is off by more than {SKEW_S // 60} minutes."


def _long(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"


def _set(by_network: bool | None) -> Finding:
    if by_network is None:
        return unchecked("clock_set", "This system does not tell whether its clock follows network time.")
    if by_network:
        return Finding("clock_set", Level.OK, "The system's clock follows network time.")
    remedy = "`timedatectl set-ntp true`, or install a time service such as systemd-timesyncd or chrony."
    return Finding("clock_set", Level.WARNING, "The system's clock does not follow network time.", remedy)


# -- engine

LIBRARIES: Final = {
    "aiopquic": "the fast engine: links cost several times the time without it",
    "uvloop": "a faster event loop: connections cost more time without it",
    "coincurve": "signing vouchers: without it this node can neither pay nor be paid",
    "libtorrent": "the DHT: without it peers are found by --bootstrap and by neighbours alone",
}
"""What a node uses, and can partly do without."""


def look_at_engine(told: Told, settings: Settings, is_there: Callable[[str], bool] | None = None) -> list[Finding]:
    """Say which engine carries links, and which libraries are missing.

    Args:
        told: by the node.
        settings: of the file.
        is_there: whether a library is installed; None to look.
    """
    is_there = is_there or (lambda name: find_spec(name) is not None)
    found = [_engine(str(told.status.get("engine", "")), settings)]
    missing = [name for name in LIBRARIES if not is_there(name)]
    for name in missing:
        needed = name == "coincurve" and settings.payments.settlement != "off"
        said = f"{name} is not installed: {LIBRARIES[name]}."
        remedy = "Install Macro VPN anew with a Python for which there is a wheel (3.12 or 3.13): `make setup`."
        found.append(Finding("libraries", Level.PROBLEM if needed else Level.WARNING, said, remedy))
    if not missing:
        found.append(Finding("libraries", Level.OK, f"{', '.join(LIBRARIES)} are installed."))
    return found


def _engine(running: str, settings: Settings) -> Finding:
    if not running:
        return without_node("engine", "which engine carries its links")
    if running != "aioquic":
        return Finding("engine", Level.OK, f"Links run over {running}, the fast engine.")
    said = "Links run over aioquic, which is Python and several times slower."
    if settings.node.engine == "aioquic":
        return Finding(
            "engine", Level.OK, said, "You chose it. `macrovpn config set node.engine auto` takes the fast one."
        )
    return Finding("engine", Level.WARNING, said, "Install aiopquic, and start the node again.")
