"""What the nodes of a demo know of money, by their books, and who else holds it in memory."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ledger.voucher import SigningKey
from node.client import NodeClient
from node.settlements import KEY_NAME
from tests.harness.process_memory import Held, search

if TYPE_CHECKING:
    from tests.harness.demo import Demo

BESIDE: Final = 4
"""Bytes beside a string."""


@dataclass
class Channel:
    """A channel between two nodes.

    Args:
        id: the channel's.
        signer: address of the key that signs.
        payer, payee: the nodes' names.
        key: that signs.
        voucher: the signature of the last one.
    """

    id: bytes
    signer: bytes
    payer: str = ""
    payee: str = ""
    key: bytes = b""
    voucher: bytes = b""


class MoneySecrets:
    """All that is in the books of a network which has carried something that was paid.

    Args:
        demo: the network.
        folder: is made, for copies of the books.
    """

    def __init__(self, demo: Demo, folder: Path) -> None:
        folder.mkdir()
        self._channels: dict[bytes, Channel] = {}
        self._accounts: dict[str, bytes] = {}
        self._keys: dict[str, bytes] = {}
        self.pids: dict[str, int] = {}
        self._roles = {Path(process["home"]).name: process["role"] for process in demo.facts["processes"]}
        for process in demo.facts["processes"]:
            self._read(Path(process["home"]), process["pid"], folder / str(process["pid"]))

    def _read(self, home: Path, pid: int, copy: Path) -> None:
        node, name = NodeClient(home), home.name
        node.wallet_do("export", path=str(copy))
        self.pids[name] = pid
        self._accounts[name] = bytes.fromhex(node.wallet()["account"].removeprefix("0x"))
        self._keys[name] = bytes.fromhex((home / KEY_NAME).read_text())
        with closing(sqlite3.connect(copy)) as connection:
            for channel, key in connection.execute("SELECT channel, secret FROM payer"):
                found = self._channels.setdefault(channel, Channel(channel, SigningKey(key).address))
                found.payer, found.key = name, key
            for channel, signer, voucher in connection.execute("SELECT channel, signer, signature FROM payee"):
                found = self._channels.setdefault(channel, Channel(channel, signer))
                found.payee, found.voucher = name, voucher

    @property
    def all(self) -> set[bytes]:
        """Everything that means somebody's money: what no log may hold."""
        return set[bytes]().union(*(self.own(name) | self.secret(name) | self.public(name) for name in self.pids))

    # -- what may be where

    def own(self, name: str) -> set[bytes]:
        """What a node must hold."""
        mine = {self._accounts[name], self._keys[name]}
        for channel in self._channels.values():
            if name == channel.payer:
                mine |= {channel.id, channel.key}
            elif name == channel.payee:
                mine |= {channel.id, channel.voucher}
        return mine

    def secret(self, name: str) -> set[bytes]:
        """Keys of others, and vouchers that a node neither gave nor got."""
        found = {key for other, key in self._keys.items() if other != name}
        for channel in self._channels.values():
            found |= {channel.key} if name != channel.payer else set()
            found |= {channel.voucher} if name not in (channel.payer, channel.payee) else set()
        return found

    def public(self, name: str) -> set[bytes]:
        """What stands in the settlement of channels that a node has nothing to do with, and the account of the exit at
        the client's and the other way round: all others may be neighbours, and have told each other theirs."""
        far = [other for other in self._roles if {self._roles[name], self._roles[other]} == {"client", "exit"}]
        found = {self._accounts[other] for other in far}
        for channel in self._channels.values():
            if name not in (channel.payer, channel.payee):
                found |= {channel.id, channel.signer}
        return found


def holdings(pid: int, needles: set[bytes]) -> list[Held]:
    """Where a process holds some strings, as bytes or as digits."""
    digits = {needle.hex().encode(): needle for needle in needles}
    found = search(pid, needles | digits.keys())
    return [held._replace(needle=digits.get(held.needle, held.needle)) for held in found]


def is_of(held: Held, pages: bytes) -> bool:
    """Whether what was found is a piece of a file: what stands beside it stands beside it there."""
    return held.before[-BESIDE:] + held.needle in pages or held.needle + held.after[:BESIDE] in pages
