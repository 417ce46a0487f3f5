"""`macrovpn wallet`, against a control interface that really answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from node.coins import coins
from node.wallet_orders import WalletOrder
from tests.node.commands import answer, call
from tests.node.test_cli import running
from tests.node.test_control import Node

if TYPE_CHECKING:
    from pathlib import Path

FACTS: Final[dict[str, Any]] = {
    "settlement": "local",
    "chain": "",
    "account": "0x" + "ab" * 20,
    "balance": 99_000_000,
    "locked": 998_800,
    "spent": 1_200,
    "paid": 1_300,
    "earned": 300,
    "received": 350,
    "claimed": 100,
    "cap": 500_000,
    "tariff": 2,
    "tariffs": [2, 2, 1],
    "price_per_gb": 6_000,
    "trouble": "",
    "channels": [
        {
            "id": "0123456789abcdef" * 4,
            "pays": True,
            "peer_id": "12D3Koo\x1b",
            "state": "open",
            "deposit": 1_000_000,
            "paid": 1_200,
            "claimed": 0,
        }
    ],
}


class Rich(Node):
    """A node with money."""

    def __init__(self, **changes: Any) -> None:
        super().__init__()
        self.wallet_facts = FACTS | changes


@pytest.mark.parametrize(
    ("units", "text"),
    [(0, "0"), (1, "0.000001"), (12, "0.000012"), (1_000_000, "1"), (1_500_000, "1.5"), (10**12 + 10, "1000000.00001")],
)
def test_units_are_written_as_coins(units: int, text: str) -> None:
    assert coins(units) == text


def test_it_says_what_there_is(tmp_path: Path) -> None:
    with running(tmp_path, Rich()):
        lines = call("wallet", "--home", tmp_path).stdout.splitlines()
        assert answer("wallet", "--home", tmp_path) == FACTS
    assert lines[0] == f"account   0x{'ab' * 20} (test coins of this machine)"
    assert lines[1] == "balance   99 coins free, 0.9988 locked in channels"
    assert lines[2] == "spent     0.0012, and 0.0001 are paid ahead"
    assert lines[3] == "earned    0.0003; 0.0001 claimed, 0.00025 not yet"
    assert lines[4] == "cap       0.5 coins in all, 0.4987 left"
    assert lines[5] == "price     0.006 coins per GB on the present path (steps 2, 2, 1)"
    assert lines[6] == "tariff    step 2 is what this node asks"
    assert lines[-1].split() == ["01234567", "pays", "open", "1", "0.0012", "0", "12D3Koo�"]


def test_without_payments_it_says_so(tmp_path: Path) -> None:
    with running(tmp_path, Node()):
        assert "Payments are off" in call("wallet", "--home", tmp_path).stdout


def test_orders_arrive(tmp_path: Path) -> None:
    node = Rich()
    home = ("--home", tmp_path)
    with running(tmp_path, node):
        assert "Claimed 0.000007 coins." in call("wallet", "claim", *home).stdout
        node.left = 12
        assert "0.000012 are left for later: now gas would cost" in call("wallet", "claim", *home).stdout
        assert "1 channel closing." in call("wallet", "close", "0123", *home).stdout
        assert "No more than 0.5 coins are spent in all." in call("wallet", "cap", "0.5", *home).stdout
        assert "no spending cap" in call("wallet", "cap", "none", *home).stdout
        assert "holds 2.5 coins now" in call("wallet", "deposit", "1.25", *home).stdout
        assert "Written" in call("wallet", "export", tmp_path / "backup", *home).stdout
    assert node.orders == [
        WalletOrder("claim"),
        WalletOrder("claim"),
        WalletOrder("close", channel="0123"),
        WalletOrder("cap", units=500_000),
        WalletOrder("cap"),
        WalletOrder("deposit", units=1_250_000),
        WalletOrder("export", path=str(tmp_path / "backup")),
    ]


@pytest.mark.parametrize("amount", ["-1", "x", "0.0000001", "nan", "inf", "1e30", "1000000001", ""])
def test_what_is_no_amount_is_refused(tmp_path: Path, amount: str) -> None:
    node = Rich()
    with running(tmp_path, node):
        result = call("wallet", "deposit", "--home", tmp_path, "--", amount)
    assert result.exit_code == 2
    assert "this must be an amount in coins" in result.stderr
    assert not node.orders


@pytest.mark.parametrize(
    ("earned", "received", "agree"),
    [(1_200, 1_300, True), (1_199, 1_300, True), (1_198, 1_300, False), (1_200, 1_299, False)],
)
def test_the_books_of_all(tmp_path: Path, earned: int, received: int, agree: bool) -> None:
    with (
        running(tmp_path / "client", Rich(earned=0, received=0, claimed=0)),
        running(tmp_path / "exit-1", Rich(spent=0, paid=0, earned=earned, received=received, channels=[])),
    ):
        text = call("wallet", "books", tmp_path).stdout
        found = answer("wallet", "books", tmp_path)
    assert [row["node"] for row in found["books"]] == ["client", "exit-1"]
    assert (found["sums"]["spent"], found["sums"]["earned"]) == (1_200, earned)
    assert found["sums"]["due"] == received - 100
    assert found["agree"] is agree
    assert text.splitlines()[-1] == f"What was spent is {'' if agree else 'NOT '}what was earned."
    assert text.splitlines()[-2].split()[0] == "sum"


def test_while_the_chain_is_silent_the_rest_is_shown(tmp_path: Path) -> None:
    with running(tmp_path, Rich(settlement="evm", chain="1", balance=None, trouble="It does not answer.")):
        lines = call("wallet", "--home", tmp_path).stdout.splitlines()
        books = call("wallet", "books", tmp_path)
    assert lines[1] == "balance   not known, 0.9988 locked in channels"
    assert "trouble   It does not answer." in lines
    assert (books.exit_code, books.stdout) == (1, "")
    assert "The ledger or chain of client does not answer" in books.stderr


def test_no_books(tmp_path: Path) -> None:
    result = call("wallet", "books", tmp_path)
    assert (result.exit_code, result.stderr) == (1, f"Error: No node runs below {tmp_path}.\n")
