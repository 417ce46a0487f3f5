"""`bench vouchers`: how many vouchers a payee takes per second, on one core.

Vouchers of many channels are checked and stored, as many at once as there are channels; each channel's next one comes
when the last was answered. `checked` is the checking alone, `stored` the storing alone, `taken` both, `one_by_one` both
with a single channel, where nothing can share a commit. `cpu_us` is CPU time for each voucher, in microseconds. What a
commit costs is the disk's: name a folder on the one that you mean. A disk that says that it has written before it has
makes the figures worthless.

`recovered` is the reference: libsecp256k1 finding the keys that signed, which no check can do without. All are measured
in turns, and `taken_of_recovered` compares the two of one turn: what part of the time of `taken` that is.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import uvloop
from coincurve import PublicKey

from bench.figures import spread
from bench.report import say
from ledger.books import PayeeChannel
from ledger.store import Store
from ledger.voucher import SigningKey, check, digest_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

TAKES_DEMO_OPTIONS: Final = False
DEPOSIT: Final = 1 << 64
SEPARATOR: Final = bytes(range(32))


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--channels", type=int, default=64, help="vouchers at once (default: %(default)s)")
    parser.add_argument("--vouchers", type=int, default=200, help="on each channel, in one run (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--folder", help="where the books lie meanwhile (default: the system's temporary folder)")


class _Watch:
    """Measures what is done inside: `took` is its seconds, and its seconds of CPU."""

    def __enter__(self) -> Self:
        self._started = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.took = time.perf_counter() - self._started[0], time.process_time() - self._started[1]


class _Payers:
    """Those who pay: signs vouchers ahead, since that is not the payee's work."""

    def __init__(self, channels: int, vouchers: int) -> None:
        chance = random.Random(1)
        key = SigningKey(chance.randbytes(32))
        self.rows = [PayeeChannel(chance.randbytes(32), SEPARATOR, key.address, DEPOSIT) for _ in range(channels)]
        self.signed = [
            [(paid, key.sign(SEPARATOR, row.channel, paid)) for paid in range(1, vouchers + 1)] for row in self.rows
        ]
        self.compact = [
            (digest_of(SEPARATOR, row.channel, paid), signature[:64] + bytes([signature[64] - 27]))
            for row, signed in zip(self.rows, self.signed, strict=True)
            for paid, signature in signed
        ]

    @property
    def count(self) -> int:
        return sum(map(len, self.signed))


def _check(row: PayeeChannel, paid: int, signature: bytes) -> None:
    check(row.signer, row.separator, row.channel, paid, signature)


def _checked(payers: _Payers) -> tuple[float, float]:
    with _Watch() as watch:
        for row, signed in zip(payers.rows, payers.signed, strict=True):
            for paid, signature in signed:
                _check(row, paid, signature)
    return watch.took


def _recovered(payers: _Payers) -> tuple[float, float]:
    with _Watch() as watch:
        for message, signature in payers.compact:
            PublicKey.from_signature_and_message(signature, message, hasher=None)
    return watch.took


async def _taken(payers: _Payers, folder: Path, checking: bool) -> tuple[float, float]:
    async def take(row: PayeeChannel, signed: list[tuple[int, bytes]]) -> None:
        for paid, signature in signed:
            if checking:
                _check(row, paid, signature)
            await store.take_voucher(row.channel, paid, signature, 0)

    async with aclosing(await Store.open(folder / "books")) as store:
        await asyncio.gather(*map(store.add_payee, payers.rows))
        with _Watch() as watch:
            await asyncio.gather(*map(take, payers.rows, payers.signed))
    return watch.took


def _in_new_books(payers: _Payers, options: argparse.Namespace, *, checking: bool) -> tuple[float, float]:
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        return uvloop.run(_taken(payers, Path(folder), checking))


def _rates(payers: _Payers, taken: list[tuple[float, float]]) -> dict[str, Any]:
    return {
        "per_s": spread([payers.count / took for took, _ in taken], 0),
        "cpu_us": spread([cpu / payers.count * 1e6 for _, cpu in taken], 1),
    }


def run(options: argparse.Namespace, demo_options: list[str]) -> dict[str, Any]:
    """Measure, and return the figures."""
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    say(f"vouchers: {options.channels} channels, {options.vouchers} vouchers on each …")
    payers = _Payers(options.channels, options.vouchers)
    single = _Payers(1, options.vouchers)
    ways: dict[str, tuple[_Payers, Callable[[], tuple[float, float]]]] = {
        "recovered": (payers, lambda: _recovered(payers)),
        "checked": (payers, lambda: _checked(payers)),
        "stored": (payers, lambda: _in_new_books(payers, options, checking=False)),
        "taken": (payers, lambda: _in_new_books(payers, options, checking=True)),
        "one_by_one": (single, lambda: _in_new_books(single, options, checking=True)),
    }
    turns = [{name: measure() for name, (_, measure) in ways.items()} for _ in range(options.runs)]
    return {
        "at_once": options.channels,
        "taken_of_recovered": spread([turn["recovered"][0] / turn["taken"][0] for turn in turns]),
        **{name: _rates(whose, [turn[name] for turn in turns]) for name, (whose, _) in ways.items()},
    }
