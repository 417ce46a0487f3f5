"""Where addresses are: country, autonomous system and rough coordinates, from a database that comes with the package.

Nobody is asked. The database is wrong about some addresses and knows nothing of others; whoever uses an answer has to
live with that. Without the database every address is unknown, and `Places.problem` says what to do.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Final

from core.errors import DecodeError
from peers.countries import Countries
from peers.place_table import MAX_FILE_BYTES, PlaceTable

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from peers.countries import Disc
    from peers.place_table import Ip

TABLE_NAME: Final = "places.xz"
COUNTRIES_NAME: Final = "countries.txt"
ADDRESSES_REMEMBERED: Final = 1 << 14
MAX_HOST_CHARS: Final = 64


@dataclass(frozen=True, slots=True)
class Place:
    """Where an address is, as far as it is known.

    Args:
        country: two capital letters (ISO 3166-1); empty for unknown.
        asn: number of the autonomous system that announces it; None for unknown.
        disc: covers the whole country; None for unknown.
    """

    country: str = ""
    asn: int | None = None
    disc: Disc | None = None

    @property
    def latitude(self) -> float | None:
        """Of the middle of the country, in degrees."""
        return self.disc.latitude if self.disc else None

    @property
    def longitude(self) -> float | None:
        """Of the middle of the country, in degrees."""
        return self.disc.longitude if self.disc else None

    @property
    def radius_km(self) -> float | None:
        """So far from there the address may be."""
        return self.disc.radius_km if self.disc else None


UNKNOWN: Final = Place()


class Places:
    """Answers where addresses are. `load` makes one.

    Args:
        table: the ranges of addresses; None if there are none.
        countries: where countries are.
        problem: why there is no database, as a sentence for the user; empty when there is one.
    """

    def __init__(self, table: PlaceTable | None, countries: Countries, problem: str = "") -> None:
        self._table = table
        self._remembered = lru_cache(maxsize=ADDRESSES_REMEMBERED)(self._find)
        self.countries = countries
        self.problem = problem

    @classmethod
    def load(cls, folder: Traversable | None = None) -> Places:
        """Read the database: a quarter of a second, so not in an event loop. Never fails; see `problem`.

        Args:
            folder: where it is; None for the one that comes with the package.
        """
        folder = resources.files("peers") / "data" if folder is None else folder
        try:
            with (folder / TABLE_NAME).open("rb") as file:
                table = PlaceTable.decode(file.read(MAX_FILE_BYTES + 1))
            return cls(table, Countries.parse((folder / COUNTRIES_NAME).read_text(encoding="ascii")))
        except OSError as error:
            what = f"cannot be read ({type(error).__name__})"
        except (DecodeError, UnicodeDecodeError):
            what = "is damaged"
        return cls(None, Countries({}), f"The database of places {what}: {_WITHOUT}")

    def lookup(self, host: str) -> Place:
        """Say where an address is.

        Args:
            host: anything. What is not an IP address of the public Internet is unknown.
        """
        return self._remembered(host) if len(host) <= MAX_HOST_CHARS else UNKNOWN

    def asn_of(self, host: str) -> int | None:
        """Return the number of the autonomous system that announces an address, None for unknown."""
        return self.lookup(host).asn

    def _find(self, host: str) -> Place:
        address = _public(host)
        if address is None or self._table is None:
            return UNKNOWN
        country = self._table.country(address)
        return Place(country, self._table.asn(address), self.countries.whole(country))


_WITHOUT: Final = (
    "countries and systems of peers are unknown, and their regions are not checked. "
    "To repair it, install macro-vpn again."
)


def _public(host: str) -> Ip | None:
    """Read an IP address, if it can belong to a host on the public Internet."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address if address.is_global and not address.is_multicast else None
