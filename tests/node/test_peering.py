"""A node's own descriptor over time: its life, its keys, and what happens when they change."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING

from core.errors import ConfigError
from node import peering as peering_module
from node.peering import CLOCK_S, DESCRIPTOR_LIFE_S, TIDY_S, Peering
from node.settings import PeersSettings
from peers.descriptor import Descriptor, Role
from peers.identity import Identity
from peers.onion import DAY_S, OVERLAP_S, OnionKeys
from tests.harness.waiting import until
from tunnel.limits import BUILD_S, CLOCK_SKEW_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey


class Clock:
    """The time of day as a node sees it: it begins a little before midnight, and can be set."""

    def __init__(self, before_midnight_s: float) -> None:
        self._ahead_s = 20_000 * DAY_S - before_midnight_s - time.monotonic()

    def time(self) -> float:
        return time.monotonic() + self._ahead_s

    def set_on(self, by_s: float) -> None:
        self._ahead_s += by_s


class Node:
    """A peering that publishes, and what it told the tunnel."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._clock = clock
        self.folder = folder / "keys"
        self.used: list[tuple[bytes, ...]] = []
        self.published_when_used: list[bytes | None] = []
        identity = Identity.load(self.folder)
        self.onion = OnionKeys(self.folder, 0, clock.time())
        settings = PeersSettings(address="203.0.113.7")
        self.peering = Peering(
            settings, folder, identity, self.onion, Role.RELAY, "", b"", lambda: None, self._keys_changed
        )

    def _keys_changed(self, keys: list[X25519PrivateKey]) -> None:
        self.used.append(tuple(key.public_key().public_bytes_raw() for key in keys))
        self.published_when_used.append(self.peering.descriptor())

    @property
    def descriptor(self) -> Descriptor:
        raw = self.peering.descriptor()
        assert raw is not None
        return Descriptor.decode(raw, self._clock.time())


@asynccontextmanager
async def renewing(
    folder: Path, patch: pytest.MonkeyPatch, before_midnight_s: float
) -> AsyncIterator[tuple[Node, Clock]]:
    clock = Clock(before_midnight_s)
    patch.setattr(peering_module, "time", SimpleNamespace(time=clock.time))
    patch.setattr(peering_module, "CLOCK_S", 0.02)
    node = Node(folder, clock)
    node.peering.publish(4433)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(node.peering._renew(4433))
        yield node, clock
        task.cancel()


def test_who_has_a_descriptor_can_use_its_key() -> None:
    """A client's clock is behind by as much as it may be, it forgets late, and its creation takes long."""
    assert DESCRIPTOR_LIFE_S + CLOCK_SKEW_S + TIDY_S + CLOCK_S + BUILD_S < OVERLAP_S


async def test_a_new_key_is_used_and_then_published_when_its_day_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with renewing(tmp_path, monkeypatch, 0.3) as (node, clock):
        before = node.descriptor
        assert before.onion_keys == node.onion.publics
        await until(lambda: node.descriptor != before)
        assert 0 <= clock.time() % DAY_S < 5
        after = node.descriptor
        assert after.onion_keys == (after.onion_keys[0], before.onion_keys[0])
        assert after.sequence > before.sequence
        assert node.used == [after.onion_keys]
        assert node.published_when_used == [before.raw]


async def test_keys_change_after_a_sleep_and_the_oldest_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with renewing(tmp_path, monkeypatch, 1000.0) as (node, clock):
        first = node.descriptor.onion_keys
        clock.set_on(DAY_S)
        await until(lambda: len(node.used) == 1)
        second = node.descriptor.onion_keys
        assert second[1:] == first
        clock.set_on(3 * DAY_S)
        await until(lambda: len(node.used) == 2)
        assert len(node.descriptor.onion_keys) == 1
        assert node.descriptor.onion_keys[0] not in second
        assert sum(path.name.startswith("onion") for path in node.folder.iterdir()) == 1


async def test_a_key_that_cannot_be_written_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with renewing(tmp_path, monkeypatch, 1000.0) as (node, clock):
        before = node.descriptor
        advance = node.onion.advance

        def full(now: float) -> bool:
            raise ConfigError(str(node.folder), "this folder of keys cannot be used")

        monkeypatch.setattr(node.onion, "advance", full)
        clock.set_on(2000)
        await until(lambda: "onion key" in caplog.text)
        assert str(tmp_path) not in caplog.text
        assert node.descriptor == before
        assert not node.used
        monkeypatch.setattr(node.onion, "advance", advance)
        await until(lambda: node.used)
        assert node.descriptor.onion_keys[1:] == before.onion_keys


async def test_a_descriptor_that_ran_out_while_the_machine_slept_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with renewing(tmp_path, monkeypatch, DAY_S - 1000.0) as (node, clock):
        before = node.descriptor
        clock.set_on(DAY_S - 2000)
        await until(lambda: node.peering.descriptor() != before.raw)
        assert node.descriptor.onion_keys == before.onion_keys


async def test_a_descriptor_is_renewed_between_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peering_module, "RENEW_S", 0.05)
    async with renewing(tmp_path, monkeypatch, 1000.0) as (node, _):
        before = node.descriptor
        await until(lambda: node.descriptor.sequence > before.sequence)
        assert node.descriptor.onion_keys == before.onion_keys
        assert not node.used
