"""Look for what on this machine would make a browser go direct, and for what is wrong with the node.

Nothing is changed, and nothing is asked of other machines. Each check stands alone: one that fails hides no other.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from core.errors import ConfigError, MacroVpnError
from node import system_proxy
from node.client import NodeClient, NoNodeError
from node.config import load
from node.desktops import SystemProxyError
from node.doctor_firefox import LOCAL, by_address, discovery, judge
from node.files import lock_holder
from node.findings import Finding, Level, OwnProxy
from node.firefox_profiles import profiles
from node.settings import Settings, join_endpoint, split_endpoint
from node.system_scripts import SCRIPTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

ANSWER_S: Final = 3.0
"""A proxy on this machine answers within some milliseconds."""
_GREETING: Final = b"\x05\x02\x00\x02"
"""SOCKS5 (RFC 1928, section 3): without a password, or with one."""
PROXY_VARIABLES: Final = ("http_proxy", "https_proxy", "all_proxy")


def examine(home: Path, user_home: Path, environment: Mapping[str, str]) -> list[Finding]:
    """Make all checks.

    Args:
        home: the node's folder.
        user_home: the user's.
        environment: of programs that are started from here.
    """
    found, status = look_at_node(home)
    settings, wrong = _settings(home)
    found += wrong
    own = OwnProxy(*split_endpoint(str(status.get("proxy") or settings.proxy.listen)))
    found += look_at_port(own, home, status)
    found += look_at_trust(status)
    system, is_ours = look_at_system(own)
    found += system
    for profile in profiles(user_home):
        found += judge(profile, own, system_is_ours=is_ours)
    found += look_at_environment(environment, own)
    return found


def _settings(home: Path) -> tuple[Settings, list[Finding]]:
    try:
        return load(home), []
    except ConfigError as error:
        remedy = "Correct it: no node starts until then."
        return Settings(), [Finding("settings", Level.PROBLEM, str(error), remedy)]


def look_at_node(home: Path) -> tuple[list[Finding], dict[str, Any]]:
    """Ask the node how it is.

    Returns:
        What was found, and the node's status, which is empty when it gave none.
    """
    try:
        status = NodeClient(home).status()
    except NoNodeError as error:
        if lock_holder(home) is not None:
            wait = "Wait some seconds and ask again; `macrovpn down` ends it."
            return [Finding("node", Level.WARNING, "The node is starting.", wait)], {}
        down = f"No node runs in {error.home}."
        return [Finding("node", Level.WARNING, down, "Start one with `macrovpn up`.")], {}
    except MacroVpnError as error:
        remedy = "Stop it with `macrovpn down` and start it with `macrovpn up`."
        return [Finding("node", Level.PROBLEM, str(error), remedy)], {}
    state, reason = str(status.get("state", "")), str(status.get("reason", "")).rstrip(".")
    if state == "up":
        return [Finding("node", Level.OK, "The node runs and is up.")], status
    level = Level.WARNING if state == "connecting" else Level.PROBLEM
    sentence = f"The node is {state or 'in no state that this version knows'}{f': {reason}' if reason else ''}."
    remedy = "Until it is up, browsers are refused. `macrovpn peers` and `macrovpn route` say more."
    return [Finding("node", level, sentence, remedy)], status


def look_at_port(own: OwnProxy, home: Path, status: Mapping[str, Any]) -> list[Finding]:
    """See who answers at the proxy's port: the node, or somebody else while it is away."""
    where = join_endpoint(*own.reachable)
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
