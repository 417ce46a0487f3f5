"""What the checks of `macrovpn doctor` look at, and how they are made side by side, each within a time."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from core.errors import MacroVpnError
from node.client import NodeClient
from node.findings import Finding, Level

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from node.findings import OwnProxy
    from node.settings import Settings

LIMIT_S: Final = 4.0
"""How long a check may take; all begin together. A node that is asked for its wallet waits 3 s for the ledger."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the node says of itself. What it did not say is empty.

    Args:
        status, wallet, health: as its control interface gives them.
        peers, regions, pairings: their rows.
        error: why it said nothing.
    """

    status: Mapping[str, Any] = field(default_factory=dict)
    wallet: Mapping[str, Any] = field(default_factory=dict)
    health: Mapping[str, Any] = field(default_factory=dict)
    peers: tuple[Mapping[str, Any], ...] = ()
    regions: tuple[Mapping[str, Any], ...] = ()
    pairings: tuple[Mapping[str, Any], ...] = ()
    error: MacroVpnError | None = None

    @property
    def roles(self) -> tuple[str, ...]:
        """What the node does."""
        return tuple(self.status.get("roles", ()))

    @property
    def serves(self) -> bool:
        """Whether it works for others."""
        return bool({"relay", "exit"}.intersection(self.roles))


@dataclass(frozen=True, slots=True)
class Scene:
    """All that a check may look at.

    Args:
        home: the node's folder.
        user_home: the user's.
        environment: of programs that are started from here.
        settings: of the file; Firefox's and Chromium's are read by who needs them.
        own: where the node's proxy is, or would be.
        told: what the node says.
    """

    home: Path
    user_home: Path
    environment: Mapping[str, str]
    settings: Settings
    own: OwnProxy
    told: Told


def side_by_side[Key, Found](
    works: Mapping[Key, Callable[[], Found]], limit_s: float, done: Callable[[Key], None]
) -> dict[Key, Found | Exception]:
    """Do several things at once, each in a thread of its own, which is left alone when it takes too long.

    Args:
        works: what to do, by a key of the caller's.
        limit_s: how long to wait for all of it.
        done: told each key as its work is over.

    Returns:
        For each key what came of it, or what went wrong; `TimeoutError` for what took too long.
    """
    came: SimpleQueue[tuple[Key, Found | Exception]] = SimpleQueue()

    def do(key: Key, work: Callable[[], Found]) -> None:
        try:
            came.put((key, work()))
        except Exception as error:
            came.put((key, error))

    for key, work in works.items():
        threading.Thread(target=do, args=(key, work), name=f"look at {key}", daemon=True).start()
    found: dict[Key, Found | Exception] = {}
    end = time.monotonic() + limit_s
    while len(found) < len(works):
        try:
            key, result = came.get(timeout=max(0.0, end - time.monotonic()))
        except Empty:
            break
        found[key] = result
        done(key)
    return {key: found.get(key, TimeoutError()) for key in works}


def ask_node(home: Path, limit_s: float = LIMIT_S) -> Told:
    """Ask the node of a home for all that the checks want, at once."""

    def rows(path: str, name: str) -> tuple[Any, ...]:
        return tuple(NodeClient(home).get(path).get(name, ()))

    questions: dict[str, Callable[[], Any]] = {
        "status": lambda: NodeClient(home).status(),
        "wallet": lambda: NodeClient(home).wallet(),
        "health": lambda: NodeClient(home).health(),
        "peers": lambda: rows("peers", "peers"),
        "regions": lambda: rows("regions", "regions"),
        "pairings": lambda: rows("pairings", "pairings"),
    }
    found = side_by_side(questions, limit_s, lambda _: None)
    status = found["status"]
    if isinstance(status, Exception):
        return Told(error=status if isinstance(status, MacroVpnError) else SlowNodeError())
    return Told(**{name: value for name, value in found.items() if not isinstance(value, Exception)})


class SlowNodeError(MacroVpnError):
    """It is there and says nothing."""

    def __init__(self) -> None:
        super().__init__(f"The node did not answer within {LIMIT_S:.0f} s.")


def unchecked(check: str, why: str, remedy: str = "") -> Finding:
    """Say that something was not looked at.

    Args:
        check: which check it is.
        why: a sentence.
        remedy: how it can be looked at.
    """
    return Finding(check, Level.UNCHECKED, why, remedy)


def without_node(check: str, what: str) -> Finding:
    """Say that only a running node knows something.

    Args:
        check: which check it is.
        what: the something, the sentence's end.
    """
    return unchecked(check, f"Only a running node knows {what}.", "Start one with `macrovpn up`, and ask again.")
