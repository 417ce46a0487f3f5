"""Which nodes ask a router, what they publish then, and what `status` says."""

from __future__ import annotations

import time
import tomllib
from typing import TYPE_CHECKING

import msgspec
import pytest

from node import port_mapping
from node.demo_plan import DemoOptions, plan, settings_text
from node.peering import Peering
from node.port_mapping import port_mapping_sentence, start_port_mapping
from node.settings import NodeSettings, PeersSettings, Settings
from peers.descriptor import Descriptor, Role
from peers.identity import Identity
from peers.onion import OnionKeys
from peers.port_mapping.service import PortMapping, State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from peers.addresses import Address


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[PortMapping]:
    """Those that were started. None of them asks anybody."""
    found: list[PortMapping] = []
    monkeypatch.setattr(PortMapping, "start", lambda self: found.append(self))
    return found


def settings_of(*roles: str, address: str = "", port_mapping: bool = True) -> Settings:
    return Settings(
        node=msgspec.convert({"roles": roles}, NodeSettings),
        peers=PeersSettings(address=address, port_mapping=port_mapping),
    )


def start(settings: Settings) -> PortMapping | None:
    return start_port_mapping(settings, 4433, lambda address: None)


@pytest.mark.parametrize("roles", [("relay",), ("exit",), ("client", "relay")])
def test_who_serves_others_asks(started: list[PortMapping], roles: tuple[str, ...]) -> None:
    mapping = start(settings_of(*roles))
    assert mapping is not None
    assert started == [mapping]
    assert mapping.state is State.SEARCHING


@pytest.mark.parametrize(
    "settings",
    [
        settings_of("client"),
        settings_of("relay", port_mapping=False),
        settings_of("relay", address="20.0.0.1"),
    ],
)
def test_nobody_else_asks(started: list[PortMapping], settings: Settings) -> None:
    assert start(settings) is None
    assert started == []


def test_no_node_of_the_demo_asks(started: list[PortMapping], tmp_path: Path) -> None:
    options = DemoOptions()
    members = plan(options, tmp_path, range(5001, 5002 + 2 * (options.relays + options.exits)))
    texts = [settings_text(member, options, "", "") for member in members]
    assert len(texts) == 7
    assert [start(msgspec.convert(tomllib.loads(text), Settings)) for text in texts] == [None] * 7


def test_only_public_addresses_count(monkeypatch: pytest.MonkeyPatch) -> None:
    judges: list[Callable[[str], bool]] = []

    class Judging(PortMapping):
        def __init__(self, port: int, told: Callable[[Address | None], None], is_public: Callable[[str], bool]) -> None:
            judges.append(is_public)

        def start(self) -> None:
            """Ask nobody."""

    monkeypatch.setattr(port_mapping, "PortMapping", Judging)
    start(settings_of("relay"))
    hosts = ("20.0.0.1", "2a00::1", "192.168.1.1", "100.64.0.1", "0.0.0.0", "203.0.113.7")
    assert [judges[0](host) for host in hosts] == [True, True, False, False, False, False]


def peering_of(folder: Path, address: str) -> Peering:
    identity = Identity.load(folder / "keys")
    onion = OnionKeys(folder / "keys", 0, time.time())
    made = Peering(
        PeersSettings(address=address), folder, identity, onion, Role.RELAY, "", b"", lambda: None, lambda keys: None
    )
    made.publish(4433)
    return made


def published(peering: Peering) -> tuple[Address, ...]:
    raw = peering.descriptor()
    assert raw is not None
    return Descriptor.decode(raw, time.time()).addresses


def test_a_mapped_address_is_published_and_taken_back(tmp_path: Path) -> None:
    peering = peering_of(tmp_path, "")
    assert published(peering) == ()
    peering.reachable_at(("20.0.0.1", 5555))
    assert published(peering) == (("20.0.0.1", 5555),)
    peering.publish(4433)
    assert published(peering) == (("20.0.0.1", 5555),), "forgotten when it was published anew"
    peering.reachable_at(None)
    assert published(peering) == ()


def test_the_settings_have_the_last_word(tmp_path: Path) -> None:
    peering = peering_of(tmp_path, "20.0.0.9")
    peering.reachable_at(("20.0.0.1", 5555))
    assert published(peering) == (("20.0.0.9", 4433),)


def test_every_word_has_a_sentence() -> None:
    assert port_mapping_sentence("off") == ""
    assert port_mapping_sentence("of a later version") == ""
    sentences = {port_mapping_sentence(state) for state in State if state is not State.OFF}
    assert len(sentences) == len(State) - 1
    assert "UPnP" in port_mapping_sentence("upnp")
    assert "behind another NAT" in port_mapping_sentence("behind-another-nat")
