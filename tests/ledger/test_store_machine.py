"""The store against a model: random changes, alone and in groups, reopened, and put back from backups.

`HYPOTHESIS_PROFILE=deep HYPOTHESIS_EXAMPLES=1000` tries more than the few of every day.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from core.errors import PaymentError
from ledger.settlement import ChannelState
from ledger.store import Store
from tests.ledger.books_model import BooksModel, RefusedError
from tests.ledger.rows import UNIT, name, payee, payer, signature

MEMORY: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""A file system on which a commit costs nothing: what a disk does is not looked at here."""

DEEP: Final = os.environ.get("HYPOTHESIS_PROFILE") == "deep"

NUMBERS: Final = st.integers(1, 4)
CHANNELS: Final = NUMBERS.map(name)
AMOUNTS: Final = st.integers(0, 24)
PARTS: Final = st.integers(0, 25 * UNIT)
VOUCHERS: Final = AMOUNTS.map(lambda paid: (paid, signature(paid)))

CHANGES: Final = st.one_of(
    st.tuples(st.just("add_payer"), st.builds(payer, NUMBERS, AMOUNTS)),
    st.tuples(st.just("add_payee"), st.builds(payee, NUMBERS, AMOUNTS)),
    st.tuples(st.just("raise_paid"), CHANNELS, AMOUNTS, PARTS),
    st.tuples(st.just("raise_paid"), CHANNELS, AMOUNTS, PARTS),
    st.tuples(st.just("adopt_paid"), CHANNELS, AMOUNTS, PARTS),
    st.builds(lambda channel, voucher, used: ("take_voucher", channel, *voucher, used), CHANNELS, VOUCHERS, PARTS),
    st.builds(lambda channel, voucher, used: ("take_voucher", channel, *voucher, used), CHANNELS, VOUCHERS, PARTS),
    st.tuples(st.just("use"), CHANNELS, PARTS),
    st.tuples(st.just("deposit"), CHANNELS, AMOUNTS),
    st.tuples(st.just("claimed"), CHANNELS, AMOUNTS),
    st.tuples(st.just("state"), CHANNELS, st.sampled_from(ChannelState)),
    st.tuples(st.just("forget"), CHANNELS),
    st.tuples(st.just("cap"), st.integers(0, 60)),
)


def of_model(model: BooksModel, change: tuple[Any, ...]) -> object:
    """What the model answers."""
    call, *arguments = change
    try:
        return getattr(model, "set_cap" if call == "cap" else call)(*arguments)
    except RefusedError as error:
        return str(error)


async def of_store(store: Store, change: tuple[Any, ...]) -> object:
    """What the store answers, in the model's words."""
    call, *arguments = change
    try:
        return await getattr(store, call)(*arguments)
    except PaymentError as error:
        return error.reason.word
    except ValueError:
        return "wrong"


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY)
        self.home = Path(self.folder.name)
        self.runner = asyncio.Runner()
        self.model = BooksModel()
        self.backups: list[tuple[Path, BooksModel]] = []
        self.places = 0

    @initialize()
    def begin(self) -> None:
        self.path = self.place()
        self.store = self.runner.run(Store.open(self.path))

    def place(self) -> Path:
        self.places += 1
        return self.home / str(self.places)

    @rule(change=CHANGES)
    def change(self, change: tuple[Any, ...]) -> None:
        assert self.runner.run(of_store(self.store, change)) == of_model(self.model, change)

    @rule(changes=st.lists(CHANGES, min_size=2, max_size=12))
    def together(self, changes: list[tuple[Any, ...]]) -> None:
        async def run() -> list[object]:
            return await asyncio.gather(*(of_store(self.store, change) for change in changes))

        assert self.runner.run(run()) == [of_model(self.model, change) for change in changes]

    @rule()
    def reopen(self) -> None:
        self.runner.run(self.store.aclose())
        self.store = self.runner.run(Store.open(self.path))

    @rule()
    def back_up(self) -> None:
        path = self.place()
        self.runner.run(self.store.export(path))
        self.backups.append((path, self.model.copy()))

    @rule(data=st.data())
    def put_back(self, data: st.DataObject) -> None:
        if not self.backups:
            return
        backup, model = data.draw(st.sampled_from(self.backups))
        self.runner.run(self.store.aclose())
        self.path, self.model = self.place(), model.copy()
        Store.restore(backup, self.path)
        self.store = self.runner.run(Store.open(self.path))

    @invariant()
    def same(self) -> None:
        self.model.check()
        pay = {
            row.channel: {"deposit": row.deposit, "paid": row.paid, "used": row.used, "state": int(row.state)}
            for row in self.store.payers
        }
        earn = {
            row.channel: {
                "deposit": row.deposit,
                "paid": row.paid,
                "used": row.used,
                "claimed": row.claimed,
                "state": int(row.state),
                "signature": row.signature,
            }
            for row in self.store.payees
        }
        assert (pay, earn) == (self.model.pay, self.model.earn)
        totals = self.store.totals
        assert (totals.cap, totals.spent, totals.earned) == (self.model.cap, self.model.spent, self.model.earned)
        assert self.store.signed == self.model.signed

    def teardown(self) -> None:
        self.runner.run(self.store.aclose())
        self.runner.close()
        self.folder.cleanup()


TestStore = StoreMachine.TestCase
TestStore.settings = settings(
    max_examples=settings().max_examples if DEEP else 15, stateful_step_count=25, deadline=None
)
