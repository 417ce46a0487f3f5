"""What the ledger and the nodes' books say once all nodes have ended."""

from __future__ import annotations

import secrets
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ledger.amounts import decode_amount, encode_amount
from ledger.local_books import open_books
from ledger.store_file import open_file
from peers.identity import peer_id
from tests.chaos.judges import Channel, Coins

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ledger.books import Books, PayeeChannel
    from tests.chaos.network import Node

_BUSY_S: Final = 5.0


def coins_of(ledger: str) -> Coins:
    """Where all coins of a ledger are."""
    books = open_books(Path(ledger), time.time, secrets.token_bytes, _BUSY_S)
    try:
        found = books.coins()
    finally:
        books.shut()
    return Coins(found.made, found.free, found.locked)


def channels_of(nodes: Mapping[str, Node], peers: Mapping[str, str]) -> list[Channel]:
    """All channels on which somebody pays.

    Args:
        nodes: all of them, none of which runs.
        peers: names of nodes by peer id.
    """
    books = {name: _books_of(node) for name, node in nodes.items()}
    payees: dict[bytes, PayeeChannel] = {row.channel: row for each in books.values() for row in each.payees.values()}
    found = []
    for name, each in books.items():
        for row in each.payers.values():
            there = payees.get(row.channel)
            theirs = (there.paid, there.used, there.claimed) if there is not None else ()
            found.append(Channel(name, peers[peer_id(row.peer)], row.deposit, row.paid, row.used, *theirs))
    return found


def _books_of(node: Node) -> Books:
    connection, books = open_file(node.home / "money.db")
    with closing(connection):
        return books


def steal(ledger: str) -> None:
    """Take a unit out of an account: a defect that a judge must find."""
    with closing(sqlite3.connect(ledger)) as connection, connection:
        account, balance = connection.execute("SELECT address, max(balance) FROM accounts").fetchone()
        less = encode_amount(decode_amount(balance) - 1)
        connection.execute("UPDATE accounts SET balance = ? WHERE address = ?", (less, account))
