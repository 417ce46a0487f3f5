r"""Compare the database of places with another one, on random addresses, and print how often the two agree.

Usage, from the root of the repository:
    .venv/bin/uv run --no-project --python .venv/bin/python \
        --with plevin --with plevin-db-network --with plevin-db-country python -m scripts.compare_places

The other one is plevin's, which is used here only to compare: see docs/design/0013-places.md.
"""

from __future__ import annotations

import ipaddress
import random
from collections import Counter
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import plevin

from peers.places import Places, is_public

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNT: Final = 20_000
SEED: Final = 1
HOSTING: Final = frozenset({"hosting", "cdn"})


def main() -> None:
    """Compare, and print."""
    places, network, country = Places(), other("network"), other("country")
    for version in (4, 6):
        counts: Counter[str] = Counter()
        for host in hosts(version):
            there = network.lookup(host).network
            if there is not None and there.asn is not None:
                compare(counts, places, host, there, country.lookup(host).place)
            if counts["all"] == COUNT:
                break
        shares = {name: f"{counts[name] / counts[of]:.1%}" for name, of in SHARES.items()}
        print(f"IPv{version}", counts["all"], "addresses,", counts["hosting"], "of them hosting:", shares)


SHARES: Final = {"system": "all", "country": "all", "system unknown": "all", "country at hosting": "hosting"}


def other(name: str) -> Any:
    """Open one of the other databases."""
    (file,) = (resources.files(f"plevin_db_{name}") / "data").iterdir()
    return plevin.Plevin(str(file))


def hosts(version: int) -> Iterator[str]:
    """Return random public addresses; those of IPv6 from what is given out, 2000::/3, in networks of 32 bits that begin
    like one that is."""
    chance = random.Random(SEED)
    while True:
        if version == 4:
            host = str(ipaddress.IPv4Address(chance.getrandbits(32)))
        else:
            first = chance.choice((0x2001, 0x2400, 0x2401, 0x2600, 0x2602, 0x2800, 0x2A00, 0x2A01, 0x2A02, 0x2C0F))
            host = str(ipaddress.IPv6Address(first << 112 | chance.getrandbits(112)))
        if is_public(host):
            yield host


def compare(counts: Counter[str], places: Places, host: str, there: Any, place: Any) -> None:
    """Count in what the two agree about an address."""
    here = places.lookup(host)
    same_country = place is not None and place.country is not None and here.country == place.country.code
    counts["all"] += 1
    counts["system"] += here.asn == there.asn
    counts["system unknown"] += here.asn is None
    counts["country"] += same_country
    if there.operator is not None and there.operator.category in HOSTING:
        counts["hosting"] += 1
        counts["country at hosting"] += same_country


if __name__ == "__main__":
    main()
