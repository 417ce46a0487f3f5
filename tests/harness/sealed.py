"""A network of the tests' own, in which it is seen where clients go beside the proxy. Needs Linux and root."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from tests.harness.namespaces import Built, add, delete, enter, ip, put_up, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

CLIENT_GROUP: Final = 61_000
"""The group id under which clients run; nobody else has it. Their user stays root, who may read the tests' files."""

type Stray = tuple[str, str, int]
"""Address, `tcp` or `udp`, and port."""

_TABLE: Final = f"""
table inet clients {{
  set doors {{ type inet_service; }}
  counter knocks {{ }}
  set strays4 {{ type ipv4_addr . inet_proto . inet_service; flags dynamic; size 256; }}
  set strays6 {{ type ipv6_addr . inet_proto . inet_service; flags dynamic; size 256; }}
  chain out {{
    type filter hook output priority 0;
    meta l4proto != {{ tcp, udp }} accept
    meta skgid != {CLIENT_GROUP} accept
    meta l4proto tcp tcp flags & (syn | ack) != syn accept
    ip daddr 127.0.0.1 tcp dport @doors counter name knocks accept
    ip6 daddr ::1 tcp dport @doors counter name knocks accept
    add @strays4 {{ ip daddr . meta l4proto . th dport }}
    add @strays6 {{ ip6 daddr . meta l4proto . th dport }}
    oifname "out" reject
  }}
}}
"""


class Sealed(Built):
    """A namespace with loopback, and a device that leads nowhere for all other addresses.

    Whatever is started while it is entered stays in it. What a client sends elsewhere than to a door is written down,
    and refused unless it stays on this machine.
    """

    def __init__(self) -> None:
        self.name = f"sealed{os.getpid()}"

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Put the calling thread, and all that it starts, into the namespace."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        inside = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            os.setns(inside, os.CLONE_NEWNET)
            yield
        finally:
            os.setns(before, os.CLONE_NEWNET)
            os.close(inside)
            os.close(before)

    def open_door(self, port: int) -> None:
        """Let clients connect to a port on 127.0.0.1 and ::1."""
        self._nft(f"add element inet clients doors {{ {port} }}")

    def strays(self) -> set[Stray]:
        """Say where clients sent something else since this was asked last."""
        listed = json.loads(run(*enter(self.name), "nft", "-j", "list", "sets"))["nftables"]
        sets = [entry["set"] for entry in listed if "set" in entry and entry["set"]["name"].startswith("strays")]
        self._nft("flush set inet clients strays4; flush set inet clients strays6")
        return {(host, kind, port) for found in sets for host, kind, port in map(_concat, found.get("elem", ()))}

    def knocks(self) -> int:
        """Say how often clients tried to connect to a door since this was asked last."""
        listed = json.loads(run(*enter(self.name), "nft", "-j", "reset", "counters"))["nftables"]
        return sum(entry["counter"]["packets"] for entry in listed if "counter" in entry)

    def _nft(self, text: str) -> None:
        run(*enter(self.name), "nft", "-f", "-", text=text)

    def _build(self) -> None:
        add(self.name)
        ip("-n", self.name, "link", "add", "out", "type", "veth", "peer", "name", "nowhere")
        ip("-n", self.name, "link", "set", "nowhere", "up")
        put_up(self.name, "out", "198.51.100.1/24")  # RFC 5737 and RFC 3849: addresses for documentation
        ip("-n", self.name, "address", "add", "2001:db8::1/64", "dev", "out", "nodad")
        ip("-n", self.name, "route", "add", "default", "dev", "out")
        ip("-n", self.name, "-6", "route", "add", "default", "dev", "out")
        self._nft(_TABLE)

    def _tear_down(self) -> None:
        delete(self.name)


@contextmanager
def running_client(
    *command: str, environment: Mapping[str, str], group: int = CLIENT_GROUP
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program as a client, or under another group id, and end it and its children."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        group=group,
        extra_groups=(),
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):  # all of them have ended by themselves
                os.killpg(process.pid, signal.SIGKILL)


def in_group(folder: Path, program: str, group: int = CLIENT_GROUP) -> str:
    """Write a program that runs another one under a group id, with the same arguments; return its path."""
    made = folder / f"in-group-{group}"
    made.write_text(f'#!/bin/sh\nexec setpriv --regid {group} --clear-groups {program} "$@"\n')
    made.chmod(0o700)
    return str(made)


def _concat(element: dict[str, tuple[str, str, int]]) -> Stray:
    return element["concat"]
