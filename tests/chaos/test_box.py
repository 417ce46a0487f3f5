"""The box: what it does to datagrams, and that it carries them between sockets on loopback."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import sys
import time

import pytest

from node.ports import free_udp_ports
from tests.chaos.box import KIND, LOOPBACK, Treatment, treat
from tests.harness.demo import ROOT

DATA = bytes(range(200))
MANY = 2_000
PATIENCE_S = 10.0


def treated(treatment: Treatment, seed: int = 1) -> list[list[tuple[float, bytes]]]:
    chance = random.Random(seed)
    return [treat(DATA, treatment, chance) for _ in range(MANY)]


def test_what_is_not_treated_arrives_as_it_is() -> None:
    assert treated(KIND) == [[(0.0, DATA)]] * MANY


@pytest.mark.parametrize("field", ["loss", "twice", "flip", "cut"])
def test_a_share_of_datagrams_is_met(field: str) -> None:
    found = treated(Treatment(**{field: 0.25}))
    met = [each for each in found if each != [(0.0, DATA)]]
    assert 0.2 < len(met) / MANY < 0.3
    for each in met:
        arrived = [data for _, data in each]
        match field:
            case "loss":
                assert not arrived
            case "twice":
                assert arrived == [DATA, DATA]
            case "flip":
                bits = sum((one ^ other).bit_count() for one, other in zip(arrived[0], DATA, strict=True))
                assert 1 <= bits <= 3
            case _:
                assert DATA.startswith(arrived[0])
                assert len(arrived[0]) < len(DATA)


def test_datagrams_that_take_different_times_overtake_each_other() -> None:
    times = [each[0][0] for each in treated(Treatment(delay_s=0.2, jitter_s=0.1))]
    assert 0.2 <= min(times) < 0.21 < 0.29 < max(times) <= 0.3
    assert times != sorted(times)


def test_a_seed_treats_in_the_same_way_again() -> None:
    rough = Treatment(loss=0.2, twice=0.2, flip=0.2, cut=0.2, jitter_s=1.0)
    assert treated(rough, 5) == treated(rough, 5) != treated(rough, 6)


async def test_it_carries_there_and_back_and_knows_who_sends() -> None:
    """Here nobody turns packets to it, so the one node sends to its port itself."""
    one, other, near, unused = free_udp_ports(4)
    box = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.chaos.box"),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert box.stdin is not None
    assert box.stdout is not None
    nodes = {"relay-1": [LOOPBACK, one, unused], "relay-2": [LOOPBACK, other, near]}
    box.stdin.write(json.dumps({"seed": 1, "mark": 0, "nodes": nodes}).encode() + b"\n")
    assert await box.stdout.readline() == b"ready\n"
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here, socket.socket(type=socket.SOCK_DGRAM) as there:
            here.bind((LOOPBACK, one))
            there.bind((LOOPBACK, other))
            await asyncio.to_thread(_there_and_back, here, there, near)
            box.stdin.write(b'{"node": "relay-1", "loss": 1.0}\n{"node": "relay-2"}\n')
            await asyncio.to_thread(_until_lost, here, there, near)
            box.stdin.write(b'{"node": "relay-1"}\n')
            await asyncio.to_thread(_there_and_back, here, there, near)
    finally:
        box.kill()
        await box.wait()


def _there_and_back(here: socket.socket, there: socket.socket, near: int) -> None:
    """Send until it arrives, and send it back."""
    for end in (here, there):
        end.settimeout(0.2)
    for _ in range(50):
        here.sendto(DATA, (LOOPBACK, near))
        try:
            data, address = there.recvfrom(1000)
        except TimeoutError:
            continue
        there.sendto(data, address)
        assert here.recvfrom(1000) == (DATA, (LOOPBACK, near))
        return
    raise AssertionError("it carries nothing")


def _until_lost(here: socket.socket, there: socket.socket, near: int) -> None:
    """Send until it does not arrive any more: the box may carry much before it reads what it was told."""
    there.settimeout(0.2)
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        here.sendto(DATA, (LOOPBACK, near))
        try:
            there.recv(1000)
        except TimeoutError:
            return
    raise AssertionError("it carries everything")
