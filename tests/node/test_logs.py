"""What gets into a log: our words, and none of a library's."""

from __future__ import annotations

import io
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from node import logs

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def bare_root() -> Iterator[io.StringIO]:
    """Take away from the root logger what pytest put there, and give what logs can be written to."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    try:
        yield io.StringIO()
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def test_a_library_is_named_and_not_quoted() -> None:
    with bare_root() as written:
        logs.set_up("debug", logging.StreamHandler(written))
        logging.getLogger("node.somewhere").debug("a state has changed: %s", "up")
        logging.getLogger("aiohttp.server").debug("Error handling request from %s", "192.0.2.7")
        try:
            raise OSError("192.0.2.7 is gone")
        except OSError:
            logging.getLogger("node.somewhere").exception("it failed")
            logging.getLogger("asyncio").exception("Getting address info %s took long", "canary.test")
    lines = written.getvalue().splitlines()
    assert lines[:2] == ["DEBUG node.somewhere: a state has changed: up", "ERROR node.somewhere: it failed"]
    assert lines[2].startswith("ERROR asyncio: said something (test_logs.py:")
    assert len(lines) == 3, "a library's debug lines are left out, and so are tracebacks"


def test_the_level_counts_and_what_was_set_up_first_stays() -> None:
    with bare_root() as written:
        logs.set_up("warning", logging.StreamHandler(written))
        logs.set_up("debug")
        logging.getLogger("tunnel.link").info("unseen")
        logging.getLogger("tunnel.link").warning("seen")
    assert written.getvalue() == "WARNING tunnel.link: seen\n"
