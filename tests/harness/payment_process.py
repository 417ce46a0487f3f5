"""One end of a paid link as a process that dies at a chosen point: `python -m tests.harness.payment_process …`.

The two ends talk over a Unix socket. The payee moves pieces as far as they are paid, as a guard does on the way back.
What is in the files that both append to survives a SIGKILL, since the system has it once it was written.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast
from unittest.mock import patch

from core.errors import CircuitError
from core.ids import PeerKey
from ledger import messages, payee
from ledger.store import Store
from node.paying import PayingNode
from node.settings import PaymentsSettings
from node.wallet import Wallet

if TYPE_CHECKING:
    from collections.abc import Callable

    from node.payment_ends import Incoming
    from tunnel.link import Link

RATE: Final = 6
PIECE: Final = 32_000
POINTS: Final = {
    "payer": ("before store", "after store", "before send", "after send", "acknowledged"),
    "payee": ("before store", "after store", "before send", "after send", "moved"),
}
_PAYMENT, _DATA = b"P", b"D"
_PACE_S: Final = 0.001


class Fuse:
    """Ends this process when a point was passed so many times.

    Args:
        point: which; empty for never.
        times: how many.
    """

    def __init__(self, point: str, times: int) -> None:
        self._point = point
        self._left = times

    def passes(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
            if self._left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


class Log:
    """A file that grows by fixed words, each whole once it is there."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, word: bytes) -> None:
        os.write(self._file, word)


class Wire:
    """What stands for the link."""

    def __init__(self, writer: asyncio.StreamWriter, binding: bytes, fuse: Fuse) -> None:
        self.binding = binding
        self._writer = writer
        self._fuse = fuse

    def send_payment(self, body: bytes) -> None:
        money = messages.decode(body)
        counts = isinstance(money, messages.Voucher | messages.Paid)
        if counts:
            self._fuse.passes("before send")
        self.send(_PAYMENT, body)
        if counts:
            self._fuse.passes("after send")

    def send(self, kind: bytes, body: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(kind + len(body).to_bytes(2) + body)

    @property
    def link(self) -> Link:
        return cast("Link", self)


def fused_store(fuse: Fuse) -> None:
    """Let the books be a place to die at."""
    raise_paid, take_voucher = Store.raise_paid, Store.take_voucher

    async def raising(store: Store, channel: bytes, paid: int, used: int) -> None:
        fuse.passes("before store")
        await raise_paid(store, channel, paid, used)
        fuse.passes("after store")

    async def taking(store: Store, channel: bytes, paid: int, signature: bytes, used: int) -> bool:
        fuse.passes("before store")
        new = await take_voucher(store, channel, paid, signature, used)
        fuse.passes("after store")
        return new

    patch.object(Store, "raise_paid", raising).start()
    patch.object(Store, "take_voucher", taking).start()


async def _read(reader: asyncio.StreamReader, take: Callable[[bytes, bytes], None]) -> None:
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readexactly(3)
            take(head[:1], await reader.readexactly(int.from_bytes(head[1:])))


class End:
    """One of the two.

    Args:
        role: `payer` or `payee`.
        folder: of both: the ledger, the socket and the logs.
        fuse: when to die.
    """

    def __init__(self, role: str, folder: Path, fuse: Fuse) -> None:
        self._role = role
        self._folder = folder
        self._fuse = fuse
        self._log = Log(folder / f"{role}.log")
        self._acknowledged = Log(folder / "acknowledged.log")
        self._paying: PayingNode

    async def run(self) -> None:
        home = self._folder / self._role
        settings = PaymentsSettings(settlement="local", ledger=str(self._folder / "ledger.db"), tariff=2)
        wallet = await Wallet.open(settings, home, relays=True)
        self._paying = PayingNode(wallet, 2, lambda link, reason, pays: None)
        path = self._folder / "socket"
        if self._role == "payee":
            path.unlink(missing_ok=True)
            server = await asyncio.start_unix_server(self._serve, path)
            await server.serve_forever()
        while True:
            with suppress(OSError):
                await self._pay(*await asyncio.open_unix_connection(path))
            await asyncio.sleep(0.01)

    async def _pay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        binding = os.urandom(32)
        writer.write(binding)
        wire = Wire(writer, binding, self._fuse)
        came: asyncio.Queue[None] = asyncio.Queue()
        counting = asyncio.create_task(self._count(wire, came))

        def take(kind: bytes, body: bytes) -> None:
            if kind == _DATA:
                came.put_nowait(None)
                self._log.note(b".")
                return
            self._paying.payment(wire.link, body)
            message = messages.decode(body)
            if isinstance(message, messages.Paid):
                self._acknowledged.note(message.cumulative.to_bytes(16))
                self._fuse.passes("acknowledged")

        await _read(reader, take)
        counting.cancel()
        writer.close()
        self._paying.link_down(wire.link)

    async def _count(self, wire: Wire, came: asyncio.Queue[None]) -> None:
        with suppress(CircuitError):
            account = await self._paying.paying(wire.link, PeerKey(b"\1" * 32), RATE)
            while True:
                await came.get()
                account.took(RATE, PIECE, datagram=False)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(writer, await reader.readexactly(32), self._fuse)
        end = cast("Incoming", self._paying.paid_by(wire.link, RATE))
        moving = asyncio.create_task(self._move(wire, end))
        await _read(reader, lambda kind, body: self._paying.payment(wire.link, body))
        moving.cancel()
        writer.close()
        self._paying.link_down(wire.link)

    async def _move(self, wire: Wire, end: Incoming) -> None:
        while True:
            if not end.take(RATE, PIECE):
                paid = asyncio.Event()
                end.wait(paid.set)
                await paid.wait()
                continue
            if end.session.stage is payee.Stage.UP:
                self._log.note(b".")
                wire.send(_DATA, b"")
                self._fuse.passes("moved")
                await asyncio.sleep(_PACE_S)


def main(role: str, folder: str, point: str, times: str) -> None:
    fuse = Fuse(point, int(times))
    fused_store(fuse)
    asyncio.run(End(role, Path(folder), fuse).run())


if __name__ == "__main__":
    main(*sys.argv[1:])
