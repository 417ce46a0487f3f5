"""Three tunnels of wireguard-go, one inside the other, from the client to two relays and the exit. Needs root.

It is the reference implementation in user space without the kernel's help, so no measure of WireGuard in a kernel.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from bench.far import CLIENT, EXIT, ORIGIN
from bench.network import wait_for
from bench.rivals.programs import Rival, programs, tell

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bench.namespaces import Place
    from bench.rivals.programs import Programs

TOOLS: Final = ("wireguard-go", "wg", "nft", "ip")
PACKAGES: Final = "wireguard-go wireguard-tools nftables iproute2"
HOPS: Final = ("r1", "r2", EXIT)
PLACES: Final = (CLIENT, *HOPS, ORIGIN)
_PORT: Final = 51820
_OUTER_MTU: Final = 1420
_LAYER_BYTES: Final = 80
"""What one tunnel adds to a packet."""
_MASQUERADE: Final = """table ip bench {{
    chain out {{ type nat hook postrouting priority 100; ip saddr {net}.0/24 masquerade; }}
}}"""
_READY_S: Final = 10.0


def _device(made: Programs, place: Place, name: str, address: str, mtu: int, port: int | None) -> str:
    """Make a tunnel's device in a place; returns its public key."""
    made.start(name, ["env", "LOG_LEVEL=error", "wireguard-go", "-f", name], place)
    key = tell("wg", "genkey").strip()
    file = made.folder / f"{name}.key"
    file.touch(mode=0o600)
    file.write_text(key)
    wait_for(name, partial(os.path.exists, f"/var/run/wireguard/{name}.sock"), _READY_S)
    listen = ["listen-port", str(port)] if port else []
    tell("wg", "set", name, "private-key", str(file), *listen, place=place)
    tell("ip", "address", "add", address, "dev", name, place=place)
    tell("ip", "link", "set", name, "mtu", str(mtu), "up", place=place)
    return tell("wg", "pubkey", text=key).strip()


@contextmanager
def running(places: Mapping[str, Place], target: str) -> Iterator[Rival]:
    """Run them. The client reaches one address through all three, and every other address past them.

    Args:
        places: as `PLACES` names them.
        target: an address of the origin's place.
    """
    tag = f"mv{os.getpid() % 10_000}"
    with programs() as made:
        client = places[CLIENT]
        for number, hop in enumerate(HOPS):
            place, mtu, net = places[hop], _OUTER_MTU - number * _LAYER_BYTES, f"10.99.{number}"
            near_name, far_name = f"{tag}n{number}", f"{tag}f{number}"
            far = _device(made, place, far_name, f"{net}.1/24", mtu, _PORT)
            near = _device(made, client, near_name, f"{net}.2/24", mtu, None)
            endpoint = f"{place.address}:{_PORT}"
            tell("wg", "set", near_name, "peer", far, "allowed-ips", "0.0.0.0/0", "endpoint", endpoint, place=client)
            tell("wg", "set", far_name, "peer", near, "allowed-ips", f"{net}.2/32", place=place)
            tell("nft", "-f", "-", place=place, text=_MASQUERADE.format(net=net))
            tell("sysctl", "-qw", "net.ipv4.ip_forward=1", place=place)
            inner = places[HOPS[number + 1]].address if number + 1 < len(HOPS) else target
            tell("ip", "route", "replace", f"{inner}/32", "dev", near_name, place=client)
        yield Rival("", made.pids)
