"""Each judge finds what is planted for it in records that are right otherwise, and nothing in these."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ledger.amounts import PARTS_PER_UNIT
from ledger.local_books import open_books
from tests.chaos import judges
from tests.chaos.books import coins_of, steal
from tests.chaos.disturb import Done
from tests.chaos.judges import Books, Census, Channel, Coins, Recovery, Watch
from tests.chaos.load import Outcome, Transfer, Way
from tests.chaos.plan import NODES, Disturbance, Kind

if TYPE_CHECKING:
    from pathlib import Path

EXITS = ["127.22.0.1", "127.22.0.2"]


def transfer(number: int, outcome: Outcome, *, probe: bool = False) -> Transfer:
    return Transfer(number, "client-1", Way.PUT, 1000, 0, probe, 1.0, 2.0, 1000, outcome)


RIGHT = [transfer(1, Outcome.EXACT), transfer(2, Outcome.FAILED)]


@pytest.mark.parametrize("outcome", [Outcome.WRONG, Outcome.SHORT, Outcome.HUNG, Outcome.RUNNING])
def test_a_transfer_that_is_neither_exact_nor_failed(outcome: Outcome) -> None:
    assert not judges.transfers(RIGHT, {1: Outcome.EXACT, 2: Outcome.FAILED}).wrong
    [wrong] = judges.transfers([*RIGHT, transfer(3, outcome)], {}).wrong
    assert outcome in wrong
    assert "put 3" in wrong


@pytest.mark.parametrize("outcome", [Outcome.WRONG, Outcome.SHORT])
def test_an_upload_that_looks_whole_and_is_not(outcome: Outcome) -> None:
    assert len(judges.transfers(RIGHT, {1: outcome}).wrong) == 1


def test_a_probe_may_wait_in_vain_and_must_be_right_all_the_same() -> None:
    assert not judges.transfers([transfer(1, Outcome.HUNG, probe=True)], {}).wrong
    assert judges.transfers([transfer(1, Outcome.SHORT, probe=True)], {}).wrong


def test_a_direct_connection() -> None:
    counted = {"direct": 0, "stray": 0}
    assert not judges.contacts(dict.fromkeys(EXITS, 3), EXITS, counted).wrong
    assert judges.contacts({"127.0.0.1": 1}, EXITS, counted).wrong == ["1 contacts from 127.0.0.1"]
    assert judges.contacts({}, EXITS, counted | {"stray": 2}).wrong == ["2 packets: stray"]


def test_a_recovery_that_takes_too_long() -> None:
    right = [Recovery("kill relay-1", "client-1", 4.9), Recovery("kill relay-1", "client-1", None, "all exits …")]
    assert not judges.recoveries(right, 5.0).wrong
    for after_s in (5.1, None):
        assert len(judges.recoveries([*right, Recovery("kill", "client-2", after_s)], 5.0).wrong) == 1


def test_what_is_in_a_clients_way_excuses_it() -> None:
    spans = {"client-1": (10.0, 12.0), "relay-1": (10.0, 14.0), "relay-2": (13.0, 16.0), "exit-1": (0.0, 99.0)}
    watch = Watch([(name, *span) for name, span in spans.items()])

    def excused(client: str, begin: float, end: float) -> bool:
        return bool(watch.excuse(client, ["relay-1", "relay-2"], ["exit-1", "exit-2"], begin, end))

    assert excused("client-1", 11.0, 12.5)
    assert not excused("client-1", 12.0, 12.5)
    assert excused("client-2", 12.0, 13.5), "both guards are disturbed at some time between"
    assert not excused("client-2", 14.0, 15.0)
    assert watch.excuse("client-2", [], ["exit-1"], 50.0, 55.0)


def done(**more: Any) -> Done:
    return Done(Disturbance(1, Kind.KILL, "relay-1", 1.0, 2.0), **more)


def test_a_process_that_does_not_start_or_end() -> None:
    ended = dict.fromkeys(NODES, True)
    assert not judges.processes([done()], ended).wrong
    assert judges.processes([done(trouble="did not start again")], ended).wrong
    assert judges.processes([], ended | {"exit-1": False}).wrong
    del ended["exit-1"]
    assert judges.processes([], ended).wrong


QUIET = Census(descriptors=30, threads=4, memory_mb=90.0, tasks={"watch": 20})


@pytest.mark.parametrize(
    "leak", [{"descriptors": 100}, {"threads": 20}, {"memory_mb": 190.0}, {"tasks": {"watch": 20, "lost": 50}}]
)
def test_a_leak(leak: dict[str, Any]) -> None:
    a_little_more = replace(QUIET, descriptors=33, memory_mb=110.0, tasks={"watch": 24})
    assert not judges.leaks({"relay-1": QUIET}, {"relay-1": a_little_more}).wrong
    assert len(judges.leaks({"relay-1": QUIET}, {"relay-1": replace(QUIET, **leak)}).wrong) == 1


COINS = Coins(made=12_000, free=9_000, locked=3_000)
CHANNEL = Channel(
    "client-1", "relay-1", deposit=1_000, paid=100, used=98 * PARTS_PER_UNIT, received=100, served=97 * PARTS_PER_UNIT
)


def test_a_coin_that_was_made_or_lost() -> None:
    assert not judges.money(COINS, 12_000, Books([CHANNEL]), {}).wrong
    assert judges.money(replace(COINS, free=8_999), 12_000, Books([]), {}).wrong
    assert judges.money(replace(COINS, made=13_000, free=10_000), 12_000, Books([]), {}).wrong
    assert judges.money(COINS, 12_000, Books([], ["relay-1: damaged"]), {}).wrong == ["relay-1: damaged"]


@pytest.mark.parametrize(
    "change",
    [
        {"paid": 1_001, "received": 1_001, "served": 1_001 * PARTS_PER_UNIT},
        {"received": 101},
        {"claimed": 101},
        {"served": 101 * PARTS_PER_UNIT},
        {"served": 60 * PARTS_PER_UNIT},
    ],
)
def test_money_that_is_not_where_it_should_be(change: dict[str, Any]) -> None:
    assert len(judges.money(COINS, 12_000, Books([replace(CHANNEL, **change)]), {}).wrong) == 1


def test_each_disturbance_may_cost_a_window_and_no_more() -> None:
    lost = replace(CHANNEL, served=30 * PARTS_PER_UNIT)  # of 100 units, with a window of 25
    assert judges.money(COINS, 12_000, Books([lost]), {"relay-1": 1}).wrong
    assert not judges.money(COINS, 12_000, Books([lost]), {"relay-1": 1, "client-1": 1}).wrong


def test_a_channel_that_its_payee_has_forgotten_is_not_compared() -> None:
    assert not judges.money(COINS, 12_000, Books([replace(CHANNEL, received=None, served=None)]), {}).wrong


def test_a_coin_that_is_stolen_is_missed(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    books = open_books(ledger, lambda: 0.0, bytes, 1.0)
    books.transact(lambda: books.make(bytes([1] * 20), 1_000))
    books.shut()
    assert not judges.money(coins_of(str(ledger)), 1_000, Books([]), {}).wrong
    steal(str(ledger))
    assert judges.money(coins_of(str(ledger)), 1_000, Books([]), {}).wrong == [
        "1000 units were made, and 999 are there"
    ]
