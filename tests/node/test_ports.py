"""Free ports, found by trying."""

from __future__ import annotations

import socket

import pytest

from core.errors import MacroVpnError
from node.ports import free_udp_ports, require_loopback_network


def test_ports_are_different_and_free() -> None:
    ports = free_udp_ports(50)
    assert len(set(ports)) == 50
    for port in ports:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("", port))


def test_an_address_of_another_machine_is_told() -> None:
    require_loopback_network("127.0.0.1")
    with pytest.raises(MacroVpnError, match="this system has no 203"):
        require_loopback_network("203.0.113.7")
