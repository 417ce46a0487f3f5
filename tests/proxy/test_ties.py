"""A connection that is tied to a device leaves by it, whatever the routes say."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from typing import TYPE_CHECKING

import pytest

from core.errors import FlowError, Reason
from proxy.direct import connect_direct
from tests.harness.namespaces import Built, add, delete, inside, ip, put_up, why_not

if TYPE_CHECKING:
    from collections.abc import Iterator

SITE = {4: "11.81.0.1", 6: "2a0b:81::1"}
OWN = {"trusted0": {4: "11.7.0.2", 6: "2a0b:7::2"}, "other0": {4: "11.8.0.2", 6: "2a0b:8::2"}}
_numbers = itertools.count()


class Fork(Built):
    """A machine with two networks, both of which lead to a site; the routes lead to it by `other0`."""

    def __init__(self) -> None:
        number = next(_numbers)
        self.name, self.far = (f"fk{os.getpid() % 100000}n{number}{end}" for end in "ms")

    def _build(self) -> None:
        for name in (self.name, self.far):
            add(name)
        for device, own in OWN.items():
            ip("link", "add", device, "netns", self.name, "type", "veth", "peer", "name", device, "netns", self.far)
            for version, length in ((4, 24), (6, 64)):
                beside = own[version][:-1] + "1"
                nodad = ["nodad"] if version == 6 else []
                ip("-n", self.name, "address", "add", f"{own[version]}/{length}", "dev", device, *nodad)
                ip("-n", self.far, "address", "add", f"{beside}/{length}", "dev", device, *nodad)
            for name in (self.name, self.far):
                ip("-n", name, "link", "set", device, "up")
        for version, length in ((4, 32), (6, 128)):
            put_up(self.far, "lo", f"{SITE[version]}/{length}")
            for device, metric in (("trusted0", "20"), ("other0", "10")):
                route = (SITE[version], "via", OWN[device][version][:-1] + "1", "dev", device, "metric", metric)
                ip("-n", self.name, "route", "add", *route)

    def _tear_down(self) -> None:
        for name in (self.name, self.far):
            delete(name)


@pytest.fixture(scope="module")
def fork() -> Iterator[Fork]:
    if reason := why_not():
        pytest.skip(reason)
    with Fork() as built:
        yield built


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("device", "leaves_by"), [("", "other0"), ("trusted0", "trusted0")])
def test_by_which_network_it_leaves(fork: Fork, version: int, device: str, leaves_by: str) -> None:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    site = inside(fork.far, lambda: socket.create_server((SITE[version], 0), family=family))

    async def connect() -> str:
        flow = await connect_direct(SITE[version], site.getsockname()[1], (), device)
        taken, asker = site.accept()
        taken.close()
        flow.cut()
        await asyncio.sleep(0)
        return str(asker[0])

    with site:
        site.settimeout(5)
        assert inside(fork.name, lambda: asyncio.run(connect())) == OWN[leaves_by][version]


def test_a_device_that_is_gone_lets_nothing_out(fork: Fork) -> None:
    async def connect() -> Reason:
        with pytest.raises(FlowError) as refused:
            await connect_direct(SITE[4], 80, (), "gone0")
        return refused.value.reason

    assert inside(fork.name, lambda: asyncio.run(connect())) is Reason.HOST_UNREACHABLE
