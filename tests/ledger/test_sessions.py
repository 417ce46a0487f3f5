"""The two ends together, in a time of their own: how fast a download may go, and what two links have in common."""

from __future__ import annotations

import heapq
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Final

import pytest

from ledger import payee, payer
from ledger.amounts import MAX_AMOUNT, PARTS_PER_UNIT
from ledger.messages import decode
from ledger.payee import CHECK_S, CHECKS_AHEAD, Payee, TheirChannel
from ledger.payer import OwnChannel, Payer
from ledger.voucher import SigningKey
from tests.harness.entropy import seeded
from tests.ledger.sessions import SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Callable

MB: Final = 1_000_000
LINE: Final = 70 * MB
"""Bytes a second that the line could carry."""

PIECE: Final = 33_000
COMMIT_S: Final = 0.002


class Download:
    """A payee that sends as much as it may over a link of one round trip, to a payer that pays for it.

    Args:
        seed: of the keys and ids.
        round_trip_s: of the link.
        rate: units per MB.
    """

    def __init__(self, seed: str, round_trip_s: float, rate: int) -> None:
        drawn = seeded(seed)
        self.key, self.channel, link = SigningKey(drawn(32)), drawn(32), drawn(32)
        self.near = Payer(SEPARATOR, link, rate)
        self.far = Payee(SEPARATOR, drawn(20), link, 0)
        self.one_way_s, self.rate = round_trip_s / 2, rate
        self.now, self.moved, self.vouchers = 0.0, 0, 0
        self.said: list[bytes] = []
        self._turns: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self.near.ask(0)
        self._near([])
        self._pump()

    def run(self, until: float) -> int:
        """Go on until a time in seconds; returns the bytes that were moved by then."""
        while self._turns[0][0] <= until:
            self.now, _, act = heapq.heappop(self._turns)
            act()
        return self.moved

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._turns, (self.now + seconds, next(self._numbers), act))

    def _near(self, events: list[payer.Event]) -> None:
        for event in events:
            match event:
                case payer.NeedChannel():
                    self.near.show(OwnChannel(self.channel, self.key, MAX_AMOUNT), self.now)
                case payer.Commit():
                    self._after(COMMIT_S, lambda: self._near(self.near.stored(self.now)))
                case payer.Acknowledged():
                    pass
                case _:
                    raise AssertionError(event)
        for body in self.near.outgoing:
            self.said.append(body)
            self._after(self.one_way_s, partial(self._far_hears, body))
        self.near.outgoing.clear()

    def _far(self, events: list[payee.Event]) -> None:
        for event in events:
            match event:
                case payee.Look():
                    self._far(self.far.accept(TheirChannel(self.key.address, MAX_AMOUNT)))
                case payee.Commit():
                    self.vouchers += 1
                    self._after(COMMIT_S, lambda: self._far(self.far.stored(self.now)))
                case _:
                    raise AssertionError(event)
        for body in self.far.outgoing:
            self.said.append(body)
            self._after(self.one_way_s, partial(self._near_hears, body))
        self.far.outgoing.clear()

    def _near_hears(self, body: bytes) -> None:
        self._near(self.near.receive(decode(body), self.now))

    def _far_hears(self, body: bytes) -> None:
        self._far(self.far.receive(decode(body), self.now))

    def _pump(self) -> None:
        if self.far.stage is payee.Stage.UP:
            if self.far.account.take(PIECE * self.rate):
                self.far.enough()
                self.moved += PIECE
                self._after(self.one_way_s, self._came)
                self._after(PIECE / LINE, self._pump)
                return
            self.far.short(self.now)
        self._far(self.far.tick(self.now))
        self._after(0.001, self._pump)

    def _came(self) -> None:
        self.near.account.took(PIECE * self.rate)
        self._near(self.near.due())


@pytest.mark.parametrize(
    ("round_trip_s", "first_s", "third_s"),
    [(0.002, 60, 69), (0.02, 50, 69), (0.05, 15, 69), (0.1, 4, 50)],
)
def test_a_new_channel_becomes_as_fast_as_the_line(round_trip_s: float, first_s: int, third_s: int) -> None:
    """MB in the first and in the third second, with the rate of a guard at a middle tariff."""
    download = Download("pace", round_trip_s, 30)
    first = download.run(1)
    second = download.run(2)
    third = download.run(3) - second
    assert first >= first_s * MB
    assert third >= third_s * MB
    assert download.vouchers <= 3 / CHECK_S + CHECKS_AHEAD
    assert download.far.account.used <= download.far.account.paid * PARTS_PER_UNIT


def test_a_channel_with_a_history_is_as_fast_as_the_line_at_once() -> None:
    download = Download("history", 0.1, 30)
    before = download.run(6)
    assert download.run(7) - before >= 69 * MB


def test_two_links_have_nothing_in_common() -> None:
    """Of all that is said on them no 8 bytes are the same, but for the domain, which all share, and for the zeros
    before small numbers."""
    one, other = Download("one", 0.05, 30), Download("other", 0.05, 20)
    for download in (one, other):
        download.run(0.5)
        assert {body[0] for body in download.said} == {1, 2, 3, 4, 5, 6, 7}
    found = {piece for piece in pieces(one) & pieces(other) if piece not in SEPARATOR}
    assert found
    assert all(piece.startswith(bytes(4)) or piece.endswith(bytes(4)) for piece in found), found


def pieces(download: Download, size: int = 8) -> set[bytes]:
    return {body[at : at + size] for body in download.said for at in range(1, len(body) - size + 1)}
