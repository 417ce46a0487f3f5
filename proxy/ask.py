"""What a client asked for, in one form for SOCKS5 and HTTP, and the places where it can fail."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from core.flow import Flow

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.errors import Reason
    from core.flow import FlowRequest


class Place(Enum):
    """Which way a request goes, and where it was refused; it decides the sentence that the user reads."""

    TUNNEL = "tunnel"
    DIRECT = "direct"
    TRUSTED = "trusted"
    NODE = "node"
    BLOCKED = "blocked"
    OFF = "off"


class Wrapped(Flow, Protocol):
    """A flow behind something that speaks with the client for it.

    Attributes:
        failure: why the client was told of a failure; None if it was not.
        rest: what the client has sent beyond what is over, when its connection can be used again; else None.
        eof: the client sends nothing more.
    """

    failure: Reason | None
    rest: bytes | None
    eof: bool


@dataclass(slots=True, repr=False)
class Ask:
    """A connection that a client wants.

    Args:
        request: where to.
        scheme: `http` or `https` when the words or the port tell; None otherwise.
        granted: bytes to send to the client once the flow is open; empty when nothing is promised before the answer.
        refusal: makes the bytes to send when it cannot be opened.
        early: bytes that were read with the request and belong into the flow.
        wrap: puts something between the client and the flow.
    """

    request: FlowRequest
    scheme: str | None
    granted: bytes
    refusal: Callable[[Reason, Place], bytes]
    early: bytes = b""
    wrap: Callable[[Flow], Wrapped] | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Associate:
    """A UDP association that a client wants.

    Args:
        isolation: as in a `FlowRequest`.
        port: from which the client says it will send; 0 when it does not know yet.
    """

    isolation: str
    port: int


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """Last words to a client that gets no flow.

    Args:
        data: what to send before the connection is closed; may be empty.
        word: under which name it is counted.
    """

    data: bytes
    word: str
