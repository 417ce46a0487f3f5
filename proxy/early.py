"""When a client's first bytes are sent before the exit has connected.

It saves a trip of the chain. It costs the other circuits: a flow that carries bytes is never opened elsewhere, should
its exit be dead. Where the client must be told "granted" for it, it costs the precise reply as well: one whose
destination cannot be reached sees a connection that opens and is reset. So there it is done where the client speaks
first, and not for a destination that failed a short while ago: whoever tries again reads the reason.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final, Literal

from core.errors import Reason

if TYPE_CHECKING:
    from core.flow import FlowRequest

type EarlyMode = Literal["auto", "always", "never"]

CLIENT_FIRST_PORTS: Final = frozenset({80, 443, 8000, 8008, 8080, 8081, 8443, 8888})
"""Ports of HTTP and of HTTP over TLS, where the client speaks first. Where the server does, as in SSH or SMTP, the
client waits for it anyway, and an early word saves nothing."""

REMEMBERED_S: Final = 300.0
MAX_REMEMBERED: Final = 1024
_DIGEST_BYTES: Final = 16

_NO_FAILURES: Final = frozenset({Reason.DONE, Reason.LOCAL, Reason.RESET})
"""How a flow ends that was opened, though nothing came back on it."""


class Earliness:
    """Decides for each request, and remembers destinations that could not be reached.

    They are kept as keyed hashes and only in memory, so that no list of hosts can be read out of it.

    Args:
        mode: `auto` for the rule above; `always` does not ask for the port; `never` says "granted" only when the exit
            has connected.
        key: 16 random bytes, new for each process.
    """

    def __init__(self, mode: EarlyMode, key: bytes) -> None:
        self._mode = mode
        self._key = key
        self._failures: dict[bytes, float] = {}

    def allows(self, request: FlowRequest, now: float, *, promises: bool) -> bool:
        """Whether bytes may be sent early.

        Args:
            request: what the client asked for.
            now: seconds that only rise.
            promises: the client must be told "granted" before it sends.
        """
        if not promises:
            return True
        if self._mode == "never" or self._failed_lately(request, now):
            return False
        return self._mode == "always" or request.port in CLIENT_FIRST_PORTS

    def refused(self, request: FlowRequest, now: float) -> None:
        """A flow was not opened."""
        name = self._name(request)
        self._failures.pop(name, None)
        if len(self._failures) >= MAX_REMEMBERED:
            del self._failures[next(iter(self._failures))]
        self._failures[name] = now

    def ended(self, request: FlowRequest, reason: Reason, now: float) -> None:
        """A flow has ended on which nothing came; that it was not opened shows in the reason."""
        if reason not in _NO_FAILURES:
            self.refused(request, now)

    def opened(self, request: FlowRequest) -> None:
        """The exit has connected a flow."""
        self._failures.pop(self._name(request), None)

    def _failed_lately(self, request: FlowRequest, now: float) -> bool:
        while self._failures:
            oldest = next(iter(self._failures))
            if now - self._failures[oldest] < REMEMBERED_S:
                break
            del self._failures[oldest]
        return self._name(request) in self._failures

    def _name(self, request: FlowRequest) -> bytes:
        text = f"{request.port} {request.host} {request.isolation}"
        return blake2b(text.encode(), digest_size=_DIGEST_BYTES, key=self._key).digest()
