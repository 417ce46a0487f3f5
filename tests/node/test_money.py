"""Whether a node pays at all, and what it says when it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from core.errors import Reason
from node.money import Money, PaymentsOffError
from node.settings import PaymentsSettings
from node.wallet_orders import WalletOrder
from tunnel.toll import NO_TOLL

if TYPE_CHECKING:
    from pathlib import Path


def files(folder: Path) -> dict[str, int]:
    """What is in a folder, with its modes."""
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


async def test_while_payments_are_off_nothing_is_kept_and_nothing_costs(tmp_path: Path) -> None:
    money = Money(PaymentsSettings(), tmp_path, relays=True)
    await money.open()
    assert money.toll is NO_TOLL
    assert money.earned() is None
    assert money.section([0, 0, 0]) == {}
    assert await money.facts([]) == {"settlement": "off"}
    with pytest.raises(PaymentsOffError, match=r"payments\.settlement"):
        await money.do(WalletOrder("claim"))
    await money.close()
    assert not files(tmp_path)


async def test_with_payments_there_are_books_that_only_the_user_reads(tmp_path: Path) -> None:
    money = Money(PaymentsSettings(settlement="local", tariff=3), tmp_path, relays=True)
    await money.open()
    try:
        assert money.toll.accepts(5, 0) is None
        assert money.toll.accepts(4, 0) is Reason.PRICE
        facts = await money.facts([2, 5, 3])
        assert (facts["tariffs"], facts["price_per_gb"]) == ([2, 5, 3], 60_000)
        assert (facts["balance"], facts["cap"]) == (1000 * 10**6, None)
        assert money.section([])["price_per_gb"] is None
        assert set(files(tmp_path).values()) == {0o600}
    finally:
        await money.close()
