"""Payer and payee as processes, killed again and again at every step of storing, signing, sending and acknowledging."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from ledger.account import SLACK_SHARE, window_units
from ledger.amounts import PARTS_PER_UNIT
from ledger.store import Store
from node.settings import PaymentsSettings
from node.wallet import Wallet
from tests.harness.demo import ROOT, until
from tests.harness.payment_process import PIECE, POINTS, RATE

if TYPE_CHECKING:
    from pathlib import Path

    from ledger.books import PayeeChannel, PayerChannel

KILLS: Final = int(os.environ.get("PAYMENT_KILLS", "10"))
STUCK_S: Final = 20.0


def start(role: str, folder: Path, point: str, times: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.harness.payment_process", role, str(folder), point, str(times)]
    return subprocess.Popen(command, cwd=ROOT)


def words(path: Path, size: int) -> list[bytes]:
    data = path.read_bytes() if path.exists() else b""
    return [data[at : at + size] for at in range(0, len(data) - size + 1, size)]


async def rows(folder: Path) -> tuple[PayerChannel, PayeeChannel]:
    """The books of both, when nobody has them open."""
    payer, payee = [await Store.open(folder / role / "money.db") for role in ("payer", "payee")]
    try:
        [own], [theirs] = payer.payers, payee.payees
        return own, theirs
    finally:
        await payer.aclose()
        await payee.aclose()


def test_kills_at_every_step(tmp_path: Path) -> None:
    seed = random.SystemRandom().getrandbits(32)
    rng = random.Random(seed)
    print(f"seed {seed}")  # pytest shows it when the test fails
    for role in POINTS:
        (tmp_path / role).mkdir()
    running = {role: start(role, tmp_path, "", 0) for role in POINTS}
    died = dict.fromkeys(POINTS, 0)
    try:
        for _ in range(KILLS // 2):
            role = rng.choice(list(POINTS))
            running[role].send_signal(signal.SIGKILL)
            running[role].wait()
            running[role] = start(role, tmp_path, rng.choice(POINTS[role]), rng.randint(1, 6))
            assert running[role].wait(STUCK_S) == -signal.SIGKILL, "it gets to the point where it dies"
            died[role] += 2
            running[role] = start(role, tmp_path, "", 0)
        before = came(tmp_path)
        until("more is carried after all that", lambda: came(tmp_path) > before + 100, STUCK_S)
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    check(tmp_path, {role: count + 1 for role, count in died.items()})


def came(folder: Path) -> int:
    """Pieces that the payer got."""
    return len(words(folder / "payer.log", 1))


def check(folder: Path, died: dict[str, int]) -> None:
    own, theirs = asyncio.run(rows(folder))
    acknowledged = [int.from_bytes(word) for word in words(folder / "acknowledged.log", 16)]
    assert acknowledged, "something was paid"
    assert theirs.paid >= max(acknowledged), "no acknowledged voucher is lost"
    window = window_units(own.paid, RATE)
    assert theirs.paid <= own.paid <= theirs.paid + window, "what is stored as signed is at most a window ahead"
    got, moved = (len(words(folder / f"{role}.log", 1)) * PIECE * RATE / PARTS_PER_UNIT for role in POINTS)
    # Who dies forgets what was used since the last voucher, and nobody else pays for that.
    assert own.paid <= got + got / SLACK_SHARE + window * (1 + died["payer"] + died["payee"])
    assert moved <= theirs.paid + window * died["payee"]
    asyncio.run(claim(folder, theirs.paid))


async def claim(folder: Path, paid: int) -> None:
    """What is claimed is credited once, whatever happened before."""
    settings = PaymentsSettings(settlement="local", ledger=str(folder / "ledger.db"), tariff=2)
    wallet = await Wallet.open(settings, folder / "payee", relays=True)
    try:
        before = await wallet.settlement.balance()
        [row] = wallet.store.payees
        for _ in range(2):
            await wallet.settlement.claim(row.channel, row.paid, row.signature)
        assert await wallet.settlement.balance() == before + paid
    finally:
        await wallet.close()


def test_the_check_can_fail(tmp_path: Path) -> None:
    for role in POINTS:
        (tmp_path / role).mkdir()
    with pytest.raises(ValueError, match="unpack"):
        check(tmp_path, dict.fromkeys(POINTS, 1))
