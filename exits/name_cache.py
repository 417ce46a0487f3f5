"""What was looked up, for each circuit apart, in memory and for minutes.

One cache for all would tell a client what others visit: a name that comes at once was asked for by somebody. So no
circuit's look-ups shorten, or push out, those of another one. When a circuit is gone, so is its part.
"""

from __future__ import annotations

import weakref
from math import inf
from typing import TYPE_CHECKING, Final

from core.errors import FlowError, Reason

if TYPE_CHECKING:
    from exits.lookup import Lookup

MAX_NAMES: Final = 128
"""Names that are kept for one circuit. A page asks for some tens."""

MAX_ALL_NAMES: Final = 8192
"""Names that are kept in all. One with 16 addresses takes 2.8 KB (`python -m bench names`), so all take up to 23 MB."""

MAX_CIRCUIT_LOOKUPS: Final = 64
"""Look-ups that run for one circuit at once."""


SWEEP_S: Final = 1.0
"""While all names are taken, what has expired is looked for so often, in seconds; that takes a millisecond."""


class NameCache:
    """Look-ups by circuit and name. A circuit is held weakly."""

    def __init__(self) -> None:
        self._circuits: dict[weakref.ref[object], dict[str, Lookup]] = {}
        self._count = 0
        self._swept_at = -inf

    def __len__(self) -> int:
        """Count the names of all circuits."""
        return self._count

    def get(self, circuit: object, name: str, now: float) -> Lookup | None:
        """Find what this circuit looked up, or is looking up."""
        names = self._circuits.get(weakref.ref(circuit), {})
        lookup = names.get(name)
        return lookup if lookup is not None and now < lookup.expires_at else None

    def make_room(self, circuit: object, now: float) -> bool:
        """Forget what has expired, and the oldest answer if this circuit, or all together, have too many.

        Returns:
            True if one more can be kept.

        Raises:
            FlowError: `BUSY` if too many look-ups run for this circuit.
        """
        names = self._circuits.get(weakref.ref(circuit), {})
        if sum(not lookup.is_done for lookup in names.values()) >= MAX_CIRCUIT_LOOKUPS:
            raise FlowError(Reason.BUSY)
        self._forget_expired(names, now)
        if self._count >= MAX_ALL_NAMES and now >= self._swept_at + SWEEP_S:
            self._swept_at = now
            for kept in self._circuits.values():
                self._forget_expired(kept, now)
        if len(names) >= MAX_NAMES or self._count >= MAX_ALL_NAMES:
            self._forget(names, [name for name, lookup in names.items() if lookup.is_done][:1])
        return len(names) < MAX_NAMES and self._count < MAX_ALL_NAMES

    def put(self, circuit: object, name: str, lookup: Lookup) -> None:
        """Keep a look-up; `make_room` has said that there is room."""
        names = self._circuits.setdefault(weakref.ref(circuit, self._gone), {})
        self._forget(names, [name] if name in names else [])
        names[name] = lookup
        self._count += 1

    def _forget_expired(self, names: dict[str, Lookup], now: float) -> None:
        self._forget(names, [name for name, lookup in names.items() if lookup.expires_at <= now])

    def _forget(self, names: dict[str, Lookup], chosen: list[str]) -> None:
        for name in chosen:
            del names[name]
        self._count -= len(chosen)

    def _gone(self, reference: weakref.ref[object]) -> None:
        self._count -= len(self._circuits.pop(reference, ()))
