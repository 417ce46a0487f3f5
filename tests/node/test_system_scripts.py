"""The PAC that a desktop's settings name, out of what its commands print."""

from __future__ import annotations

import pytest

from node.system_scripts import gnome_script, kde_script, macos_script
from tests.node.test_desktops import GNOME, KDE, NONE, OFF, PAC, Commands, kde

READ = "gsettings list-recursively org.gnome.system.proxy"
URL = "gsettings get org.gnome.system.proxy autoconfig-url"


@pytest.mark.parametrize(("printed", "expected"), [("'http://a/x.pac'\n", "http://a/x.pac"), ("''\n", "")])
def test_gnome(printed: str, expected: str) -> None:
    assert gnome_script(Commands({READ: GNOME, URL: printed})) == expected
    for mode in ("none", "manual"):
        text = GNOME.replace("mode 'auto'", f"mode '{mode}'")
        assert gnome_script(Commands({READ: text, URL: printed})) is None


@pytest.mark.parametrize(
    ("kind", "expected"), [("2", "http://a/x.pac"), ("3", ""), ("0", None), ("1", None), ("4", None), ("", None)]
)
def test_kde(kind: str, expected: str | None) -> None:
    answers = {
        f"kreadconfig6 {KDE} ProxyType": f"{kind}\n",
        f"kreadconfig6 {KDE} 'Proxy Config Script'": "http://a/x.pac\n",
    }
    assert kde_script(kde(Commands(answers), "6")) == expected


@pytest.mark.parametrize(
    ("script", "discovery", "expected"),
    [
        (PAC, "Off", "http://corp.example/x.pac"),
        (PAC.replace("Yes", "No"), "On", ""),
        (PAC.replace("Yes", "No"), "Off", None),
    ],
)
def test_macos(script: str, discovery: str, expected: str | None) -> None:
    tool = "/usr/sbin/networksetup"
    answers = {
        f"{tool} -listallnetworkservices": "An asterisk …\nEthernet\n",
        f"{tool} -getautoproxyurl Ethernet": script,
        f"{tool} -getproxyautodiscovery Ethernet": f"Auto Proxy Discovery: {discovery}\n",
        f"{tool} -getproxybypassdomains Ethernet": NONE,
    }
    answers |= {f"{tool} -get{kind} Ethernet": OFF for kind in ("webproxy", "securewebproxy", "socksfirewallproxy")}
    assert macos_script(Commands(answers)) == expected
