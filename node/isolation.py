"""Which flows may share a circuit where the browser does not say.

A *site* is a registrable domain: `example.co.uk` with all names under it, and `somebody.github.io` alone. Sites are
dealt out to a few isolation keys by a keyed hash: a site keeps its key, and no key, so no circuit, has all sites.
Nothing is remembered of them. To which page a host belongs is not known here.

What the user wants for a site is part of its key; a site that shall share with no other has a key of its own.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import astuple, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from publicsuffixlist import PublicSuffixList

from core.flow import NO_OPTIONS, SiteOptions
from pac.hosts import read_host

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.flow import DatagramFlow, Flow, FlowRequest
    from proxy.dialer import Dialer

type Registrable = Callable[[str], str | None]
"""Gives a lower-case name's registrable domain; None for a name that is a public suffix itself."""

DATAGRAMS_KEY: Final = "datagrams"
"""The key of UDP associations without a user name. Their datagrams go to many sites, but must leave at one exit, as
programs tell one host under which address another sees them. So they share no circuit with any site's connections."""

SECRET_BYTES: Final = 16
_DIGEST_BYTES: Final = 16


def site_of(host: str, registrable: Registrable) -> str:
    """Name the site that a host belongs to.

    Args:
        host: any text; what is no host is a site of its own.
        registrable: the public suffix list.

    Returns:
        The registrable domain in lower case, the address in its shortest form, or else the host as it came.
    """
    found = read_host(host)
    if found is None:
        return host
    return (registrable(found) or found) if isinstance(found, str) else str(found)


def beyond(own: SiteOptions, wanted: SiteOptions) -> SiteOptions:
    """Leave out of a site's options what the node does anyway.

    Args:
        own: what the settings say.
        wanted: what the user wants for the site.
    """
    regions = _upper(wanted.regions)
    return replace(
        wanted,
        regions=None if regions == _upper(own.regions) else regions,
        mode=None if wanted.mode == own.mode else wanted.mode,
        max_tariff=None if wanted.max_tariff == own.max_tariff else wanted.max_tariff,
    )


def _upper(regions: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return None if regions is None else tuple(region.upper() for region in regions)


class SiteIsolation:
    """Gives each flow its isolation key on its way to a dialer. Implements `proxy.dialer.Dialer`.

    Args:
        dialer: opens the flows.
        count: how many keys all sites together have, 1 or more.
        secret: 16 random bytes, new at each start of a node: nobody can tell, or arrange, which sites share a key.
        registrable: the public suffix list.
        own: what the node does for a site for which nothing is wanted. May be replaced, as `count` may.
    """

    def __init__(
        self,
        dialer: Dialer,
        count: int,
        secret: bytes,
        registrable: Registrable,
        own: SiteOptions = NO_OPTIONS,
    ) -> None:
        self._dialer = dialer
        self.count = count
        self._secret = secret
        self._registrable = registrable
        self.own = own

    async def dial(self, request: FlowRequest, *, early: bool) -> Flow:
        """Open a flow, as `proxy.dialer.Dialer` says.

        Raises:
            core.errors.FlowError: the flow could not be opened, with the reason.
        """
        request = replace(request, options=beyond(self.own, request.options))
        return await self._dialer.dial(replace(request, isolation=self.key(request)), early=early)

    async def dial_datagrams(self, isolation: str) -> DatagramFlow:
        """Open a UDP association, as `proxy.dialer.Dialer` says: under the user name's key, or else that of all.

        Raises:
            core.errors.FlowError: it could not be opened, with the reason.
        """
        return await self._dialer.dial_datagrams(_user_key(isolation) if isolation else DATAGRAMS_KEY)

    def key(self, request: FlowRequest) -> str:
        """Name the key of a flow: the user name's own, or else its site's. No user name gives the key of a site.

        Where something is wanted for the site, that stands before it; and where the site shall be alone, what tells it
        from all others.
        """
        site = site_of(request.host, self._registrable).encode("utf-8", "surrogatepass")
        digest = blake2b(site, digest_size=_DIGEST_BYTES, key=self._secret).digest()
        options = request.options
        key = _user_key(request.isolation) if request.isolation else f"site {int.from_bytes(digest) % self.count}"
        if options == NO_OPTIONS:
            return key
        return f"{astuple(options)} {digest.hex() if options.isolated else ''} {key}"


def _user_key(name: str) -> str:
    return f"user {name}"


async def isolate_sites(dialer: Dialer, count: int, own: SiteOptions = NO_OPTIONS) -> SiteIsolation:
    """Read the public suffix list, in a thread since that takes a tenth of a second, and deal out keys from now on."""
    suffixes = await asyncio.to_thread(PublicSuffixList)
    return SiteIsolation(dialer, count, secrets.token_bytes(SECRET_BYTES), suffixes.privatesuffix, own)
