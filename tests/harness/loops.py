"""The event loops on which tests of real sockets run."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable

VARIABLE: Final = "TEST_EVENT_LOOPS"
"""Names of loops with commas between them; without it, tests run on all."""

LOOPS: Final = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def chosen_loops() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loops by their names.

    Raises:
        KeyError: a name is wrong.
    """
    names = os.environ.get(VARIABLE, ",".join(LOOPS)).split(",")
    return {name: LOOPS[name] for name in names}
