"""A client's guards, read from its home and written there when they change."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from peers import guard_store
from peers.guards import PinnedHops

if TYPE_CHECKING:
    from pathlib import Path

GUARDS_NAME: Final = "guards"

_log = logging.getLogger(__name__)


class KeptGuards:
    """The guards and second hops of one home. A file that cannot be used costs a warning, and not the node.

    Args:
        home: an existing folder.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / GUARDS_NAME
        try:
            self.pins = guard_store.load(self._path)
        except OSError as error:
            _log.warning("the file of guards cannot be read, so guards are drawn anew: %s", type(error).__name__)
            self.pins = PinnedHops()

    def save(self) -> None:
        """Write them down, if there is something new."""
        if not self.pins.unsaved:
            return
        self.pins.unsaved = False
        try:
            guard_store.save(self._path, self.pins)
        except OSError as error:
            _log.warning("the file of guards cannot be written: %s", type(error).__name__)
