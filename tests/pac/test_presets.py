"""Presets hold what their sources say."""

from __future__ import annotations

import pytest

from core.errors import ConfigError
from pac.presets import PRESETS, preset_rules
from pac.rules import Action, RuleSet


@pytest.mark.parametrize("name", PRESETS)
def test_every_entry_is_a_rule_with_a_source(name: str) -> None:
    preset = PRESETS[name]
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


def test_unknown_preset_is_refused() -> None:
    with pytest.raises(ConfigError, match="there are: local"):
        preset_rules("nonsense")
