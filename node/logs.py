"""What a node's log says: this project's own lines, and of a library's lines only where they came from.

Lines of this project hold no host, address or time. Those of libraries can: an HTTP server names the address of a
client, asyncio's debug mode a name that is being looked up, a warning of Python the ends of a socket. So their words
are withheld at every level.
"""

from __future__ import annotations

import logging
from typing import Final

OWN: Final = frozenset({"core", "pac", "ledger", "tunnel", "peers", "exits", "proxy", "node", "__main__"})
"""The packages whose words are shown."""


class OwnWords(logging.Formatter):
    """Formats a line as `LEVEL module: sentence`; of a library's line, the place alone."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one line. A traceback is left out, since the text of an error may name a destination."""
        words = record.getMessage() if _is_own(record) else f"said something ({record.filename}:{record.lineno})"
        return f"{record.levelname} {record.name}: {words}"


def set_up(level: str, handler: logging.Handler | None = None) -> None:
    """Begin to log. What was set up first stays.

    Args:
        level: `warning`, `info` or `debug`.
        handler: where lines go; None for standard error.
    """
    handler = handler or logging.StreamHandler()
    handler.setFormatter(OwnWords())
    handler.addFilter(_is_wanted)
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.captureWarnings(True)


def _is_own(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] in OWN


def _is_wanted(record: logging.LogRecord) -> bool:
    """Tell whether a line is worth a place: every one of ours, and a library's trouble."""
    return _is_own(record) or record.levelno >= logging.WARNING
