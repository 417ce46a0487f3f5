"""Free ports, found by trying."""

from __future__ import annotations

import socket

import pytest

from core.errors import MacroVpnError
from node import ports
from node.ports import free_udp_ports, require_loopback_network


def test_ports_are_different_and_free() -> None:
    found = free_udp_ports(50)
    assert len(set(found)) == 50
    for port in found:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("", port))


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_port_that_somebody_has_is_left_out(
    monkeypatch: pytest.MonkeyPatch, family: socket.AddressFamily, host: str
) -> None:
    taken, free = free_udp_ports(2)
    monkeypatch.setattr(ports, "_PORTS", [taken, free])
    monkeypatch.setattr(ports, "_TRIES", 1)
    with socket.socket(family, socket.SOCK_DGRAM) as holder:
        holder.bind((host, taken))
        assert [free_udp_ports(1) for _ in range(8)] == [[free]] * 8
        monkeypatch.setattr(ports, "_TRIES", 0)
        with pytest.raises(MacroVpnError, match="no 2 free UDP ports"):
            free_udp_ports(2)


def test_ports_are_none_that_are_given_away() -> None:
    assert max(free_udp_ports(50)) < 32_768


def test_an_address_of_another_machine_is_told() -> None:
    require_loopback_network("127.0.0.1")
    with pytest.raises(MacroVpnError, match="this system has no 203"):
        require_loopback_network("203.0.113.7")
