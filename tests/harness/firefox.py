"""Profiles of Firefox: one as Firefox writes it, and those with which it is run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FIREFOX: Final = ("firefox-esr", "--headless", "--no-remote")
"""It is not told to keep quiet: what it sends on its own account has to go to the proxy, too."""
CLOSED: Final = {"network.proxy.allow_bypass": False, "network.proxy.failover_direct": False}
"""What Firefox's own services do when the proxy fails them; open is how it comes."""
UNASKED: Final = {"network.connectivity-service.enabled": False, "network.trr.mode": 5}
"""As it comes, Firefox looks names up past any proxy at its start, to see whether there is a network or encrypted DNS:
`example.org`, `ipv4only.arpa`, `cloudflare-dns.com`."""
UNTOLD: Final = {"network.dns.native_https_query": False}
"""As it comes, Firefox asks the machine's name server for the HTTPS record of what is opened as `http://`."""
SHUT: Final = {"media.peerconnection.ice.proxy_only": True}
"""As it comes, pages can have WebRTC send datagrams past any proxy."""
SAFE: Final = CLOSED | UNASKED | UNTOLD | SHUT
"""All that `docs/clients.md` says to set."""
OPEN: Final = dict.fromkeys(CLOSED, True)
SOCKS, HTTP, PAC = "SOCKS5, proxy DNS", "HTTP proxy, also for HTTPS", "PAC URL"
SETTINGS: Final = {
    SOCKS: {
        "network.proxy.type": 1,
        "network.proxy.socks": "HOST",
        "network.proxy.socks_port": "PORT",
        "network.proxy.socks_version": 5,
        "network.proxy.socks_remote_dns": True,
    },
    HTTP: {
        "network.proxy.type": 1,
        "network.proxy.http": "HOST",
        "network.proxy.http_port": "PORT",
        "network.proxy.ssl": "HOST",
        "network.proxy.ssl_port": "PORT",
    },
    PAC: {"network.proxy.type": 2, "network.proxy.autoconfig_url": "PAC"},
}
"""Source: Firefox's `modules/libpref/init/all.js`."""


def write_profile(path: Path, settings: Mapping[str, object], proxy: str, pac: str = "") -> None:
    """Make a profile to run Firefox with.

    Args:
        path: a folder that is not there yet.
        settings: by their whole names; `HOST`, `PORT` and `PAC` stand for what follows.
        proxy: `HOST:PORT` of the proxy.
        pac: address of the PAC script.
    """
    host, _, port = proxy.rpartition(":")
    values = {"HOST": host, "PORT": int(port), "PAC": pac}
    path.mkdir()
    given = {name: values.get(str(value), value) for name, value in settings.items()}
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in given.items()]
    (path / "user.js").write_text("".join(lines))


def profile_at(
    user_home: Path,
    prefs: Mapping[str, Any],
    *,
    folder: str = ".mozilla/firefox",
    version: str = "",
    name: str = "work",
) -> Path:
    """Make the only profile of a folder.

    Args:
        user_home: the user's home.
        prefs: settings, by their names below `network.proxy` or by their whole names.
        folder: where Firefox keeps its profiles, below the home.
        version: of the Firefox that used it last; empty: nobody knows.
        name: the profile's.

    Returns:
        Its folder.
    """
    path = user_home / folder / "x1y2.work"
    path.mkdir(parents=True, exist_ok=True)
    listed = f"[Profile0]\nName={name}\nIsRelative=1\nPath={path.name}\nDefault=1\n\n[General]\nVersion=2\n"
    (path.parent / "profiles.ini").write_text(listed)
    whole = {key if "." in key else f"network.proxy.{key}": value for key, value in prefs.items()}
    lines = [f"user_pref({json.dumps(key)}, {json.dumps(value)});\n" for key, value in whole.items()]
    (path / "prefs.js").write_text("// Mozilla User Preferences\n" + "".join(lines))
    if version:
        (path / "compatibility.ini").write_text(f"[Compatibility]\nLastVersion={version}_20261101/20261101\n")
    return path
