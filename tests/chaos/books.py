"""What the ledger and the nodes' books say once all nodes have ended."""

from __future__ import annotations

import secrets
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from core.errors import ConfigError
from ledger.amounts import decode_amount, encode_amount
from ledger.local_books import open_books
from ledger.store_file import open_file
from peers.identity import peer_id
from tests.chaos.judges import Books, Channel, Coins

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def books_of(nodes: Mapping[str, Node], peers: Mapping[str, str]) -> Books:
    """What the nodes' books say together.

    Args:
        nodes: all of them, none of which runs.
        peers: names of nodes by peer id.
    """
    found, unreadable = {}, []
    for name, node in nodes.items():
        try:
            connection, found[name] = open_file(node.home / "money.db")
        except ConfigError as error:
            unreadable.append(f"{name}: {error}")
        else:
            connection.close()
    payees = {row.channel: row for each in found.values() for row in each.payees.values()}
    channels = []
    for name, each in found.items():
        for row in each.payers.values():
            there = payees.get(row.channel)
            theirs = (there.paid, there.used, there.claimed) if there is not None else ()
            channels.append(Channel(name, peers[peer_id(row.peer)], row.deposit, row.paid, row.used, *theirs))
    return Books(channels, unreadable)


def steal(ledger: str) -> None:
    """Take a unit out of an account: a defect that a judge must find."""
    with closing(sqlite3.connect(ledger)) as connection, connection:
        account, balance = connection.execute("SELECT address, max(balance) FROM accounts").fetchone()
        less = encode_amount(decode_amount(balance) - 1)
        connection.execute("UPDATE accounts SET balance = ? WHERE address = ?", (less, account))
