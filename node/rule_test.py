"""What `macrovpn bypass test` says of a URL."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from core.errors import ConfigError
from node.cli_ask import ask
from node.client import NoNodeError
from node.config import load
from node.site_rules import sources
from pac.pac import write_pac
from pac.rules import Action, RuleSet

if TYPE_CHECKING:
    from pathlib import Path

_NO_URL: Final = "this is none; write for example https://www.example.com/"
_NEVER_IN_HOST: Final = re.compile(r"[\s<>^|%\\]")
"""Source: WHATWG URL, forbidden domain code points that `urlsplit` lets pass."""
_PORTS: Final = {"http": 80, "ws": 80, "https": 443, "wss": 443, "ftp": 21}


def examine(home: Path, url: str) -> dict[str, Any]:
    """Decide as the browser's PAC and as the local port does.

    Args:
        home: of the node, whether it runs or not.
        url: with a scheme, or a bare host with or without a port, which is then taken for https.

    Returns:
        `url`, `host`, `port`, `scheme`; `action`, what happens in the end: `tunnel`, `bypass` or `block`; `rule`,
        `source` and `options` of what decided; `pac`: `direct` or `proxy`; `proxy`: what the port does if it is asked;
        `agree`: whether the two are alike; `node`: what a running one obeys; `beware`: what to know, or nothing.

    Raises:
        ConfigError: the settings are wrong, or this is no URL.
    """
    scheme, host, port = split(url)
    found = tuple(sources(load(home).bypass, home))
    rules = RuleSet(rule for _, own in found for rule in own)
    _, in_pac = write_pac(rules, "127.0.0.1:1080")
    direct = in_pac.decide(host, port, scheme).action is Action.BYPASS
    decision = rules.decide(host, port, _seen(scheme, port))
    action = Action.BYPASS if direct else decision.action
    counts = rules.decide(host, port, scheme) if direct else decision
    options = counts.options
    agree = direct is (decision.action is Action.BYPASS)
    return {
        "url": url,
        "host": host,
        "port": port,
        "scheme": scheme,
        "action": action.value,
        "rule": str(counts.rule or ""),
        "source": next((source for source, own in found if counts.rule in own), ""),
        "options": {
            "regions": None if options.regions is None else list(options.regions),
            "mode": options.mode,
            "max_tariff": options.max_tariff,
            "isolated": options.isolated,
        },
        "pac": "direct" if direct else "proxy",
        "proxy": decision.action.value,
        "agree": agree,
        "node": _node(home, rules),
        "beware": "" if agree else _beware(direct, complete=counts.rule in in_pac.rules),
    }


def split(url: str) -> tuple[str, str, int]:
    """Take a URL apart.

    Args:
        url: as for `examine`.

    Returns:
        Its scheme, host and port.

    Raises:
        ConfigError: this is none.
    """
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError as error:
        raise ConfigError("URL", _NO_URL) from error
    if not host or not port or _NEVER_IN_HOST.search(host):
        raise ConfigError("URL", _NO_URL)
    return parts.scheme, host, port


def _seen(scheme: str, port: int) -> str | None:
    """What the local port knows of a scheme: a browser says `http` for that, and for all else only host and port."""
    if scheme == "http":
        return scheme
    return "https" if port == 443 else None


def _beware(direct: bool, *, complete: bool) -> str:
    if direct:
        return "a program that uses the proxy without the PAC is not bypassed: it does not say the scheme"
    if complete:
        return "a program that uses the proxy without saying the scheme is treated otherwise"
    return "the PAC has no room for this rule, so the browser asks the proxy, which bypasses"


def _node(home: Path, rules: RuleSet) -> str:
    """Compare the rules of the home with those of a running node."""
    try:
        running = ask(home).rules()
    except NoNodeError:
        return "none runs"
    same = running.get("digest") == rules.digest
    return "the one that runs obeys these rules" if same else "the one that runs obeys others, until it starts again"
