"""Network namespaces, one for each place of a network. Needs root and the `ip` command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bench.emulator import DEVICE, joined

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from bench.emulator import Emulation

_NET: Final = "10.83.0"
_MTU: Final = "1500"


@dataclass(frozen=True, slots=True)
class Place:
    """A namespace and the IPv4 address in it at which others reach it."""

    namespace: str
    address: str

    @property
    def enter(self) -> tuple[str, ...]:
        """The words before a command that runs there."""
        return ("ip", "netns", "exec", self.namespace)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _place(names: Sequence[str]) -> dict[str, Place]:
    return {name: Place(f"mv{os.getpid()}-{name}", f"{_NET}.{number}") for number, name in enumerate(names, 1)}


@contextmanager
def _namespaces(places: Iterable[Place]) -> Iterator[None]:
    """Make them, and remove them at the end.

    Raises:
        SystemExit: that needs root, or a program that is missing.
    """
    missing = [tool for tool in ("ip", "gcc") if shutil.which(tool) is None]
    if os.geteuid() or missing:
        raise SystemExit(f"this needs root, and {' and '.join(missing) or 'nothing else'}")
    try:
        for place in places:
            _ip("netns", "add", place.namespace)
            _ip("-n", place.namespace, "link", "set", "lo", "up")
        yield
    finally:
        for place in places:
            subprocess.run(["ip", "netns", "delete", place.namespace], stderr=subprocess.DEVNULL, check=False)


@contextmanager
def emulated(names: Sequence[str], emulation: Emulation) -> Iterator[dict[str, Place]]:
    """Make a namespace for each name, every one of them far from every other; remove them at the end."""
    places = _place(names)
    with (
        _namespaces(places.values()),
        joined(emulation, [(place.namespace, place.address) for place in places.values()]),
    ):
        for place in places.values():
            _ip("-n", place.namespace, "address", "add", f"{place.address}/24", "dev", DEVICE)
            _ip("-n", place.namespace, "link", "set", DEVICE, "mtu", _MTU, "up")
        yield places


@contextmanager
def bridged(names: Sequence[str]) -> Iterator[dict[str, Place]]:
    """Make a namespace for each name, all on one bridge of the kernel's; remove them at the end."""
    places = _place(names)
    hub = Place(f"mv{os.getpid()}-hub", "")
    with _namespaces([hub, *places.values()]):
        _ip("-n", hub.namespace, "link", "add", "bridge", "type", "bridge")
        _ip("-n", hub.namespace, "link", "set", "bridge", "up")
        for number, place in enumerate(places.values()):
            peer = ["peer", "name", f"port{number}", "netns", hub.namespace]
            _ip("-n", place.namespace, "link", "add", DEVICE, "type", "veth", *peer)
            _ip("-n", hub.namespace, "link", "set", f"port{number}", "master", "bridge", "up")
            _ip("-n", place.namespace, "address", "add", f"{place.address}/24", "dev", DEVICE)
            _ip("-n", place.namespace, "link", "set", DEVICE, "up")
        yield places


def parse_places(text: str, names: Sequence[str]) -> dict[str, Place]:
    """Read places that exist already.

    Args:
        text: JSON, `{name: {"ns": namespace, "ip": address}}`, perhaps with more beside it, or inside `nodes`.
        names: those that are needed.

    Raises:
        SystemExit: one is missing.
    """
    state: dict[str, Any] = json.loads(text)
    found = state.get("nodes", state)
    if missing := [name for name in names if name not in found]:
        raise SystemExit(f"these places are missing: {', '.join(missing)}")
    return {name: Place(found[name]["ns"], found[name]["ip"]) for name in names}


@contextmanager
def existing(file: Path, names: Sequence[str]) -> Iterator[dict[str, Place]]:
    """Use namespaces that somebody else made and keeps."""
    yield parse_places(file.read_text(), names)
