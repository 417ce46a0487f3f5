"""The settlement without a chain: test coins in one SQLite file, which several nodes on one machine share.

Whoever can write the file is its bank and may act for every account, so its coins are worth nothing. All else is as on
a chain: the same vouchers, rules and answers (`local_books`). Each settlement has one thread and one connection, so
that calls never mix.
"""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from ledger.local_books import check_size, open_books
from ledger.voucher import ADDRESS_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from ledger.local_books import Books, Coins
    from ledger.settlement import Channel
    from ledger.voucher import Domain

BUSY_S: Final = 5.0
"""How long a call waits for the other connections. Each holds the file for some milliseconds."""


class LocalSettlement:
    """A `ledger.settlement.Settlement` over a file of this machine. Made by `join`."""

    def __init__(self, books: Books, account: bytes, thread: ThreadPoolExecutor) -> None:
        self._books = books
        self._account = account
        self._thread = thread
        """Ends with this object."""

    @property
    def domain(self) -> Domain:
        return self._books.domain

    @property
    def account(self) -> bytes:
        return self._account

    async def balance(self) -> int:
        return await self._call(self._books.balance, self._account)

    async def now_s(self) -> int:
        return self._books.now_s()

    async def open(self, payee: bytes, signer: bytes, deposit: int) -> bytes:
        return await self._call(self._books.open, self._account, payee, signer, deposit)

    async def top_up(self, channel: bytes, units: int) -> None:
        await self._call(self._books.top_up, self._account, channel, units)

    async def look(self, channel: bytes) -> Channel:
        return await self._call(self._books.channel, channel)

    async def claim(self, channel: bytes, cumulative: int, signature: bytes) -> int:
        return await self._call(self._books.claim, channel, cumulative, signature)

    async def start_close(self, channel: bytes) -> None:
        await self._call(self._books.start_close, self._account, channel)

    async def close(self, channel: bytes) -> None:
        await self._call(self._books.close, self._account, channel)

    async def finish_close(self, channel: bytes) -> None:
        await self._call(self._books.finish_close, channel)

    async def find(self, payee: bytes, signer: bytes) -> bytes | None:
        return await self._call(self._books.find, self._account, payee, signer)

    async def closing(self, channels: Iterable[bytes]) -> list[bytes]:
        return await self._call(self._books.closing, list(channels))

    async def faucet(self, account: bytes, units: int) -> None:
        """Make test coins.

        Args:
            account: whose they are, 20 bytes.
            units: how many.

        Raises:
            PaymentError: `SETTLEMENT`.
            ValueError: no address, no amount, or there would be more than 2^128 - 1 units in all.
        """
        await self._call(self._books.make, account, units)

    async def coins(self) -> Coins:
        """Add up the whole ledger.

        Raises:
            PaymentError: `SETTLEMENT`.
        """
        return await self._call(self._books.coins)

    async def aclose(self) -> None:
        """Let go of the file. Calls that follow raise `PaymentError`: `SETTLEMENT`."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._books.shut)

    async def _call[*Arguments, Answer](self, work: Callable[[*Arguments], Answer], *arguments: *Arguments) -> Answer:
        """Do a thing within a transaction, in the thread that the connection belongs to."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: self._books.transact(lambda: work(*arguments)))


async def join(
    path: Path,
    account: bytes,
    clock: Callable[[], float],
    *,
    draw: Callable[[int], bytes] = secrets.token_bytes,
    busy_s: float = BUSY_S,
) -> LocalSettlement:
    """Take part in a ledger; it is made if there is none.

    Args:
        path: its file, in a folder that exists.
        account: of this node, 20 bytes.
        clock: Unix seconds; all who share the file must have the same.
        draw: random bytes, for ids.
        busy_s: how long a call waits for the other connections before it gives up.

    Raises:
        ConfigError: the file is not fit for it, or cannot be made.
        PaymentError: `SETTLEMENT`: another connection does not let go of it.
        ValueError: the account is no address.
    """
    check_size(account, ADDRESS_BYTES)
    thread = ThreadPoolExecutor(1, "ledger")
    books = await asyncio.get_running_loop().run_in_executor(thread, open_books, path, clock, draw, busy_s)
    return LocalSettlement(books, account, thread)
