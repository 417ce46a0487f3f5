"""Look for what on this machine would make a browser go direct, and for what is wrong with the node.

Nothing is changed, and nothing is asked of other machines. Each check stands alone: one that fails or hangs hides no
other.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from core.errors import ConfigError
from node import chromium_settings, doctor_chromium, system_proxy
from node.config import load
from node.desktops import SystemProxyError
from node.doctor_firefox import LOCAL, by_address, discovery, judge
from node.doctor_machine import clock_is_set, has_global_ipv6, look_at_ipv6, look_at_name_server
from node.doctor_node import look_at_clock, look_at_engine, look_at_nat, look_at_peers, look_at_settings, node_state
from node.doctor_scene import LIMIT_S, Scene, Told, ask_node, side_by_side, unchecked
from node.doctor_wallet import look_at_wallet
from node.files import lock_holder
from node.findings import Area, Finding, Level, OwnProxy
from node.firefox_profiles import profiles
from node.settings import Settings, join_endpoint, split_endpoint
from node.site_rules import load_rules
from node.system_scripts import SCRIPTS
from pac.rules import Action

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

ANSWER_S: Final = 2.0
"""A proxy on this machine answers within some milliseconds."""
_GREETING: Final = b"\x05\x02\x00\x02"
"""SOCKS5 (RFC 1928, section 3): without a password, or with one."""
PROXY_VARIABLES: Final = ("http_proxy", "https_proxy", "all_proxy")
EXTENSION_SCHEMES: Final = ("chrome-extension://", "moz-extension://")


@dataclass(frozen=True, slots=True)
class Check:
    """Something to look at.

    Args:
        name: for who waits for it.
        fallback: the check that is told of when it could not be made.
        look: makes it.
    """

    name: str
    fallback: str
    look: Callable[[Scene], list[Finding]]


def examine(
    home: Path, user_home: Path, environment: Mapping[str, str], told_of: Callable[[str], None] = lambda name: None
) -> list[Finding]:
    """Make all checks.

    Args:
        home: the node's folder.
        user_home: the user's.
        environment: of programs that are started from here.
        told_of: told the name of each check that is over.

    Returns:
        What was found, in the order of `Area`; at least one finding for each of them.
    """
    told = ask_node(home)
    told_of("node")
    settings, found = _settings(home)
    found.insert(0, node_state(told, is_starting=lock_holder(home) is not None))
    own = OwnProxy(*split_endpoint(str(told.status.get("proxy") or settings.proxy.listen)))
    scene = Scene(home, user_home, environment, settings, own, told)
    works = {check: partial(check.look, scene) for check in CHECKS}
    for check, result in side_by_side(works, LIMIT_S, lambda check: told_of(check.name)).items():
        found += _not_made(check, result) if isinstance(result, Exception) else result
    found.append(look_at_ipv6(has_global_ipv6(), found))
    wrong = {finding.area for finding in found if finding.level in (Level.WARNING, Level.PROBLEM)}
    found += [finding for area, finding in NOTHING_WRONG.items() if area not in wrong]
    there = {finding.area for finding in found}
    if Area.PORTS not in there:
        found.append(Finding("ports", Level.OK, "Nobody listens where the proxy would be."))
    if Area.WEBRTC not in there:
        found.append(_webrtc(found))
    return sorted(found, key=lambda finding: [*Area].index(finding.area))


def _not_made(check: Check, error: Exception) -> list[Finding]:
    why = f"took more than {LIMIT_S:.0f} s" if isinstance(error, TimeoutError) else f"failed ({type(error).__name__})"
    return [unchecked(check.fallback, f"The look at {check.name} {why}.", "Ask again; the other checks stand.")]


def _settings(home: Path) -> tuple[Settings, list[Finding]]:
    try:
        return load(home), []
    except ConfigError as error:
        remedy = "Correct it: no node starts until then."
        return Settings(), [Finding("settings", Level.PROBLEM, str(error), remedy)]


NOTHING_WRONG: Final = {
    Area.DIRECT: Finding("direct", Level.OK, "Nothing was found that goes direct without being asked to."),
    Area.PAC: Finding("pac", Level.OK, "Nothing that can be looked at uses a PAC by its address."),
    Area.DNS: Finding("dns", Level.OK, "Nothing was found that looks names up past the proxy."),
}
"""What is said of an area in which nothing is wrong, beside the rest."""


def _webrtc(found: Sequence[Finding]) -> Finding:
    """Say of WebRTC what follows from there being nothing wrong with it."""
    checks = {finding.check for finding in found}
    on = any(finding.check == "chromium_button" and finding.level is Level.OK for finding in found)
    if "firefox_button" not in checks and (on or checks & SET_UP):
        return Finding("webrtc", Level.OK, "WebRTC is shut in the browsers whose files say that they use this node.")
    said = "No browser was found whose files say that it uses this node."
    remedy = "`macrovpn dashboard`, “What a site sees”, looks at the browser that you open it in."
    return unchecked("webrtc", said, remedy)


SET_UP: Final = frozenset({"firefox", "firefox_closed", "firefox_https_record", "firefox_unasked", "chromium"})
"""What is told only of a browser whose files say that it uses this node; were WebRTC open in it, that would be told."""


def look_at_port(own: OwnProxy, home: Path, status: Mapping[str, Any]) -> list[Finding]:
    """See who answers at the proxy's port: the node, or somebody else while it is away."""
    where = join_endpoint(*own.reachable)
    if status and not status.get("proxy"):
        return [Finding("ports", Level.OK, "This node has no proxy: it works for others only.")]
    if status.get("proxy"):
        if _speaks_socks(own):
            return [Finding("proxy", Level.OK, f"The proxy answers at {where}.")]
        remedy = "Stop the node with `macrovpn down` and start it with `macrovpn up`."
        return [Finding("proxy", Level.PROBLEM, f"The proxy does not answer at {where}.", remedy)]
    if not own.port or lock_holder(home) is not None or not _listens(own):
        return []
    sentence = f"Something else listens at {where}, where the proxy would be: it gets what browsers send there."
    remedy = (
        f"Find it (`ss -ltnp` on Linux, `lsof -i :{own.port}` on macOS) and end it, or choose another port: "
        "`macrovpn config set proxy.listen`."
    )
    return [Finding("port_taken", Level.PROBLEM, sentence, remedy)]


def _listens(own: OwnProxy) -> bool:
    try:
        socket.create_connection(own.reachable, ANSWER_S).close()
    except OSError:
        return False
    return True


def _speaks_socks(own: OwnProxy) -> bool:
    try:
        with socket.create_connection(own.reachable, ANSWER_S) as proxy:
            proxy.sendall(_GREETING)
            return proxy.recv(1) == _GREETING[:1]
    except OSError:
        return False


def look_at_trust(status: Mapping[str, Any]) -> list[Finding]:
    """Say whether sites go direct now because this network is trusted."""
    if not (because := str(status.get("direct_because", ""))):
        return []
    trust = status.get("trust")
    name = trust.get("name", "NAME") if isinstance(trust, dict) else "NAME"
    remedy = f"That is what you asked for. To stop it: `macrovpn trust remove {name}`."
    return [Finding("trusted_network", Level.WARNING, because, remedy)]


def look_at_system(own: OwnProxy) -> tuple[list[Finding], bool]:
    """Look at the system's proxy settings.

    Returns:
        What was found, and whether they are a node's.
    """
    whose, said = system_proxy.left()
    said = said[:1].upper() + said[1:]
    if whose is system_proxy.Left.SET:
        return [Finding("system_proxy", Level.OK, f"{said}, until the node stops.")], True
    if whose is system_proxy.Left.LEFT:
        sentence, _, remedy = said.partition(". ")
        return [Finding("system_proxy", Level.PROBLEM, f"{sentence}.", remedy)], True
    try:
        names = system_proxy.places_here()
    except SystemProxyError:
        sentence = "This session has no proxy settings that all browsers read."
        remedy = "Point each browser to the proxy in its own settings."
        return [Finding("system_proxy", Level.OK, sentence, remedy)], False
    found = [finding for name in names if name in SCRIPTS for finding in _script(name, own)]
    return found or [Finding("system_proxy", Level.OK, "The system's proxy settings name no PAC.")], False


def _script(name: system_proxy.Name, own: OwnProxy) -> Iterator[Finding]:
    begin = f"The system's proxy settings ({name})"
    try:
        address = SCRIPTS[name]()
    except SystemProxyError as error:
        remedy = "Look at them in the system's network settings."
        yield Finding("system_proxy", Level.WARNING, f"{begin} cannot be read: {error}", remedy)
        return
    if address == "":
        yield discovery("system_pac", f"{begin} look")
    elif address is not None and not address.startswith("data:"):
        yield by_address("system_pac", f"{begin} name", ours=own.is_in(address))


def _look_at_rules(scene: Scene) -> list[Finding]:
    """Say how many of the user's rules let sites go direct."""
    rules = [rule for rule in load_rules(scene.settings.bypass, scene.home).rules if rule.action is Action.BYPASS]
    if not rules:
        return []
    said = f"{len(rules)} rules of yours, presets and lists send sites past the tunnel: those see your own address."
    return [Finding("direct_rules", Level.OK, said, "`macrovpn bypass list` shows them.")]


def _look_at_firefox(scene: Scene) -> list[Finding]:
    ours, hosts = system_proxy.left()[0] is not system_proxy.Left.NOTHING, _paired(scene.told)
    return [
        finding
        for profile in profiles(scene.user_home)
        for finding in judge(profile, scene.own, system_is_ours=ours, has_button=not hosts.isdisjoint(profile.addons))
    ]


def _look_at_chromium(scene: Scene) -> list[Finding]:
    ours = system_proxy.left()[0] is not system_proxy.Left.NOTHING
    found = chromium_settings.read_all(scene.user_home)
    return doctor_chromium.judge(found, scene.own, _paired(scene.told), system_is_ours=ours)


def _paired(told: Told) -> frozenset[str]:
    """The hosts of the paired extensions' own pages: in Chromium their ids."""
    origins = [str(row.get("origin", "")) for row in told.pairings]
    return frozenset(origin.partition("://")[2] for origin in origins if origin.startswith(EXTENSION_SCHEMES))


def look_at_environment(environment: Mapping[str, str], own: OwnProxy) -> list[Finding]:
    """Look at the variables by which programs find a proxy. Their values may hold passwords and are not told."""
    names = [each for name in PROXY_VARIABLES for each in (name, name.upper()) if environment.get(each)]
    schemes = {name: _scheme(environment[name], own) for name in names}
    found = []
    if other := [name for name in names if not schemes[name]]:
        sentence = f"{_are_set(other)} to another proxy than this node's; Firefox and other programs obey that."
        remedy = 'If they shall use the node: eval "$(macrovpn env)". Else nothing is to be done.'
        found.append(Finding("environment", Level.OK, sentence, remedy))
    if local := [name for name in names if schemes[name] not in ("", "http", "socks5h")]:
        sentence = f"{_are_set(local)} in a form with which programs look names up past the proxy, or do not work."
        remedy = 'Write socks5h:// instead of socks5://, or http://; `eval "$(macrovpn env)"` does.'
        found.append(Finding("environment_dns", Level.WARNING, sentence, remedy))
    ours = any(schemes.values())
    past = [name for name in ("no_proxy", "NO_PROXY") if ours and _hosts(environment.get(name, "")) - LOCAL]
    if past:
        sentence = f"{_are_set(past)} to more than this machine: programs reach those hosts directly."
        remedy = 'Use `macrovpn bypass add` instead, and eval "$(macrovpn env)" here.'
        found.append(Finding("environment_exceptions", Level.WARNING, sentence, remedy))
    return found


def _are_set(names: list[str]) -> str:
    return f"{' and '.join(names)} {'are' if len(names) > 1 else 'is'} set"


def _hosts(text: str) -> set[str]:
    return {host.strip().lower() for host in text.split(",")} - {""}


def _scheme(value: str, own: OwnProxy) -> str:
    """Give the scheme by which a variable names this node's proxy; empty when it names another."""
    url = value if "://" in value else f"http://{value}"
    return urlsplit(url).scheme if own.is_in(url) else ""


CHECKS: Final = (
    Check("the ports", "ports", lambda scene: look_at_port(scene.own, scene.home, scene.told.status)),
    Check("the settings file", "settings", lambda scene: look_at_settings(scene.told)),
    Check("trusted networks", "trusted_network", lambda scene: look_at_trust(scene.told.status)),
    Check("rules for sites", "direct_rules", _look_at_rules),
    Check("the system's proxy settings", "system_proxy", lambda scene: look_at_system(scene.own)[0]),
    Check("Firefox", "firefox", _look_at_firefox),
    Check("Chromium", "chromium", _look_at_chromium),
    Check("the environment", "environment", lambda scene: look_at_environment(scene.environment, scene.own)),
    Check("the name server", "name_server", lambda scene: look_at_name_server()),
    Check("the clock", "clock", lambda scene: look_at_clock(scene.told, clock_is_set())),
    Check("the router", "nat", lambda scene: look_at_nat(scene.told)),
    Check("peers", "peers", lambda scene: look_at_peers(scene.told, scene.settings)),
    Check("the engine", "engine", lambda scene: look_at_engine(scene.told, scene.settings)),
    Check("the wallet", "wallet", lambda scene: look_at_wallet(scene.told)),
)
"""All that is looked at, each in a thread of its own."""
