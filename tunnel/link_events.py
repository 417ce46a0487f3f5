"""Whom a link tells what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from core.errors import Reason
    from tunnel.control import Kind
    from tunnel.link import Link
    from tunnel.link_stream import LinkStream, StreamReceiver


class CircuitOwner(Protocol):
    """Who is told that a circuit of this link was destroyed by the other side, or went with the link."""

    def destroyed(self, reason: Reason) -> None: ...


class CircuitMaker(CircuitOwner, Protocol):
    """Who made a circuit over this link, and hears of the hops after it."""

    def leaving(self, hops: int) -> None:
        """The neighbour is about to stop, or a hop so many places after it. Called once at most."""


class LinkEvents(Protocol):
    """What a link tells its node. Calls come from the event loop."""

    def link_up(self, link: Link) -> None: ...

    def link_down(self, link: Link) -> None: ...

    def creation(self, link: Link, circuit: int, message: bytes) -> None:
        """The other side asks for a circuit. Answer with `Link.answer`."""

    def stream_opened(self, stream: LinkStream, body: memoryview) -> StreamReceiver:
        """The other side opened a stream; `body` is its first message, which the receiver is given next.

        Raises:
            DecodeError: it belongs to nothing.
        """

    def gossip(self, link: Link, body: bytes) -> None: ...

    def payment(self, link: Link, body: bytes) -> None:
        """A message about money, at most `MAX_PAYMENT` bytes.

        Raises:
            DecodeError: it is malformed.
        """

    def whereabouts(self, link: Link, kind: Kind, body: bytes) -> None:
        """A message about where peers are: one of `tunnel.address_messages`, HOLD or HELD.

        Raises:
            DecodeError: it is malformed.
        """
