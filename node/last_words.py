"""What a node says and leaves when something in it fails: a line with the place, no text of an error, no memory.

Python's own words hold the text of an error, which may name a destination. A core dump holds all of them.
"""

from __future__ import annotations

import logging
import resource
import sys
import threading
from typing import TYPE_CHECKING, Final

from core.fault import place

if TYPE_CHECKING:
    from types import TracebackType

NO_CORE: Final = 1
"""A limit in bytes at which Linux writes no core file and gives none to a program either, as it would at 0.

Source: Linux, `fs/coredump.c`: of a pipe, 1 is "a special value" that ends the dump; a file has to hold a page.
"""

_log = logging.getLogger(__name__)


def prepare() -> None:
    """From now on, say no more than the place of what nobody caught, and let the system keep no memory of this process.

    Where the system allows no core file to begin with, its limit stays as it is.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    limit = hard if hard == 0 else NO_CORE
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))
    sys.excepthook = _ended
    threading.excepthook = _thread_ended
    sys.unraisablehook = _passed_over


def _ended(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What ends the process."""
    _log.critical("ended by an unexpected error: %s", place(error))


def _thread_ended(arguments: threading.ExceptHookArgs) -> None:
    _log.error("unexpected error in a thread: %s", _place(arguments.exc_value))


def _passed_over(arguments: sys.UnraisableHookArgs) -> None:
    """What is raised where nobody can catch it: as an object is removed, or in a call from C."""
    _log.error("unexpected error: %s", _place(arguments.exc_value))


def _place(error: BaseException | None) -> str:
    return place(error) if error is not None else "without exception"
