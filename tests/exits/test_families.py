"""Which family is tried first."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

import pytest

from exits import families as families_module
from exits.families import LOST_RACES, SECOND_FOR_S, Families, interleave, suits

V4, OTHER_V4 = ip_address("9.9.9.9"), ip_address("9.9.9.10")
V6, OTHER_V6 = ip_address("2620:fe::fe"), ip_address("2620:fe::9")
GLOBAL = IPv6Address("2606:4700::1")


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> list[IPv6Address | None]:
    """The machine's own IPv6 address, as the only item; change it at will."""
    own: list[IPv6Address | None] = [GLOBAL]
    monkeypatch.setattr(families_module, "source_for", lambda _: own[0])
    return own


def test_families_take_turns() -> None:
    a, b, c = (ip_address(f"9.9.9.{last}") for last in (1, 2, 3))
    x, y = ip_address("2606::1"), ip_address("2606::2")
    assert interleave([a, b, c, x, y]) == [x, a, y, b, c]
    assert interleave([a, b, c, x, y], 4) == [a, x, b, y, c]
    assert interleave([x, y]) == [x, y]
    assert interleave([c, a]) == [c, a]
    assert interleave([]) == []


@pytest.mark.usefixtures("source")
def test_ipv6_first() -> None:
    assert Families().order([V4, OTHER_V4, V6, OTHER_V6], 0.0) == [V6, V4, OTHER_V6, OTHER_V4]


@pytest.mark.parametrize("own", [None, "fd00::1", "2002:909:909::1", "2001:0:909::1", "fe80::1"])
def test_ipv6_second_without_a_global_address(source: list[IPv6Address | None], own: str | None) -> None:
    source[0] = IPv6Address(own) if own else None
    assert Families().order([V6, V4, OTHER_V4], 0.0) == [V4, V6, OTHER_V4]
    assert Families().order([V6, OTHER_V6], 0.0) == [V6, OTHER_V6]


def test_addresses_of_one_kind_suit_each_other() -> None:
    local = IPv6Address("fd00::1")
    assert suits(local, IPv6Address("fd00::2"))
    assert suits(IPv6Address("::1"), IPv6Address("::1"))
    assert not suits(GLOBAL, local)
    assert not suits(None, local)


@pytest.mark.usefixtures("source")
def test_ipv6_that_loses_again_and_again_is_second_for_a_while() -> None:
    families = Families()
    for _ in range(LOST_RACES - 1):
        families.v6_lost(10.0)
    assert families.order([V4, V6], 10.0)[0] == V6
    families.v6_lost(10.0)
    assert families.order([V4, V6], 10.0 + SECOND_FOR_S - 1)[0] == V4
    assert families.order([V4, V6], 10.0 + SECOND_FOR_S)[0] == V6
    families.v6_lost(2000.0)  # once is enough now
    assert families.order([V4, V6], 2000.0)[0] == V4
    families.v6_won()
    assert families.order([V4, V6], 2000.0)[0] == V6


@pytest.mark.usefixtures("source")
def test_a_win_between_losses_starts_the_count_anew() -> None:
    families = Families()
    for _ in range(LOST_RACES * 2):
        families.v6_lost(0.0)
        families.v6_won()
    families.v6_lost(0.0)
    assert families.order([V4, V6], 0.0)[0] == V6


def test_the_system_is_asked_and_nothing_is_sent() -> None:
    assert families_module.source_for(ip_address("::1")) == IPv6Address("::1")
    assert families_module.source_for(ip_address("fe80::1")) is None  # link-local without a link
