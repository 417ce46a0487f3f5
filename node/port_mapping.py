"""When this node asks the home router for a port, and what `status` says about it."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from exits.addresses import is_public
from peers.port_mapping.service import PortMapping, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from node.settings import Settings
    from peers.addresses import Address

_SENTENCES: Final = {
    State.SEARCHING: "asking the router for a port",
    State.PCP: "the router passes a port on to this machine (PCP)",
    State.NAT_PMP: "the router passes a port on to this machine (NAT-PMP)",
    State.UPNP: "the router passes a port on to this machine (UPnP)",
    State.NONE: "no router passes a port on to this machine; forward one by hand and set peers.address",
    State.BEHIND_ANOTHER_NAT: "the router passes a port on, but has no public address: it is behind another NAT",
}


def start_port_mapping(
    settings: Settings, port: int, on_mapped: Callable[[Address | None], None]
) -> PortMapping | None:
    """Begin to ask for a port, if this node serves others and nobody has said where they reach it.

    Args:
        settings: checked settings.
        port: the UDP port that links come in on.
        on_mapped: see `PortMapping`.

    Returns:
        None where nothing is asked.
    """
    serves = {"relay", "exit"}.intersection(settings.node.roles)
    if not serves or not settings.peers.port_mapping or settings.peers.address:
        return None
    mapping = PortMapping(port, on_mapped, lambda host: is_public(ipaddress.ip_address(host)))
    mapping.start()
    return mapping


def port_mapping_sentence(word: str) -> str:
    """Say in words what a word of `status` means; empty for `off` and for a word of another version."""
    return _SENTENCES.get(State(word), "") if word in set(State) else ""
