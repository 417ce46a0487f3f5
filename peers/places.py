"""Where addresses are: country, autonomous system and rough coordinates, from a database that comes with the package.

Nobody is asked. The database is wrong about some addresses and knows nothing of others; whoever uses an answer has to
live with that. Without the database every address is unknown.

It is read when it is first needed: who meets no public address, as on one machine or in one house, does without its
third of a second and its 15 MB.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from threading import Lock
from typing import TYPE_CHECKING, Final

from core.errors import DecodeError
from peers.countries import Countries
from peers.place_table import MAX_FILE_BYTES, PlaceTable

if TYPE_CHECKING:
    from collections.abc import Callable
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


@dataclass(frozen=True, slots=True)
class Database:
    """What the files say.

    Args:
        table: the ranges of addresses; None if there are none.
        countries: where countries are.
        problem: why there is nothing, as a sentence for the user; empty when there is something.
    """

    table: PlaceTable | None
    countries: Countries
    problem: str = ""


def read_database(folder: Traversable | None = None) -> Database:
    """Read the files: a third of a second. Never fails; see `Database.problem`.

    Args:
        folder: where they are; None for those that come with the package.
    """
    folder = resources.files("peers") / "data" if folder is None else folder
    try:
        with (folder / TABLE_NAME).open("rb") as file:
            table = PlaceTable.decode(file.read(MAX_FILE_BYTES + 1))
        return Database(table, Countries.parse((folder / COUNTRIES_NAME).read_text(encoding="ascii")))
    except OSError as error:
        what = f"cannot be read ({type(error).__name__})"
    except (DecodeError, UnicodeDecodeError):
        what = "is damaged"
    return Database(None, Countries({}), f"The database of places {what}: {_WITHOUT}")


class Places:
    """Answers where addresses are. May be asked from any thread.

    Args:
        read: reads the database, when it is first needed.
        on_problem: told once if there is none, in a sentence for the user.
    """

    def __init__(
        self, read: Callable[[], Database] = read_database, on_problem: Callable[[str], None] = lambda sentence: None
    ) -> None:
        self._read = read
        self._on_problem = on_problem
        self._lock = Lock()
        self._database: Database | None = None
        self._remembered = lru_cache(maxsize=ADDRESSES_REMEMBERED)(self._find)

    def database(self) -> Database:
        """Return the database; the first call reads it."""
        with self._lock:
            if self._database is None:
                self._database = self._read()
                if self._database.problem:
                    self._on_problem(self._database.problem)
            return self._database

    @property
    def countries(self) -> Countries:
        """Where countries are."""
        return self.database().countries

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
        if address is None:
            return UNKNOWN
        found = self.database()
        if found.table is None:
            return UNKNOWN
        country = found.table.country(address)
        return Place(country, found.table.asn(address), found.countries.whole(country))


_WITHOUT: Final = (
    "countries and systems of peers are unknown, and their regions are not checked. "
    "To repair it, install macro-vpn again."
)


def is_public(host: str) -> bool:
    """Say whether a text is an IP address that can belong to a host on the public Internet."""
    return _public(host) is not None


def _public(host: str) -> Ip | None:
    """Read an IP address, if it can belong to a host on the public Internet."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address if address.is_global and not address.is_multicast else None
