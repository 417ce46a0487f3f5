"""Judge Firefox's profiles: what in them goes past this node's proxy, or would when the node is gone."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Final

from node.findings import Finding, Level, OwnProxy
from node.firefox_settings import ALLOW_BYPASS, FAILOVER, FIXED_PROXY, HTTPS_RECORD, WEBRTC
from node.settings import join_endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from node.firefox_profiles import Profile

DEFAULT_TYPE: Final = 5
"""0 is no proxy, 1 fixed ones, 2 a PAC, 4 one that is looked for, 5 the system's settings; 3 is not used and means 0.

Source: nsIProtocolProxyService.idl."""
REMOTE_DNS_SINCE: Final = 128
"""Firefox has the SOCKS5 proxy look names up from this version on, and has a setting of its own for it, bug 1741375."""
LOCAL: Final = frozenset({"localhost", "127.0.0.1", "127.0.0.0/8", "::1", "[::1]"})
UNASKED: Final = {"network.connectivity-service.enabled": False, "network.trr.mode": 5}
"""With these Firefox looks no name up by itself; 5 is DNS over HTTPS switched off by choice. As it comes, it looks up
`example.org`, `ipv4only.arpa` and `cloudflare-dns.com`: docs/clients.md says where that was measured."""
ASKS_SINCE: Final = 153
"""In this version it was seen that Firefox asks for the HTTPS record of what is opened as `http://`, with any proxy."""


def judge(profile: Profile, own: OwnProxy, *, system_is_ours: bool, has_button: bool = False) -> list[Finding]:
    """Say what is wrong with a profile; one good word if nothing is.

    Args:
        profile: what it says about proxies.
        own: where this node's proxy is.
        system_is_ours: whether a node has set the system's proxy settings.
        has_button: whether it has the add-on that is paired with the node.
    """
    who = f"The Firefox profile {profile.name}"
    found = [*_button(profile, who)] if has_button else [*_judged(profile, who, own, system_is_ours=system_is_ours)]
    if not profile.clear:
        sentence = f"{who} has settings about proxies that this version cannot read, so it may go direct."
        remedy = f"Look at them in Firefox: {FIXED_PROXY}; and at the profile's user.js, if you wrote one."
        found.append(Finding("firefox_unclear", Level.WARNING, sentence, remedy))
    return found or [Finding("firefox", Level.OK, f"{who} uses this node, and sends nothing when it is gone.")]


def _judged(profile: Profile, who: str, own: OwnProxy, *, system_is_ours: bool) -> Iterator[Finding]:
    match profile.number("type", DEFAULT_TYPE):
        case 1:
            yield from _manual(profile, who, own)
        case 2:
            yield from _script(profile, who, own)
        case 4:
            yield discovery("firefox_pac", f"{who} looks")
        case 5:
            yield from _system(profile, who, is_ours=system_is_ours)
        case _:
            yield _direct(who, "uses no proxy")


def _button(profile: Profile, who: str) -> Iterator[Finding]:
    said = f"{who} has the node's button, which decides while it is on. Files do not tell whether it is."
    yield Finding("firefox_button", Level.OK, said, "Look at the button, or at the dashboard's “What a site sees”.")
    yield from _closed(profile, who)


def _direct(who: str, why: str) -> Finding:
    remedy = f"If it shall use the node: {FIXED_PROXY}, as `macrovpn up` says it."
    return Finding("firefox_direct", Level.WARNING, f"{who} {why}, so it goes direct.", remedy)


def _manual(profile: Profile, who: str, own: OwnProxy) -> Iterator[Finding]:
    kinds = ("http", "ssl", "socks")
    named = {kind for kind in kinds if profile.text(kind) and profile.number(f"{kind}_port", 0)}
    ours = {kind for kind in named if own.is_at(profile.text(kind), profile.number(f"{kind}_port", 0))}
    if not named:
        yield _direct(who, "names no proxy")
        return
    if not ours:
        where = join_endpoint(*own.reachable)
        yield Finding("firefox_other", Level.OK, f"{who} uses another proxy than this node's, {where}.")
        return
    for kind, what, name in (("ssl", "https:// and wss://", "HTTPS"), ("http", "http://", "HTTP")):
        if not named & {kind, "socks"}:
            sentence = f"{who} names this node's proxy, but none for {what}: those go direct."
            remedy = f"{FIXED_PROXY}: set {join_endpoint(*own.reachable)} as {name} proxy, too."
            yield Finding("firefox_partly", Level.PROBLEM, sentence, remedy)
    if "socks" in ours:
        yield from _socks(profile, who)
    yield from _exceptions(profile, who)
    yield from _shut(profile, who)


def _socks(profile: Profile, who: str) -> Iterator[Finding]:
    if profile.number("socks_version", 5) == 4:
        sentence = f"{who} uses SOCKS v4, which the proxy does not speak, and looks names up itself."
        yield Finding("firefox_dns", Level.PROBLEM, sentence, f"{FIXED_PROXY}: choose SOCKS v5.")
        return
    remedy = f"{FIXED_PROXY}: tick “Proxy DNS when using SOCKS v5”."
    match _remote_dns(profile):
        case False:
            own_server = profile.prefs.get("network.trr.mode") == 3
            where = "at a DNS server of its own" if own_server else "at this machine's name server"
            sentence = f"{who} looks names up {where} and not through the proxy, so that server learns where you go."
            yield Finding("firefox_dns", Level.PROBLEM, sentence, remedy)
        case None:
            sentence = f"{who} looks names up past the proxy if its Firefox is older than {REMOTE_DNS_SINCE}."
            yield Finding("firefox_dns", Level.WARNING, sentence, remedy)


def _remote_dns(profile: Profile) -> bool | None:
    """Say whether a SOCKS5 proxy is given names; None if that depends on a version that nobody knows."""
    older = profile.switch("socks_remote_dns") is True
    newer = profile.switch("socks5_remote_dns") is not False
    if profile.version is None:
        return older if older == newer else None
    return newer if profile.version >= REMOTE_DNS_SINCE else older


def _exceptions(profile: Profile, who: str) -> Iterator[Finding]:
    hosts = {host.strip().lower() for host in profile.text("no_proxies_on").split(",")} - LOCAL - {""}
    if hosts:
        sentence = f"{who} has exceptions of its own ({len(hosts)}), which go direct whatever your rules say."
        remedy = f"{FIXED_PROXY}: empty “No proxy for”, and use `macrovpn bypass add`."
        yield Finding("firefox_exceptions", Level.WARNING, sentence, remedy)


def _script(profile: Profile, who: str, own: OwnProxy) -> Iterator[Finding]:
    url = profile.text("autoconfig_url")
    if not url.startswith("data:"):
        yield by_address("firefox_pac", f"{who} uses", ours=own.is_in(url))
    elif not names_own(url, own):
        yield Finding("firefox_other", Level.OK, f"{who} uses a PAC that does not name this node's proxy.")
        return
    yield from _shut(profile, who)


def names_own(url: str, own: OwnProxy) -> bool:
    """Say whether a script that `macrovpn pac --data-url` printed leads to the proxy."""
    try:
        script = base64.b64decode(url.rpartition(";base64,")[2], validate=True)
    except (binascii.Error, ValueError):
        return False
    return f"PROXY {join_endpoint(*own.reachable)}".encode() in script


def _system(profile: Profile, who: str, *, is_ours: bool) -> Iterator[Finding]:
    if is_ours:
        yield from _shut(profile, who)
        return
    sentence = (
        f"{who} uses the system's proxy settings, which no node has set: where they name no proxy, it goes direct."
    )
    remedy = f"Start the node with `macrovpn up --system-proxy`, or in Firefox: {FIXED_PROXY}."
    yield Finding("firefox_system", Level.WARNING, sentence, remedy)


def _shut(profile: Profile, who: str) -> Iterator[Finding]:
    yield from _webrtc(profile, who)
    yield from _closed(profile, who)


def _webrtc(profile: Profile, who: str) -> Iterator[Finding]:
    if profile.prefs.get(WEBRTC) is not True and profile.prefs.get("media.peerconnection.enabled") is not False:
        sentence = f"{who} lets WebRTC send past the proxy: a site that wants to sees your own address."
        yield Finding("firefox_webrtc", Level.PROBLEM, sentence, f"In about:config, set {WEBRTC} to true.")


def _closed(profile: Profile, who: str) -> Iterator[Finding]:
    names = [name for name in (ALLOW_BYPASS, FAILOVER) if profile.prefs.get(name) is not False]
    if names:
        sentence = f"{who} lets Firefox's own services go direct when the proxy does not answer."
        lines = " and ".join(f"{name} to false" for name in names)
        yield Finding("firefox_closed", Level.WARNING, sentence, f"In about:config, set {lines}.")
    if profile.prefs.get(HTTPS_RECORD) is not False:
        is_known = profile.version is None or profile.version >= ASKS_SINCE
        sentence = (
            f"{who} {'asks' if is_known else 'may ask'} your name server for each site that is opened as http://."
        )
        level = Level.PROBLEM if is_known else Level.WARNING
        yield Finding("firefox_https_record", level, sentence, f"In about:config, set {HTTPS_RECORD} to false.")
    yield from _unasked(profile, who)


def _unasked(profile: Profile, who: str) -> Iterator[Finding]:
    wanted = {name: json.dumps(value) for name, value in UNASKED.items()}
    lines = [f"{name} to {text}" for name, text in wanted.items() if json.dumps(profile.prefs.get(name)) != text]
    if lines:
        sentence = (
            f"{who} lets Firefox look up names past any proxy when it starts, to see whether there is a network and "
            "DNS over HTTPS: your name server learns that a Firefox was started, and nothing of where you go."
        )
        yield Finding("firefox_unasked", Level.WARNING, sentence, f"In about:config, set {' and '.join(lines)}.")


def by_address(check: str, begin: str, *, ours: bool) -> Finding:
    """Warn of a PAC's address.

    Args:
        check: which check it is.
        begin: who uses it, the sentence's begin.
        ours: whether it is this node's.
    """
    whose = "this node's PAC by its address" if ours else "a PAC by its address, which is not this node's"
    remedy = "Use `macrovpn up --system-proxy`, a fixed proxy, or what `macrovpn pac --data-url` prints, instead."
    return Finding(check, Level.WARNING, f"{begin} {whose}: when it cannot be loaded, browsers go direct.", remedy)


def discovery(check: str, begin: str) -> Finding:
    """Warn of a PAC that is looked for in the network; the same arguments."""
    sentence = f"{begin} for a PAC in the network: whoever runs the network chooses the proxy, or none."
    return Finding(check, Level.WARNING, sentence, "Use `macrovpn up --system-proxy` or a fixed proxy instead.")
