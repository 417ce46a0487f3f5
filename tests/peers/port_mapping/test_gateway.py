"""The gateway, as two kinds of systems tell of it."""

from __future__ import annotations

import struct
import sys
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest

from peers.port_mapping import gateway
from peers.port_mapping.gateway import Gateway, find_gateway, parse_linux_routes, parse_route_command

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"


def route(host: str, metric: int, *, destination: str = "0.0.0.0", mask: str = "0.0.0.0", flags: int = 3) -> str:
    words = [f"{struct.unpack('=I', IPv4Address(text).packed)[0]:08X}" for text in (destination, host, mask)]
    return f"eth0\t{words[0]}\t{words[1]}\t{flags:04X}\t0\t0\t{metric}\t{words[2]}\t0\t0\t0\n"


def test_the_default_route_with_the_lowest_metric_names_the_gateway() -> None:
    text = HEAD + route("192.168.1.1", 600) + route("192.168.77.1", 100) + route("10.0.0.1", 200)
    assert parse_linux_routes(text) == "192.168.77.1"


@pytest.mark.parametrize(
    "line",
    [
        "",
        route("192.168.1.1", 0, destination="192.168.0.0", mask="255.255.0.0"),
        route("192.168.1.1", 0, mask="128.0.0.0"),  # half of everything, as VPNs do it
        route("0.0.0.0", 0, flags=1),  # without a router
        route("192.168.1.1", 0, flags=2),  # not up
        "cut off\n",
    ],
)
def test_other_routes_name_none(line: str) -> None:
    assert parse_linux_routes(HEAD + line) is None


def test_the_route_command_names_the_gateway() -> None:
    text = (
        "   route to: default\ndestination: default\n       mask: default\n    gateway: 192.168.1.1\n  interface: en0\n"
    )
    assert parse_route_command(text) == "192.168.1.1"
    assert parse_route_command(text.replace("192.168.1.1", "link#15")) is None
    assert parse_route_command("route: writing to routing socket: not in table\n") is None


async def test_own_address_is_the_one_towards_the_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(gateway, "_ROUTES", tmp_path / "route")
    assert await find_gateway() is None
    (tmp_path / "route").write_text(HEAD + route("127.0.0.9", 0))
    assert await find_gateway() == Gateway("127.0.0.9", "127.0.0.1")


async def test_without_the_route_command_there_is_no_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(gateway, "_ROUTE_COMMAND", (str(tmp_path / "route"),))
    assert await find_gateway() is None


async def test_the_route_command_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(gateway, "_ROUTE_COMMAND", ("/bin/echo", "    gateway: 127.0.0.9"))
    assert await find_gateway() == Gateway("127.0.0.9", "127.0.0.1")


async def test_a_route_command_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(gateway, "_ROUTE_COMMAND", ("/bin/sleep", "60"))
    monkeypatch.setattr(gateway, "_COMMAND_LIMIT_S", 0.05)
    assert await find_gateway() is None
