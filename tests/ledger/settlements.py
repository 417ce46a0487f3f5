"""Random calls, right and wrong, to a settlement and to the model: all answers and balances must be the same.

To put another settlement to it, write a `Backend` and call `compare` with a function that starts one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from core.errors import PaymentError, Reason
from ledger.amounts import MAX_AMOUNT
from ledger.settlement import CLOSE_DELAY_S, MAX_DEPOSIT, ChannelState
from ledger.voucher import Domain, SigningKey
from tests.ledger.model import NOBODY, Claim, Close, FinishClose, Model, Open, StartClose, TopUp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from ledger.settlement import Settlement
    from tests.ledger.model import Call

ACCOUNTS: Final = 3
KEYS: Final = [SigningKey(bytes([number] * 32)) for number in (1, 2, 3)]
ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class Backend(Protocol):
    """A settlement of its own, with `ACCOUNTS` accounts that hold something and no channels."""

    async def as_account(self, number: int) -> Settlement:
        """The settlement as an account uses it; the same object each time. Calls return when they are final."""

    async def balance(self, number: int) -> int:
        """Units of an account; what was spent on fees counts as if it were still there."""

    async def locked(self) -> int:
        """Units that are in channels, as the settlement itself keeps them."""

    async def advance(self, seconds: int) -> None:
        """Let time pass, so that the settlement's is `seconds` later than it was."""

    async def aclose(self) -> None: ...


async def perform(settlement: Settlement, call: Call) -> bytes | int | None:
    """Make a call.

    Returns:
        What a settlement answers: an id, the units of a claim, or nothing.

    Raises:
        PaymentError: it was refused.
    """
    match call:
        case Open():
            return await settlement.open(call.payee, call.signer, call.deposit)
        case TopUp():
            await settlement.top_up(call.channel, call.units)
        case Claim():
            return await settlement.claim(call.channel, call.cumulative, call.signature)
        case StartClose():
            await settlement.start_close(call.channel)
        case Close():
            await settlement.close(call.channel)
        case FinishClose():
            await settlement.finish_close(call.channel)
    return None


def spoilt(signature: bytes, how: str, bit: int) -> bytes:
    """Damage a signature, or write it as it must not be written."""
    r, s, v = signature[:32], signature[32:64], signature[64]
    match how:
        case "high s":
            return r + (ORDER - int.from_bytes(s)).to_bytes(32) + bytes([27 + 28 - v])
        case "other v":
            return r + s + bytes([27 + 28 - v])
        case "v from 0":
            return r + s + bytes([v - 27])
        case "no r":
            return bytes(32) + s + bytes([v])
        case "no s":
            return r + bytes(32) + bytes([v])
        case "short":
            return signature[:-1]
        case "long":
            return signature + b"\0"
    return (int.from_bytes(signature) ^ 1 << bit).to_bytes(65)


SPOILS: Final = st.sampled_from(["high s", "other v", "v from 0", "no r", "no s", "short", "long", "bit"])
DOMAINS: Final = st.sampled_from(["right", "chain", "contract"])

ANYBODY: Final = st.integers(0, ACCOUNTS - 1)
ANY_KEY: Final = st.integers(0, len(KEYS) - 1)
CALLERS: Final = st.sampled_from(["payer", "payee", *range(ACCOUNTS)])
CHANNELS: Final = st.integers(0, 9)
"""8 is one that is closed, 9 one that never was; the others are not closed, if there are such."""

NEAR: Final = st.tuples(st.integers(0, 9), st.sampled_from([-1, 0, 0, 1]))
"""Which of several amounts, and how far beside it."""


class Comparison(RuleBasedStateMachine):
    """A settlement beside the model. Subclasses say where to run it and how to start one."""

    runner: asyncio.Runner

    async def begin(self) -> Backend:
        raise NotImplementedError

    def run[Answer](self, work: Coroutine[object, object, Answer]) -> Answer:
        return self.runner.run(work)

    @initialize(first=st.lists(st.tuples(ANYBODY, st.booleans()), min_size=1, max_size=4), key=ANY_KEY)
    def start(self, first: list[tuple[int, bool]], key: int) -> None:
        """Begin with some channels, of which some are closing."""
        self.run(self.start_backend())
        for payee, closing in first:
            self.open_well(0, payee, key)
            if closing:
                self.call(StartClose(self.accounts[0], self.ids[-1]))

    async def start_backend(self) -> None:
        self.backend = await self.begin()
        self.settlements = [await self.backend.as_account(number) for number in range(ACCOUNTS)]
        self.accounts = [settlement.account for settlement in self.settlements]
        self.domain = self.settlements[0].domain
        balances = [await self.backend.balance(number) for number in range(ACCOUNTS)]
        self.total = sum(balances)
        self.model = Model(dict(zip(self.accounts, balances, strict=True)), self.domain.separator)
        self.ids: list[bytes] = []
        self.vouchers: list[Claim] = []
        self.touched = b""
        self.step = 0

    def teardown(self) -> None:
        if hasattr(self, "backend"):
            self.run(self.backend.aclose())

    @rule(caller=ANYBODY, payee=st.integers(0, ACCOUNTS), key=st.integers(0, len(KEYS)), near=NEAR)
    def open(self, caller: int, payee: int, key: int, near: tuple[int, int]) -> None:
        balance = self.model.balances[self.accounts[caller]]
        deposit = self.amount(near, 0, 1000, balance // 2, balance, MAX_DEPOSIT, MAX_AMOUNT)
        signers = [*(key.address for key in KEYS), NOBODY]
        self.call(Open(self.accounts[caller], [*self.accounts, NOBODY][payee], signers[key], deposit))

    @rule(caller=ANYBODY, payee=ANYBODY, key=ANY_KEY)
    def open_well(self, caller: int, payee: int, key: int) -> None:
        deposit = min(self.model.balances[self.accounts[caller]] // 3 or 1, MAX_DEPOSIT // 2)
        self.call(Open(self.accounts[caller], self.accounts[payee], KEYS[key].address, deposit))

    @rule(caller=CALLERS, place=CHANNELS, near=NEAR)
    def top_up(self, caller: int | str, place: int, near: tuple[int, int]) -> None:
        channel = self.channel(place)
        account = self.account(caller, channel)
        balance = self.model.balances[account]
        held = self.model.held.get(channel)
        room = MAX_DEPOSIT - (held.deposit if held else 0)
        self.call(TopUp(account, channel, self.amount(near, 0, 1, balance // 2, balance, room, MAX_AMOUNT)))

    @rule(caller=CALLERS, place=CHANNELS, near=NEAR)
    def claim(self, caller: int | str, place: int, near: tuple[int, int]) -> None:
        channel = self.channel(place)
        self.claim_for(caller, channel, self.cumulative(channel, near), self.key_of(channel), "right")

    @rule(caller=CALLERS, place=CHANNELS, near=NEAR, key=st.sampled_from(KEYS), domain=DOMAINS)
    def claim_as_another(
        self, caller: int | str, place: int, near: tuple[int, int], key: SigningKey, domain: str
    ) -> None:
        """Signed by whatever key, for here or elsewhere."""
        channel = self.channel(place)
        self.claim_for(caller, channel, self.cumulative(channel, near), key, domain)

    @rule(caller=CALLERS, place=CHANNELS, near=NEAR, spoil=SPOILS, bit=st.integers(0, 65 * 8 - 1))
    def claim_spoilt(self, caller: int | str, place: int, near: tuple[int, int], spoil: str, bit: int) -> None:
        channel = self.channel(place)
        cumulative = self.cumulative(channel, near)
        signature = self.sign(self.key_of(channel), "right", channel, cumulative)
        self.call(Claim(self.account(caller, channel), channel, cumulative, spoilt(signature, spoil, bit)))

    @rule(caller=CALLERS, which=st.integers(0, 20), place=st.one_of(st.none(), CHANNELS), more=st.integers(0, 1))
    def claim_again(self, caller: int | str, which: int, place: int | None, more: int) -> None:
        """A voucher once more: as it was, on another channel, or for another amount."""
        if self.vouchers:
            old = self.vouchers[which % len(self.vouchers)]
            channel = old.channel if place is None else self.channel(place)
            cumulative = min(old.cumulative + more, MAX_AMOUNT)
            self.call(Claim(self.account(caller, channel), channel, cumulative, old.signature))

    @rule(caller=CALLERS, place=CHANNELS)
    def start_close(self, caller: int | str, place: int) -> None:
        channel = self.channel(place)
        self.call(StartClose(self.account(caller, channel), channel))

    @rule(caller=CALLERS, place=CHANNELS)
    def close(self, caller: int | str, place: int) -> None:
        channel = self.channel(place)
        self.call(Close(self.account(caller, channel), channel))

    @rule(caller=CALLERS, place=CHANNELS)
    def finish_close(self, caller: int | str, place: int) -> None:
        channel = self.channel(place)
        self.call(FinishClose(self.account(caller, channel), channel))

    @rule(seconds=st.sampled_from([1, 3600, CLOSE_DELAY_S]))
    def wait(self, seconds: int) -> None:
        self.run(self.backend.advance(seconds))

    @rule(caller=CALLERS, which=st.integers(0, 9), beside=st.sampled_from([-1, 0, 1]))
    def finish_close_around_its_time(self, caller: int | str, which: int, beside: int) -> None:
        closing = [channel for channel, held in self.model.held.items() if held.closes_at is not None]
        if closing:
            channel = closing[which % len(closing)]
            left = self.model.look(channel).closes_at + beside - self.run(self.settlements[0].now_s())
            if left > 0:
                self.run(self.backend.advance(left))
            self.call(FinishClose(self.account(caller, channel), channel))

    @invariant()
    def same(self) -> None:
        if hasattr(self, "backend"):
            self.run(self.compare())

    async def compare(self) -> None:
        """All sums; of the channels only the one that was called, and each other in its turn."""
        balances = [await self.backend.balance(number) for number in range(ACCOUNTS)]
        assert balances == [self.model.balances[account] for account in self.accounts]
        locked = await self.backend.locked()
        assert locked == self.model.locked
        assert sum(balances) + locked == self.total
        self.step += 1
        turn = self.ids[self.step % len(self.ids)]
        for channel in {self.touched, turn} & set(self.ids):
            assert await self.settlements[self.step % ACCOUNTS].look(channel) == self.model.look(channel)
        closing = [turn] if self.model.look(turn).state is ChannelState.CLOSING else []
        assert await self.settlements[0].closing([turn, b"\xff" * 32]) == closing

    def channel(self, place: int) -> bytes:
        """The id of a channel, or of none."""
        among = {8: list(self.model.closed), 9: []}.get(place, list(self.model.held) or list(self.model.closed))
        return among[place % len(among)] if among else bytes([place + 1] * 32)

    def cumulative(self, channel: bytes, near: tuple[int, int]) -> int:
        held = self.model.held.get(channel)
        deposit, claimed = (held.deposit, held.claimed) if held else (0, 0)
        return self.amount(near, 0, claimed, (claimed + deposit) // 2, deposit, MAX_AMOUNT)

    def key_of(self, channel: bytes) -> SigningKey:
        held = self.model.held.get(channel)
        return next((key for key in KEYS if held and key.address == held.signer), KEYS[0])

    def claim_for(self, caller: int | str, channel: bytes, cumulative: int, key: SigningKey, domain: str) -> None:
        signature = self.sign(key, domain, channel, cumulative)
        claim = Claim(self.account(caller, channel), channel, cumulative, signature)
        self.vouchers.append(claim)
        self.call(claim)

    def account(self, caller: int | str, channel: bytes) -> bytes:
        if isinstance(caller, int):
            return self.accounts[caller]
        held = self.model.held.get(channel)
        if held is None:
            return self.accounts[0]
        return held.payer if caller == "payer" else held.payee

    def amount(self, near: tuple[int, int], *amounts: int) -> int:
        which, beside = near
        return min(MAX_AMOUNT, max(0, amounts[which % len(amounts)] + beside))

    def sign(self, key: SigningKey, domain: str, channel: bytes, cumulative: int) -> bytes:
        ours = self.domain
        domains = {
            "right": ours,
            "chain": Domain(ours.chain_id + 1, ours.contract),
            "contract": Domain(ours.chain_id, bytes(19) + b"\1"),
        }
        separator = domains[domain].separator
        signature = key.sign(separator, channel, cumulative)
        self.model.signed.add((key.address, separator, channel, cumulative, signature))
        return signature

    def call(self, call: Call) -> None:
        """Make a call to both. Time may pass meanwhile, and a close is then early or not."""
        if not isinstance(call, Open):
            self.touched = call.channel
        before, answer, after = self.run(self.answer(call))
        faults = [self.model.faults(call, now) for now in (before, after)]
        if isinstance(answer, Reason):
            assert answer in faults[0] | faults[1], (call, answer, faults)
            return
        assert not all(faults), (call, faults)
        match call:
            case Open():
                assert isinstance(answer, bytes)
                assert len(answer) == 32
                assert answer not in self.ids
                self.ids.append(answer)
                self.touched = answer
                self.model.open(call, answer)
                opener = self.settlements[self.accounts.index(call.caller)]
                assert self.run(opener.find(call.payee, call.signer)) == answer
            case StartClose():
                closes_at = self.run(self.settlements[0].look(call.channel)).closes_at
                assert before <= closes_at - CLOSE_DELAY_S <= after
                self.model.start_close(call, closes_at)
            case _:
                assert answer == self.model.do(call)

    async def answer(self, call: Call) -> tuple[int, bytes | int | Reason | None, int]:
        """What the settlement answers, or why it refuses, and its time before and after."""
        settlement = self.settlements[self.accounts.index(call.caller)]
        before = await settlement.now_s()
        answer: bytes | int | Reason | None
        try:
            answer = await perform(settlement, call)
        except PaymentError as error:
            answer = error.reason
        return before, answer, await settlement.now_s()


def compare(start: Callable[[], Awaitable[Backend]], examples: int, steps: int, *, shrink: bool = True) -> None:
    """Compare a settlement with the model.

    Args:
        start: starts one; all run on one event loop, one after the other.
        examples: how many.
        steps: how many calls each.
        shrink: look for the shortest calls that show a difference, which takes a slow one longer than there is time.

    Raises:
        AssertionError: an answer, a balance or a channel differs.
    """
    with asyncio.Runner() as loop:

        class Machine(Comparison):
            runner = loop

            async def begin(self) -> Backend:
                return await start()

        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                phases=[phase for phase in Phase if shrink or phase not in (Phase.shrink, Phase.explain)],
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            ),
        )
