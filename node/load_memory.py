"""How much memory this process has, and how much it may have."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import Final

MACHINE_PART: Final = 0.5
"""Of a machine's memory, for a node: others use it too."""

GROUP_PART: Final = 0.8
"""Of what a control group (a container, a service) may have: beyond it, the kernel ends the process."""

_STATM: Final = Path("/proc/self/statm")
_GROUPS: Final = Path("/sys/fs/cgroup")
_OWN_GROUP: Final = Path("/proc/self/cgroup")
_PAGE_BYTES: Final = resource.getpagesize()


FALLS: Final = _STATM.exists()
"""Whether this system tells what a process has now, and not just the most that it ever had, as macOS does."""


def used_bytes(statm: Path = _STATM) -> int:
    """Bytes of memory that the process has, or without `FALLS` the most that it ever had."""
    try:
        return int(statm.read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def limit_bytes(groups: Path = _GROUPS, own_group: Path = _OWN_GROUP) -> int:
    """Bytes that the process may have: a part of the machine's memory, or of its control group's (cgroup v2)."""
    limit = MACHINE_PART * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for maximum in _group_limits(groups, own_group):
        limit = min(limit, GROUP_PART * maximum)
    return int(limit)


def _group_limits(groups: Path, own_group: Path) -> list[int]:
    """What the process's group and those around it may have."""
    try:
        lines = own_group.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        if line.startswith("0::/"):
            inside = Path(line.removeprefix("0::/"))
            for folder in (inside, *inside.parents):
                try:
                    found.append(int((groups / folder / "memory.max").read_text(encoding="ascii")))
                except (OSError, ValueError):
                    continue  # no such file, or "max"
    return found
