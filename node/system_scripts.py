"""Ask the system's settings for the PAC that they name, if they name one.

`desktops.py` changes what a fixed proxy needs; the address of a PAC is none of that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from node.desktops import Gnome, Kde, MacOs, run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from node.desktops import Run
    from node.system_proxy import Name


def gnome_script(ask: Run = run) -> str | None:
    """Ask GNOME.

    Returns:
        The PAC's address, empty when one is looked for in the network, None when none is used. Likewise below.

    Raises:
        SystemProxyError: the settings cannot be read. Likewise below.
    """
    if Gnome(ask).read()[Gnome.switch] != "'auto'":
        return None
    return ask(["gsettings", "get", "org.gnome.system.proxy", "autoconfig-url"]).strip().strip("'\"")


def kde_script(place: Kde | None = None) -> str | None:
    """Ask KDE, in which 2 is a PAC and 3 one that is looked for.

    Source: KIO's `KProtocolManager::ProxyType`.
    """
    place = place or Kde()
    match place.get(Kde.switch):
        case "2":
            return place.get("Proxy Config Script")
        case "3":
            return ""
    return None


def macos_script(ask: Run = run) -> str | None:
    """Ask macOS: the first network service that uses one counts."""
    values = MacOs(ask).read()
    for key, value in values.items():
        if key.startswith("autoproxyurl ") and value.startswith("on "):
            return value.removeprefix("on ")
    discovers = any(key.startswith("proxyautodiscovery ") and value == "on" for key, value in values.items())
    return "" if discovers else None


SCRIPTS: Final[Mapping[Name, Callable[[], str | None]]] = {
    "gnome": gnome_script,
    "kde": kde_script,
    "macos": macos_script,
}
