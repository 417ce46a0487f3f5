"""The ledger of test coins: its rules, beside the model's, and what several processes do with one file."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from core.errors import PaymentError, Reason
from ledger.amounts import MAX_AMOUNT
from ledger.local import LocalSettlement, join
from ledger.local_books import Coins
from ledger.settlement import CLOSE_DELAY_S, MAX_DEPOSIT, Channel, ChannelState
from ledger.voucher import SigningKey
from tests.ledger import local_kills, local_peer
from tests.ledger.settlements import ACCOUNTS, compare

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator

EXAMPLES: Final = int(os.environ.get("LEDGER_EXAMPLES", "30"))
KILLS: Final = int(os.environ.get("LEDGER_KILLS", "3"))
KILL_EACH: Final = int(os.environ.get("LEDGER_KILL_EACH", "30"))
"""Of the writes to a file, at which a process is killed."""

MEMORY: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where nothing waits for a disk."""

PAYER, PAYEE, OTHER = (bytes([0xA0 + number] * 20) for number in range(3))
KEY: Final = SigningKey(b"\x01" * 32)


class LocalBackend:
    """A file, and a clock that is set by hand."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY)
        self.path = Path(self.folder.name) / "coins"
        self.now = 1_000_000.5
        self.settlements: list[LocalSettlement] = []

    @classmethod
    async def start(cls) -> LocalBackend:
        backend = cls()
        for account, units in zip((PAYER, PAYEE, OTHER), (1 << 127, 1_000_000, 5), strict=True):
            settlement = await join(backend.path, account, lambda: backend.now)
            await settlement.faucet(account, units)
            backend.settlements.append(settlement)
        return backend

    async def as_account(self, number: int) -> LocalSettlement:
        return self.settlements[number]

    async def balance(self, number: int) -> int:
        return await self.settlements[number].balance()

    async def locked(self) -> int:
        coins = await self.settlements[0].coins()
        assert coins.made == coins.free + coins.locked
        return coins.locked

    async def advance(self, seconds: int) -> None:
        self.now += seconds

    async def aclose(self) -> None:
        for settlement in self.settlements:
            await settlement.aclose()
        self.folder.cleanup()


@pytest.fixture
async def backend() -> AsyncIterator[LocalBackend]:
    backend = await LocalBackend.start()
    yield backend
    await backend.aclose()


async def refused(reason: Reason, call: Awaitable[object]) -> None:
    with pytest.raises(PaymentError) as caught:
        await call
    assert caught.value.reason is reason


def test_it_answers_as_the_model() -> None:
    assert ACCOUNTS == 3
    compare(LocalBackend.start, EXAMPLES, 50)


async def test_the_life_of_a_channel(backend: LocalBackend) -> None:
    payer, payee, other = backend.settlements
    channel = await payer.open(PAYEE, KEY.address, 1000)
    assert await other.look(channel) == Channel(PAYER, PAYEE, KEY.address, 1000, 0, ChannelState.OPEN)
    await other.top_up(channel, 5)
    voucher = KEY.sign(payee.domain.separator, channel, 600)
    assert await other.claim(channel, 600, voucher) == 600
    assert await other.claim(channel, 600, voucher) == 0
    assert await payee.balance() == 1_000_600
    await payer.start_close(channel)
    closes_at = 1_000_000 + CLOSE_DELAY_S
    assert await payee.look(channel) == Channel(PAYER, PAYEE, KEY.address, 1005, 600, ChannelState.CLOSING, closes_at)
    await refused(Reason.NOT_OPEN, other.top_up(channel, 1))
    backend.now += CLOSE_DELAY_S - 0.6  # it is seconds that count, and this one has begun a second too early
    await refused(Reason.TOO_EARLY, payer.finish_close(channel))
    assert await payee.claim(channel, 2000, KEY.sign(payee.domain.separator, channel, 2000)) == 405
    backend.now += 0.2
    await other.finish_close(channel)
    await refused(Reason.NOT_OPEN, payer.finish_close(channel))
    assert (await payer.look(channel)).state is ChannelState.CLOSED
    assert [await settlement.balance() for settlement in backend.settlements] == [(1 << 127) - 1000, 1_001_005, 0]


async def test_the_largest_deposit(backend: LocalBackend) -> None:
    payer = backend.settlements[0]
    await refused(Reason.NOT_ALLOWED, payer.open(PAYEE, KEY.address, MAX_DEPOSIT + 1))
    channel = await payer.open(PAYEE, KEY.address, MAX_DEPOSIT - 1)
    await refused(Reason.NOT_ALLOWED, payer.top_up(channel, 2))
    await payer.top_up(channel, 1)
    await refused(Reason.NOT_ALLOWED, payer.top_up(channel, 1))
    assert (await payer.look(channel)).deposit == MAX_DEPOSIT
    assert await payer.claim(channel, MAX_AMOUNT, KEY.sign(payer.domain.separator, channel, MAX_AMOUNT)) == MAX_DEPOSIT


async def test_ids_are_never_used_again(tmp_path: Path) -> None:
    """Not even if chance draws one twice; what it would have locked stays where it is."""
    ledger = await join(tmp_path / "coins", PAYER, lambda: 1, draw=lambda size: b"\x07" * size)
    await ledger.faucet(PAYER, 100)
    channel = await ledger.open(PAYER, KEY.address, 60)
    await refused(Reason.SETTLEMENT, ledger.open(PAYER, KEY.address, 10))
    await ledger.close(channel)
    await refused(Reason.SETTLEMENT, ledger.open(PAYER, KEY.address, 10))
    assert await ledger.balance() == 100
    await ledger.aclose()


async def test_nothing_signed_for_one_ledger_counts_in_another(tmp_path: Path) -> None:
    """Here even the accounts, the key and the channel's id are the same."""
    drawn = [b"\x01" * 20, b"\x02" * 20, b"\x07" * 32, b"\x07" * 32]
    ledgers = [await join(tmp_path / name, PAYER, lambda: 1, draw=lambda _: drawn.pop(0)) for name in ("one", "two")]
    for ledger in ledgers:
        await ledger.faucet(PAYER, 100)
        channel = await ledger.open(PAYER, KEY.address, 60)
    first, second = ledgers
    assert (first.domain.chain_id, first.domain.contract) == (0, b"\x01" * 20)
    signature = KEY.sign(first.domain.separator, channel, 20)
    await refused(Reason.BAD_VOUCHER, second.claim(channel, 20, signature))
    assert await first.claim(channel, 20, signature) == 20
    for ledger in ledgers:
        await ledger.aclose()


async def test_ids_and_domains_are_random(tmp_path: Path) -> None:
    ledgers = [await join(tmp_path / name, PAYER, lambda: 1) for name in ("one", "two", "two")]
    contracts = [ledger.domain.contract for ledger in ledgers]
    assert contracts[0] != contracts[1] == contracts[2]
    await ledgers[0].faucet(PAYER, 10)
    assert len({await ledgers[0].open(PAYEE, KEY.address, 1) for _ in range(10)}) == 10
    for ledger in ledgers:
        await ledger.aclose()


async def test_the_faucet_has_a_last_coin(backend: LocalBackend) -> None:
    payer = backend.settlements[0]
    made = (await payer.coins()).made
    await payer.faucet(OTHER, MAX_AMOUNT - made)
    with pytest.raises(ValueError, match=r"more than 2\^128"):
        await payer.faucet(OTHER, 1)
    assert await payer.coins() == Coins(MAX_AMOUNT, MAX_AMOUNT, 0)


@pytest.mark.parametrize("units", [1.0, True, -1, MAX_AMOUNT + 1])
async def test_what_is_no_amount(backend: LocalBackend, units: int) -> None:
    payer = backend.settlements[0]
    channel = await payer.open(PAYEE, KEY.address, 10)
    before = await payer.balance(), await payer.look(channel)
    for call in (
        payer.open(PAYEE, KEY.address, units),
        payer.top_up(channel, units),
        payer.faucet(PAYER, units),
    ):
        with pytest.raises(ValueError, match="amount"):
            await call
    await refused(Reason.BAD_VOUCHER, payer.claim(channel, units, KEY.sign(payer.domain.separator, channel, 1)))
    assert (await payer.balance(), await payer.look(channel)) == before


@pytest.mark.parametrize("address", [b"", PAYER[:-1], PAYER + b"\0"])
async def test_what_is_no_address(backend: LocalBackend, address: bytes) -> None:
    payer = backend.settlements[0]
    for call in (
        payer.open(address, KEY.address, 10),
        payer.open(PAYEE, address, 10),
        payer.faucet(address, 10),
        join(backend.path, address, lambda: 1),
    ):
        with pytest.raises(ValueError, match="20 bytes"):
            await call
    assert (await payer.coins()).locked == 0


async def test_what_is_no_id(backend: LocalBackend) -> None:
    payer = backend.settlements[0]
    for channel in (b"", b"\1" * 31, b"\1" * 33):
        for call in (
            payer.look(channel),
            payer.top_up(channel, 1),
            payer.claim(channel, 1, b""),
            payer.start_close(channel),
            payer.close(channel),
            payer.finish_close(channel),
        ):
            with pytest.raises(ValueError, match="32 bytes"):
                await call


async def test_a_channel_is_found_by_its_payer(backend: LocalBackend) -> None:
    payer, payee, other = backend.settlements
    await payer.open(PAYEE, KEY.address, 10)
    second = await payer.open(PAYEE, KEY.address, 10)
    await payer.open(OTHER, KEY.address, 10)
    await payer.open(PAYEE, OTHER, 10)
    third = await other.open(PAYEE, KEY.address, 5)
    found = [await settlement.find(PAYEE, KEY.address) for settlement in (payer, payee, other)]
    assert found == [second, None, third]


async def test_many_calls_at_once(backend: LocalBackend) -> None:
    """From three connections, many on each: they come one after the other."""
    payer, payee, other = backend.settlements
    channels = [await payer.open(PAYEE, KEY.address, 100) for _ in range(4)]
    separator = payer.domain.separator
    claims = [
        settlement.claim(channel, cumulative, KEY.sign(separator, channel, cumulative))
        for channel in channels
        for cumulative in (60, 30, 90)
        for settlement in (payee, other)
    ]
    tops = [payee.top_up(channel, 7) for channel in channels]
    paid = await asyncio.gather(*claims)
    await asyncio.gather(*tops)
    assert sum(paid) == 4 * 90
    assert await payee.balance() == 1_000_000 + 4 * 90 - 4 * 7
    assert await backend.locked() == 4 * (100 + 7 - 90)


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, on the file `coins`."""
    command = [sys.executable, "-m", "tests.ledger.local_peer", str(tmp_path / "coins"), PAYEE.hex()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


async def test_two_processes(tmp_path: Path, peer: subprocess.Popen[str]) -> None:
    """One opens and pays, the other sees it at once and claims."""
    assert peer.stdin
    payee = await join(tmp_path / "coins", PAYEE, time.time)
    channel, voucher = map(bytes.fromhex, heard(peer).split())
    found = Channel(local_peer.ACCOUNT, PAYEE, local_peer.KEY.address, 1000, 0, ChannelState.OPEN)
    assert await payee.look(channel) == found
    assert await payee.claim(channel, 600, voucher) == 600
    peer.stdin.write("\n")
    peer.stdin.flush()
    assert heard(peer) == "1001"
    assert (await payee.look(channel)).deposit == 1001
    peer.stdin.close()
    assert heard(peer) == "600"
    await payee.close(channel)
    assert await payee.coins() == Coins(1 << 100, 1 << 100, 0)
    await payee.aclose()


@pytest.mark.parametrize("seed", range(KILLS))
async def test_a_process_that_is_killed(tmp_path: Path, peer: subprocess.Popen[str], seed: int) -> None:
    """It stops nobody, and what it was told is done is done; one more may be."""
    assert peer.stdin
    channel = bytes.fromhex(heard(peer).split()[0])
    payee = await join(tmp_path / "coins", PAYEE, time.time)
    peer.stdin.write("\n" * 500)
    peer.stdin.flush()
    chance = random.Random(seed)
    for _ in range(chance.randrange(50)):
        told = int(heard(peer))
    peer.kill()
    assert peer.stdout
    told = [told, *map(int, peer.stdout.read().split())][-1]
    deposit = (await payee.look(channel)).deposit
    assert deposit in (told, told + 1)
    await payee.close(channel)
    assert await payee.coins() == Coins(1 << 100, 1 << 100, 0)
    await payee.aclose()


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace (Debian: apt-get install strace)")
def test_a_kill_at_each_write() -> None:
    """Every step is done or undone, and can be done again; only what follows the last write finds it done."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        calls = local_kills.CALLS
        command = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={calls}"]
        command += ["-e", f"inject={calls}:signal=SIGKILL:when={local_kills.AT}"]
        command += [sys.executable, "-m", "tests.ledger.local_kills", folder, str(KILL_EACH)]
        lines = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
    assert [line.split(maxsplit=3)[3] for line in lines] == list(local_kills.STEPS)
    for line in lines:
        undone, done, half = map(int, line.split()[:3])
        assert (undone >= 5, done, half) == (True, 1, 0), line
