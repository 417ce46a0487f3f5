"""All targets, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.fuzz import doors, exchanges, money, peers, routers, servers, settings, system, tunnel, wireguard

if TYPE_CHECKING:
    from tests.fuzz.target import Target

_ALL: Final = (tunnel, wireguard, peers, doors, exchanges, routers, money, servers, settings, system)

TARGETS: Final[dict[str, Target]] = {target.name: target for module in _ALL for target in module.TARGETS}
