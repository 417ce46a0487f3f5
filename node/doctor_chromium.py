"""Judge what Chromium and its kin go by: what in it goes past this node's proxy, or would when the node is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from node.doctor_firefox import LOCAL, by_address, discovery, names_own
from node.findings import Finding, Level

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from node.chromium_settings import ChromiumProfile, Chromiums, Extension, Running
    from node.findings import OwnProxy

SHUT: Final = "disable_non_proxied_udp"
"""The only policy for WebRTC under which it sends nothing past a proxy."""
OPTION: Final = f"--webrtc-ip-handling-policy={SHUT}"
BUTTON: Final = "Use the button (`make extension`), or start it with --proxy-server, as `macrovpn up` says it."


def judge(found: Chromiums, own: OwnProxy, paired: Collection[str], *, system_is_ours: bool) -> list[Finding]:
    """Say what is wrong.

    Args:
        found: what was read.
        own: where this node's proxy is.
        paired: ids of extensions that are paired with the node.
        system_is_ours: whether a node has set the system's proxy settings.
    """
    policy = str(found.policies.get("WebRtcIPHandling", ""))
    return [
        *_policies(found.policies, own),
        *(each for running in found.running for each in _running(running, own, policy)),
        *(
            each
            for profile in found.profiles
            for each in _profile(profile, own, paired, policy, system_is_ours=system_is_ours)
        ),
    ]


def _webrtc(who: str) -> Finding:
    said = f"{who} lets WebRTC send past the proxy: a site that wants to sees your own address."
    return Finding("chromium_webrtc", Level.PROBLEM, said, f"Use the button, or start it with {OPTION}.")


def _policies(policies: dict[str, Any], own: OwnProxy) -> Iterator[Finding]:
    who = "A policy of this machine's administrator"
    settings = policies.get("ProxySettings")
    merged = policies | settings if isinstance(settings, dict) else policies
    match merged.get("ProxyMode"):
        case "direct":
            said = f"{who} has Chromium use no proxy, whatever else is set."
            yield Finding("chromium_policies", Level.WARNING, said, "Only the administrator can change that.")
        case "auto_detect":
            yield discovery("chromium_pac", f"{who} has Chromium look")
        case "pac_script":
            url = str(merged.get("ProxyPacUrl", ""))
            if not url.startswith("data:"):
                yield by_address("chromium_pac", f"{who} has Chromium use", ours=own.is_in(url))
        case "fixed_servers":
            whose = "this node's proxy" if own.is_in(_url(str(merged.get("ProxyServer", "")))) else "another proxy"
            yield Finding("chromium_policies", Level.OK, f"{who} has Chromium use {whose}.")


def _running(running: Running, own: OwnProxy, policy: str) -> Iterator[Finding]:
    """Judge a browser by its command line, which counts more than its profile."""
    who, options = "A Chromium that runs", running.options
    if "no-proxy-server" in options:
        yield Finding("chromium_direct", Level.WARNING, f"{who} was told to use no proxy, so it goes direct.", BUTTON)
        return
    if "proxy-auto-detect" in options:
        yield discovery("chromium_pac", f"{who} looks")
        return
    pac, servers = options.get("proxy-pac-url", ""), options.get("proxy-server", "").split(";")
    if pac and not pac.startswith("data:"):
        yield by_address("chromium_pac", f"{who} uses", ours=own.is_in(pac))
    urls = [_url(server.rpartition("=")[2]) for server in servers if server]
    ours = any(map(own.is_in, urls)) or own.is_in(pac) or (pac.startswith("data:") and names_own(pac, own))
    if urls and not ours:
        yield Finding("chromium_other", Level.OK, f"{who} was told to use another proxy than this node's.")
    if not ours:
        return
    past = {host.strip().lower() for host in options.get("proxy-bypass-list", "").split(";")} - LOCAL - {"", "<local>"}
    if past:
        said = f"{who} has exceptions of its own ({len(past)}), which go direct whatever your rules say."
        remedy = "Start it without --proxy-bypass-list, and use `macrovpn bypass add`."
        yield Finding("chromium_exceptions", Level.WARNING, said, remedy)
    if SHUT not in (policy, options.get("webrtc-ip-handling-policy")):
        yield _webrtc(who)
    elif not past:
        yield Finding("chromium", Level.OK, f"{who} was told to use this node, and WebRTC is shut in it.")


def _url(server: str) -> str:
    return server if "://" in server else f"http://{server}"


def _profile(
    profile: ChromiumProfile, own: OwnProxy, paired: Collection[str], policy: str, *, system_is_ours: bool
) -> Iterator[Finding]:
    who = f"The profile {profile.name}"
    if not profile.clear:
        said = f"{who} has settings that this version cannot read, so it may go direct."
        yield Finding(
            "chromium_unclear", Level.WARNING, said, "Look at its settings; the dashboard tells what it does."
        )
        return
    ours = next((each for each in profile.extensions if _is_ours(each, own, paired)), None)
    if ours is not None:
        if not ours.is_proxy:
            said = f"{who} has the node's button, and it is off: sites see your own address."
            yield Finding("chromium_button", Level.WARNING, said, "Click the button.")
            return
        if ours.pac and not ours.mandatory:
            yield by_address("chromium_pac", f"{who} uses", ours=True)
        if SHUT not in (policy, ours.webrtc):
            yield _webrtc(who)
        else:
            yield Finding("chromium_button", Level.OK, f"{who} has the node's button, it is on, and WebRTC is shut.")
    elif any(each.is_proxy for each in profile.extensions):
        yield Finding("chromium_other", Level.OK, f"In {_lower(who)} another extension decides about the proxy.")
    elif system_is_ours:
        shut = SHUT in (policy, *(each.webrtc for each in profile.extensions))
        yield (
            Finding("chromium", Level.OK, f"{who} uses the system's proxy, which a node has set.")
            if shut
            else _webrtc(who)
        )
    else:
        said = f"{who} uses the system's proxy settings, which no node has set, unless it was started with others."
        yield Finding("chromium_system", Level.WARNING, said, BUTTON)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _is_ours(extension: Extension, own: OwnProxy, paired: Collection[str]) -> bool:
    return extension.id in paired or (bool(extension.pac) and names_own(extension.pac, own))
