"""Write the rules as a PAC script: what a browser runs for each request to learn which proxy to use."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Final

from core.errors import ConfigError
from pac.hosts import ENDS_IN_NUMBER, IPV4, MAX_NAME_BYTES, NAME, read_host
from pac.rule import Action
from pac.script import SCRIPT
from pac.shortlist import shortlist

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pac.rule import Rule
    from pac.rules import RuleSet

MEDIA_TYPE: Final = "application/x-ns-proxy-autoconfig"

MAX_SCRIPT_BYTES: Final = 1_000_000
"""Chromium gives up a script of more than 1 MiB (`kDefaultMaxResponseBytes` in its
`net/proxy_resolution/pac_file_fetcher_impl.cc`), and goes direct."""

_PROXY: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")

type _Outcome = int | list[list[int | str]]
"""1: direct; 2: to the proxy; or pairs of a condition (0: none) and one of the two."""


def build_pac(rules: RuleSet, proxy_host_port: str) -> str:
    """Write the PAC script of a set of rules.

    Args:
        rules: what to do; the script answers `DIRECT` where they bypass, and the proxy for everything else.
        proxy_host_port: where the local proxy listens, such as `127.0.0.1:1080` or `[::1]:1080`.

    Returns:
        ASCII text, about 5 kB and 10 to 20 bytes a rule that it needs, at most `MAX_SCRIPT_BYTES`. Where the rules
        need more, those that come last stay out of it, and the browser asks the proxy about their hosts.

    Raises:
        ConfigError: `proxy_host_port` is not a host and a port.

    Source: the PAC file format as Navigator defined it: `FindProxyForURL(url, host)`.
    """
    return write_pac(rules, proxy_host_port)[0]


def write_pac(rules: RuleSet, proxy_host_port: str) -> tuple[str, RuleSet]:
    """Write the PAC script as `build_pac` does, and name the rules that it holds, which decide as it does.

    Raises:
        ConfigError: `proxy_host_port` is not a host and a port.
    """
    match = _PROXY.fullmatch(proxy_host_port)
    if match is None or read_host(match["host"]) is None or not 0 < int(match["port"]) < 65536:
        raise ConfigError("proxy address", "a PAC script needs a host and a port such as 127.0.0.1:1080")
    room = MAX_SCRIPT_BYTES
    while True:
        kept = shortlist(rules, room)
        text = _write(kept, proxy_host_port)
        if len(text) <= MAX_SCRIPT_BYTES:
            return text, kept
        room = room * 9 // 10


def _write(rules: RuleSet, proxy_host_port: str) -> str:
    groups: dict[tuple[int, str, str], list[str]] = {}
    pairs: dict[str, _Outcome] = {}
    for key, found in rules.table.items():
        outcome = _outcome(found)
        if isinstance(outcome, int):
            head, word, tail = _split(key)
            groups.setdefault((outcome, head, tail), []).append(word)
        else:
            pairs[key] = outcome
    return SCRIPT.substitute(
        via=to_script(f"PROXY {proxy_host_port}; SOCKS5 {proxy_host_port}"),
        groups=to_script([[*group, " ".join(words)] for group, words in groups.items()]),
        pairs=to_script(pairs),
        globs=to_script([[glob.length, list(glob.pieces), _outcome([glob.rule])] for glob in rules.globs]),
        prefixes4=to_script(list(rules.prefixes["4"])),
        prefixes6=to_script(list(rules.prefixes["6"])),
        is_name=to_script(f"^{NAME}$"),
        is_ipv4=to_script(f"^{IPV4}$"),
        ends_in_number=to_script(f"^{ENDS_IN_NUMBER}$"),
        max_name=MAX_NAME_BYTES,
    )


def _outcome(rules: Iterable[Rule]) -> _Outcome:
    """Write what rules for the same hosts say, the narrowest first; after one without a condition, none counts."""
    pairs: list[list[int | str]] = []
    for rule in rules:
        outcome = 1 if rule.action is Action.BYPASS else 2
        if not rule.conditions:
            if not pairs:
                return outcome
            return [*pairs, [0, outcome]]
        port = "" if rule.port is None else rule.port
        pairs.append([f"{rule.scheme or ''}:{port}", outcome])
    return pairs


def _split(key: str) -> tuple[str, str, str]:
    """Take a key apart into a beginning and an end that many share, and what is between: `=`, `www.example`, `.com`."""
    if key[1] == "/":
        head, _, word = key.rpartition("/")
        return head + "/", word, ""
    start = 2 if key.startswith("*") else 1
    word, dot, last = key[start:].rpartition(".")
    return (key[:start], word, dot + last) if dot else (key[:start], last, "")


def to_script(value: object) -> str:
    """Write texts, numbers, lists and dictionaries as an ECMAScript 5 literal that is also safe inside HTML.

    Returns:
        JSON in ASCII without `<`, `>`, `&` and `'`. U+2028 and U+2029, which end a line in ECMAScript 5, are escaped.
    """
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return re.sub("[<>&']", lambda found: f"\\u{ord(found[0]):04x}", text)


def pac_data_url(text: str) -> str:
    """Put a PAC script into a `data:` URL, which a browser cannot fail to load.

    Source: RFC 2397.
    """
    return f"data:{MEDIA_TYPE};base64,{base64.b64encode(text.encode()).decode()}"
