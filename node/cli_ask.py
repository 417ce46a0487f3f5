"""The running node as commands ask it: patient with one that starts, and never silent for long."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from core.errors import MacroVpnError
from node.cli_common import say
from node.client import LIMIT_S, NodeClient, NoNodeError, StartingNodeError
from node.files import lock_holder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

SILENT_S: Final = 1.0
"""What takes longer says so."""
START_WAIT_S: Final = 5.0
"""A node that starts has its control interface after a second, on a busy machine after two."""
_STEP_S: Final = 0.05


@contextmanager
def telling(text: str) -> Iterator[None]:
    """Write a line of progress on standard error if what follows takes longer than a second."""
    timer = threading.Timer(SILENT_S, say, (text,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class _Asked(NodeClient):
    """A node whose answers are waited for in the sight of the user."""

    def call(
        self, method: str, name: str, limit_s: float = LIMIT_S, arguments: Mapping[str, object] | None = None
    ) -> bytes:
        with telling(f"Waiting for the node, for {limit_s:.0f} s at most …"):
            return super().call(method, name, limit_s, arguments)


class WrittenError(MacroVpnError):
    """Something was written into the settings, and the node that runs does not go by it.

    Args:
        what: was written.
        error: why not.
    """

    def __init__(self, what: str, error: MacroVpnError) -> None:
        super().__init__(f"The {what} are written, but the running node does not go by them yet. {error}")


def told(home: Path, what: str, tell: Callable[[NodeClient], object]) -> bool:
    """Have the node of a home read again what was written.

    Args:
        home: the node's folder.
        what: was written, for the error.
        tell: asks the node.

    Returns:
        Whether one runs.

    Raises:
        WrittenError: it did not do it.
    """
    try:
        tell(ask(home))
    except NoNodeError:
        return False
    except MacroVpnError as error:
        raise WrittenError(what, error) from error
    return True


def ask(home: Path, wait_s: float | None = None) -> NodeClient:
    """Find the node that runs in a home.

    What a node left behind is not asked: its port may be somebody else's by now, who would get its token.

    Args:
        home: the node's folder.
        wait_s: patience with a node that is starting; None for `START_WAIT_S`.

    Raises:
        NoNodeError: none runs there.
        StartingNodeError: it is still starting after that time.
    """
    deadline = time.monotonic() + (START_WAIT_S if wait_s is None else wait_s)
    with telling("The node is starting …"):
        while (pid := lock_holder(home)) is not None:
            try:
                client = _Asked(home)
                if client.pid == pid:
                    return client
            except NoNodeError:
                pass
            if time.monotonic() >= deadline:
                raise StartingNodeError(home, pid)
            time.sleep(_STEP_S)
    raise NoNodeError(home)
