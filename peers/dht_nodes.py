"""Nodes of the DHT on disk, so that a node that starts again needs no public router.

The file is a first line, then a line for each node: `203.0.113.7:6881`, `[2001:db8::7]:6881`. They are strangers'
machines, near a name that this node has given up since.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
from typing import TYPE_CHECKING, Final

from core.errors import DecodeError
from peers.files import read_bounded, write_private

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from peers.addresses import Address

FIRST_LINE: Final = "macro-vpn dht 1"
MAX_NODES: Final = 200
MAX_FILE_BYTES: Final = 64 * (1 + MAX_NODES)

_LINE: Final = re.compile(r"(?:\[([0-9a-f:.]{2,45})\]|([0-9.]{7,15})):([1-9][0-9]{0,4})")

_log = logging.getLogger(__name__)


def save(path: Path, nodes: Iterable[Address]) -> None:
    """Write nodes, 200 at most, mode 0600, whole or not at all.

    Args:
        path: the file; its folder must exist.
        nodes: what to write.

    Raises:
        OSError: it could not be written; the file is as it was.
    """
    lines = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in nodes][:MAX_NODES]
    write_private(path, "\n".join((FIRST_LINE, *lines, "")).encode())


def load(path: Path) -> list[Address]:
    """Read nodes. A file that is damaged is renamed to `*.bad`, with a warning, and nothing of it is used.

    Args:
        path: the file; it may be missing.

    Raises:
        OSError: there is a file and it cannot be read or renamed.
    """
    try:
        data, _ = read_bounded(path, MAX_FILE_BYTES)
    except FileNotFoundError:
        return []
    try:
        return _decode(data)
    except (DecodeError, ValueError):
        os.replace(path, path.with_name(f"{path.name}.bad"))
        _log.warning("the file of remembered DHT nodes was damaged: it is set aside")
        return []


def _decode(data: bytes) -> list[Address]:
    first, *lines = data.decode("ascii").split("\n")
    if len(data) > MAX_FILE_BYTES or first != FIRST_LINE or len(lines) > MAX_NODES + 1 or lines[-1:] != [""]:
        raise DecodeError("remembered DHT nodes", "wrong size, first line or end")
    return [_node(line) for line in lines[:-1]]


def _node(line: str) -> Address:
    found = _LINE.fullmatch(line)
    if found is None or int(found[3]) > 65535:
        raise DecodeError("remembered DHT nodes", "no address and port")
    host = ipaddress.ip_address(found[1] or found[2])
    return str(host), int(found[3])
