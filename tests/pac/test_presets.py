"""Presets hold what their sources say."""

from __future__ import annotations

from importlib import resources

import pytest
from publicsuffixlist import PublicSuffixList

from core.errors import ConfigError
from pac.presets import PRESETS, get_preset, preset_rules
from pac.rules import Action, Kind, RuleSet


@pytest.mark.parametrize("name", PRESETS)
def test_every_entry_is_a_rule_with_a_source(name: str) -> None:
    preset = get_preset(name)
    assert len(preset.rules()) == len(set(preset.rules())) == len(preset.entries)
    assert all(entry.source for entry in preset.entries)
    assert preset.title


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "app.localhost",
        "printer.local",
        "nas.home.arpa",
        "127.0.0.1",
        "[::1]",
        "10.1.2.3",
        "172.31.0.1",
        "192.168.178.1",
        "169.254.0.9",
        "fe80::1",
        "fd12::1",
    ],
)
def test_local_preset_covers_the_local_network(host: str) -> None:
    assert RuleSet(preset_rules("local")).decide(host, 80).action is Action.BYPASS


@pytest.mark.parametrize("host", ["router", "example.com", "172.32.0.1", "8.8.8.8", "2606:4700::1", "arpa", "home"])
def test_local_preset_leaves_the_rest_in_the_tunnel(host: str) -> None:
    assert RuleSet(preset_rules("local")).decide(host, 80).action is Action.TUNNEL


SHARED = (
    *("akamai.net", "akamaiedge.net", "akamaihd.net", "akamaized.net", "edgekey.net", "edgesuite.net"),
    *("amazonaws.com", "cloudfront.net", "awsstatic.com", "azureedge.net", "azurefd.net", "windows.net"),
    *("fastly.net", "fastlylb.net", "cloudflare.com", "cloudflare.net", "workers.dev", "pages.dev"),
    *("googleusercontent.com", "googleapis.com", "gstatic.com", "google.com", "googlevideo.com", "youtube.com"),
    *("llnwd.net", "footprint.net", "hwcdn.net", "cdn77.org", "b-cdn.net", "kxcdn.com", "jsdelivr.net", "unpkg.com"),
    *("github.io", "githubusercontent.com", "facebook.com", "fbcdn.net", "megaphone.fm", "brightcove.com", "bank"),
)
"""Networks that deliver for many, and hosts on which anybody can put something."""


@pytest.mark.parametrize("name", sorted({*PRESETS} - {"local"}))
def test_no_entry_has_a_host_that_serves_several_owners(name: str) -> None:
    private = PublicSuffixList(only_icann=False)
    public = PublicSuffixList(only_icann=True)
    suffixes = (resources.files("publicsuffixlist") / "public_suffix_list.dat").read_text("utf-8").splitlines()
    for rule in preset_rules(name):
        assert rule.kind in (Kind.EXACT, Kind.DOMAIN), rule
        host = rule.pattern.removeprefix(".")
        assert not any(
            host == shared or host.endswith("." + shared) or shared.endswith("." + host) for shared in SHARED
        )
        assert private.publicsuffix(host) == public.publicsuffix(host), f"{host} is at or below a suffix of many owners"
        below = [suffix for suffix in suffixes if suffix.endswith("." + host)]
        assert below == [], f"whoever likes can have a host below {below}"
        own_top = f"https://www.iana.org/domains/root/db/{host}.html" in get_preset(name).source(rule)
        assert (public.publicsuffix(host) != host) is not own_top, f"{host} is open to all"


@pytest.mark.parametrize(
    ("name", "host"), [("banking", "home.barclays"), ("streaming", "ipv4-c001-ams001.nflxvideo.net")]
)
def test_presets_bypass(name: str, host: str) -> None:
    assert RuleSet(preset_rules(name)).decide(host, 443).action is Action.BYPASS


def test_unknown_preset_is_refused() -> None:
    with pytest.raises(ConfigError, match="there are: local"):
        preset_rules("nonsense")
