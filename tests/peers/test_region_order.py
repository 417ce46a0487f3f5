from __future__ import annotations

import pytest

from peers.region_order import RegionOrder, is_in


@pytest.mark.parametrize(
    ("region", "wanted", "found"),
    [
        ("NL", ("NL",), True),
        ("nl", ("NL",), True),
        ("US-CA", ("US",), True),
        ("US", ("US-CA",), False),
        ("USA", ("US",), False),
        ("US-NY", ("DE", "US-CA"), False),
        ("", ("US",), False),
        ("NL", (), False),
    ],
)
def test_regions_and_their_parts(region: str, wanted: tuple[str, ...], found: bool) -> None:
    assert is_in(region, wanted) is found


def working(order: RegionOrder, *regions: str) -> tuple[str, ...]:
    return order.working(lambda region: region in regions)


def test_the_order_is_that_of_the_settings() -> None:
    order = RegionOrder(("NL", "DE", "FR"), switch_back=True)
    assert working(order, "DE", "NL", "FR") == ("NL", "DE", "FR")
    assert working(order, "FR", "DE") == ("DE", "FR")
    assert working(order) == ()
    assert [order.rank(region, ()) for region in ("NL", "DE-BE", "FR", "US", "")] == [0, 1, 2, 3, 3]
    assert [order.rank(region, ("FR",)) for region in ("NL", "DE", "FR", "US")] == [1, 2, 0, 3]


def test_the_way_leads_back() -> None:
    order = RegionOrder(("NL", "DE"), switch_back=True)
    order.entered("DE")
    assert order.order == ("NL", "DE")
    assert order.rank("NL", ()) == 0


def test_or_not() -> None:
    order = RegionOrder(("NL", "DE", "FR"), switch_back=False)
    assert order.order == ("NL", "DE", "FR")
    order.entered("DE")
    assert order.order == ("DE", "NL", "FR")
    assert (order.rank("DE", ()), order.rank("NL", ())) == (0, 1)
    order.entered("NL")
    assert order.order == ("NL", "DE", "FR")


def test_anywhere() -> None:
    order = RegionOrder((), switch_back=False)
    assert order.order == ()
    assert order.rank("NL", ()) == order.rank("", ()) == 0
