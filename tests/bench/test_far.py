"""The settings of nodes in namespaces."""

from __future__ import annotations

from pathlib import Path

from bench.far import names, settings
from bench.namespaces import Place
from node.config import parse
from node.config_edit import format_file

PLACES = {name: Place(f"ns-{name}", f"10.83.0.{number}") for number, name in enumerate(names(2), 1)}


def test_a_network_of_two_relays_has_five_places() -> None:
    assert names(2) == ["client", "r1", "r2", "exit", "origin"]


def test_every_node_gets_settings_that_are_valid() -> None:
    for name in PLACES:
        values, _ = parse(format_file(settings(name, PLACES, 3, "auto", "")), Path("config.toml"))
        assert values["peers.diversity"] is False
        assert "10.83.0.2/32" in values["peers.allow_addresses"]


def test_roles_and_what_belongs_to_them() -> None:
    roles = {name: settings(name, PLACES, 3, "auto", "")["node"]["roles"] for name in PLACES if name != "origin"}
    assert roles == {"client": ["client"], "r1": ["relay"], "r2": ["relay"], "exit": ["exit"]}
    assert settings("exit", PLACES, 3, "auto", "")["exit"]["allow_destinations"] == ["10.83.0.5/32"]
    tunnel = settings("client", PLACES, 3, "auto", "")["tunnel"]
    assert tunnel == {"hops": 3, "allow_destinations": ["10.83.0.5/32"]}
    assert "address" not in settings("client", PLACES, 3, "auto", "")["peers"]
