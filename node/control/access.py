"""Who may ask what."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from enum import Flag, auto
from typing import TYPE_CHECKING, Final

from node.control.pairing import EXTENSION_ORIGIN, TOKEN_BYTES, digest_of

if TYPE_CHECKING:
    from aiohttp import web

    from node.control.pairing import Pairings

MAX_PAGES: Final = 16
"""Pages that hold a token at once; one more costs the oldest its own."""

_READING: Final = frozenset({"GET", "HEAD"})
"""Browsers send no `Origin` with these when the page or extension may read the answer anyway."""


class Who(Flag):
    """Kinds of callers. The last two have no token yet, and trade a code for one."""

    PROGRAM = auto()
    EXTENSION = auto()
    PAGE = auto()
    NEW_EXTENSION = auto()
    NEW_PAGE = auto()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Args:
        who: of which kind.
        origin: where an extension or a page stands; empty where that was not said.
        id: tells tokens apart.
    """

    who: Who
    origin: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class Denial:
    """Why somebody gets no answer."""

    status: int
    sentence: str


WRONG_HOST: Final = Denial(403, "The Host header names another host.")
FOREIGN: Final = Denial(403, "Requests from web pages are refused.")
NO_TOKEN: Final = Denial(401, "The token is missing or wrong; it stands in the token file, or comes with a code.")
OTHER_ORIGIN: Final = Denial(403, "This token counts only from where it was given to.")
NOT_FOR_YOU: Final = Denial(403, "This is not for whom you are: programs of this user may ask it.")


class Access:
    """Tells callers from others.

    Args:
        pairings: the paired extensions.
    """

    def __init__(self, pairings: Pairings) -> None:
        self.pairings = pairings
        self.token = ""
        self.port = 0
        self._own: tuple[str, ...] = ()
        self._pages: dict[str, None] = {}

    def open(self, token: str, port: int) -> None:
        """Begin.

        Args:
            token: of programs.
            port: the interface's own.
        """
        self.token, self.port = token, port
        self._own = (f"127.0.0.1:{port}", f"localhost:{port}")

    def new_page(self) -> str:
        """Make a token for a page of the dashboard; it counts until the node stops."""
        token = secrets.token_hex(TOKEN_BYTES)
        self._pages[digest_of(token)] = None
        if len(self._pages) > MAX_PAGES:
            del self._pages[next(iter(self._pages))]
        return token

    def knows(self, caller: Caller) -> bool:
        """Whether a caller's token still counts."""
        match caller.who:
            case Who.EXTENSION:
                return any(paired.id == caller.id for paired in self.pairings)
            case Who.PAGE:
                return caller.id in self._pages
        return True

    def origin_of(self, request: web.Request) -> str | Denial:
        """Check where a request was sent, and from where.

        Returns:
            The origin, if it may be that of an extension or is the interface's own; empty without one.
        """
        if request.headers.getall("Host", []) not in ([own] for own in self._own):
            return WRONG_HOST
        match request.headers.getall("Origin", []):
            case []:
                return ""
            case [str(origin)] if self._is_own(origin) or EXTENSION_ORIGIN.fullmatch(origin):
                return origin
        return FOREIGN

    def _is_own(self, origin: str) -> bool:
        return origin in [f"http://{own}" for own in self._own]

    def caller(self, request: web.Request, wanted: Who) -> Caller | Denial:
        """Find out who asks, and whether they may.

        Args:
            request: what is asked.
            wanted: who may ask it.
        """
        origin = self.origin_of(request)
        if isinstance(origin, Denial):
            return origin
        if wanted in (Who.NEW_EXTENSION, Who.NEW_PAGE):
            is_own = self._is_own(origin)
            right = is_own if wanted is Who.NEW_PAGE else bool(origin) and not is_own
            return Caller(wanted, origin) if right else FOREIGN
        caller = self._holder(request.headers.get("Authorization", ""), origin)
        if isinstance(caller, Denial):
            return caller
        if not origin and caller.who is not Who.PROGRAM and request.method not in _READING:
            return OTHER_ORIGIN
        return caller if caller.who & wanted else NOT_FOR_YOU

    def _holder(self, authorization: str, origin: str) -> Caller | Denial:
        """Find out whose token it is, and whether it comes from where it may."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return NO_TOKEN
        if secrets.compare_digest(token.encode("utf-8", "surrogateescape"), self.token.encode()):
            return Caller(Who.PROGRAM) if not origin else FOREIGN
        if (digest := digest_of(token)) in self._pages:
            return Caller(Who.PAGE, origin, digest) if not origin or self._is_own(origin) else OTHER_ORIGIN
        if (paired := self.pairings.find(token)) is not None:
            return Caller(Who.EXTENSION, origin, paired.id) if origin in ("", paired.origin) else OTHER_ORIGIN
        return NO_TOKEN
