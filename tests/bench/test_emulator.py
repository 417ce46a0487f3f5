"""The emulator, between two real namespaces, as `ping` sees it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from bench.emulator import Emulation
from bench.namespaces import emulated, parse_places

NEEDED = [tool for tool in ("gcc", "ip", "ping") if shutil.which(tool) is None]
needs_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or bool(NEEDED),
    reason=f"namespaces need Linux and root; missing: {NEEDED}",
)


def _ping(emulation: Emulation, *options: str) -> tuple[int, list[float]]:
    """How many pings were answered, and minimum, average and maximum in ms."""
    with emulated(["a", "b"], emulation) as places:
        command = [*places["a"].enter, "ping", "-q", *options, places["b"].address]
        text = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout
    answered = re.search(r"(\d+) received", text)
    times = re.search(r"= ([\d.]+)/([\d.]+)/([\d.]+)/", text)
    assert answered is not None, text
    return int(answered[1]), [float(each) for each in times.groups()] if times else []


@needs_root
def test_a_packet_takes_its_delay_each_way() -> None:
    answered, times = _ping(Emulation(delay_ms=30, rate_mbit=0), "-c", "3", "-i", "0.1")
    assert answered == 3
    assert 60 <= times[0] < 80


@needs_root
def test_a_line_has_its_rate() -> None:
    # 1,250 bytes at 1 Mbit/s take 10 ms on each of two lines, each way.
    answered, times = _ping(Emulation(delay_ms=0, rate_mbit=1), "-c", "2", "-i", "0.2", "-s", "1222")
    assert answered == 2
    assert 40 <= times[0] < 60


@needs_root
def test_a_line_drops_what_would_wait_too_long() -> None:
    # One packet of 100 ms each is on the line and one or two wait; the others come within 100 ms and have no room.
    emulation = Emulation(delay_ms=0, rate_mbit=0.1, queue_ms=150)
    answered, _ = _ping(emulation, "-c", "20", "-i", "0.005", "-s", "1222", "-W", "1")
    assert 1 <= answered <= 6


@needs_root
def test_packets_get_lost_at_their_share() -> None:
    options = ("-c", "100", "-i", "0.003", "-W", "0.2")
    assert _ping(Emulation(delay_ms=0, rate_mbit=0, loss=1.0), *options)[0] == 0
    assert 30 <= _ping(Emulation(delay_ms=0, rate_mbit=0, loss=0.3), *options)[0] <= 70  # 0.7 twice: 49


def _namespaces() -> set[str]:
    listed = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    return {line.split()[0] for line in listed.splitlines()}


@needs_root
def test_nothing_is_left_behind_when_a_measurement_fails() -> None:
    made: list[str] = []

    def fail() -> None:
        with emulated(["a", "b"], Emulation()) as places:
            made.extend(place.namespace for place in places.values())
            assert _namespaces().issuperset(made)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert len(made) == 2
    assert _namespaces().isdisjoint(made)


def test_places_that_exist_are_read_in_either_form() -> None:
    plain = '{"a": {"ns": "x-a", "ip": "10.0.0.1", "ips": ["10.0.0.1"]}}'
    for text in (plain, f'{{"mode": "emu", "nodes": {plain}}}'):
        place = parse_places(text, ["a"])["a"]
        assert (place.namespace, place.address) == ("x-a", "10.0.0.1")
    with pytest.raises(SystemExit, match="missing: b"):
        parse_places(plain, ["a", "b"])
