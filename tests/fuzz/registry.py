"""All targets, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.fuzz import doors, exchanges, peers, routers, tunnel

if TYPE_CHECKING:
    from tests.fuzz.target import Target

TARGETS: Final[dict[str, Target]] = {
    target.name: target
    for target in (*tunnel.TARGETS, *peers.TARGETS, *doors.TARGETS, *exchanges.TARGETS, *routers.TARGETS)
}
