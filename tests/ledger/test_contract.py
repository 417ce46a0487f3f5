"""The contract itself, on two chains: its rules hold whoever calls it, and whatever accounts and tokens do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest
from web3.exceptions import Web3Exception

from core.errors import PaymentError, Reason
from ledger.contract import channels
from ledger.settlement import CLOSE_DELAY_S, ChannelState
from ledger.voucher import Domain, SigningKey
from scripts.compile_contract import MADE, compiled
from tests.harness.chain import NOBODY, UNIT, Anvil, PyEvm, Testnet
from tests.harness.chain import compiled as other
from tests.harness.raw_channel import CLOSED, RawChannel, high, parties
from tests.ledger.gas import COINS, LIFE, LIFE_LIMIT, measured

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OPEN, CLOSING = int(ChannelState.OPEN), int(ChannelState.CLOSING)
STRANGER: Final = SigningKey(bytes(31) + b"\x09")


@pytest.fixture(params=[PyEvm, Anvil])
async def net(request: pytest.FixtureRequest) -> AsyncIterator[Testnet]:
    async with request.param() as started:
        yield started


@pytest.fixture
async def evm() -> AsyncIterator[Testnet]:
    async with Anvil() as started:
        yield started


def test_what_is_shipped_is_what_the_source_says() -> None:
    made = compiled()
    assert MADE.read_text(encoding="ascii") == made
    assert json.loads(made)["runtime"] == channels().runtime.hex()


@pytest.mark.parametrize("kind", ["native", "coin"])
async def test_life(net: Testnet, kind: str) -> None:
    channel = await (await parties(net, kind)).opened(1000)
    payee = await net.holds(channel.payee.account, channel.token)
    assert await channel.sums() == (1000, 0, OPEN)

    await channel.claim(400, by=channel.payer)  # anyone may
    assert await net.holds(channel.payee.account, channel.token) == payee + 400 * UNIT
    if kind != "native":
        await channel.approve(channel.payer, 50)
    await channel.do("topUp", channel.id, 50, units=50)
    await channel.do("startClose", channel.id)
    await channel.claim(500, by=channel.payer)
    assert await channel.sums() == (1050, 500, CLOSING)

    await net.advance(CLOSE_DELAY_S)
    payer = await net.holds(channel.payer.account, channel.token)
    await channel.do("finishClose", channel.id, by=channel.payee)
    assert await net.holds(channel.payer.account, channel.token) == payer + 550 * UNIT
    assert await net.holds(channel.where, channel.token) == 0
    assert tuple(await net.read(channel.where, "channel", channel.id)) == CLOSED


@pytest.mark.parametrize("kind", ["native", "coin"])
async def test_misuse_is_refused(net: Testnet, kind: str) -> None:
    """The nine kinds: replay, another channel, chain, contract, key, a high s, an early finish, and two late ones."""
    channel = await (await parties(net, kind)).opened(1000)
    sibling = await channel.opened(1000, nonce=1)
    await channel.claim(300)
    bad = Reason.BAD_VOUCHER

    before = await channel.state()
    for replayed in (300, 200):
        assert (await channel.claim(replayed)).logs == []
    assert await channel.state() == before

    await channel.refuses_claim(bad, 500, sibling.voucher(500))
    here = Domain(net.chain_id, channel.where)
    for domain in (Domain(net.chain_id + 1, here.contract), Domain(net.chain_id, await net.channels(channel.token))):
        await channel.refuses_claim(bad, 500, channel.voucher(500, domain))
    await channel.refuses_claim(bad, 500, channel.voucher(500, signer=STRANGER))
    await channel.refuses_claim(bad, 500, high(channel.voucher(500)))

    await channel.refuses(Reason.NOT_OPEN, "finishClose", channel.id, by=channel.payer)
    await channel.do("startClose", channel.id)
    await channel.refuses(Reason.TOO_EARLY, "finishClose", channel.id, by=channel.payer)
    await net.advance(CLOSE_DELAY_S - 60)
    await channel.refuses(Reason.TOO_EARLY, "finishClose", channel.id, by=channel.payer)
    await net.advance(60)
    await channel.do("finishClose", channel.id)
    await channel.refuses_claim(Reason.NOT_OPEN, 500)
    await channel.refuses(Reason.NOT_OPEN, "finishClose", channel.id, by=channel.payer)
    assert await sibling.sums() == (1000, 0, OPEN)


async def test_signatures_have_one_form(evm: Testnet) -> None:
    channel = await (await parties(evm)).opened(1000)
    good = channel.voucher(500)
    zeros = bytes(32)
    for wrong in (
        good[:64],
        good[:63] + good[64:],
        good[:64] + bytes([good[64] - 27]),
        good[:64] + bytes([good[64] ^ 7]),
        good[:64] + b"\xff",
        zeros + good[32:],
        good[:32] + zeros + good[64:],
        zeros + zeros + good[64:],
        b"\xff" * 64 + good[64:],
        bytes([good[0] ^ 1]) + good[1:],
    ):
        await channel.refuses_claim(Reason.BAD_VOUCHER, 500, wrong)
    await channel.refuses_claim(Reason.BAD_VOUCHER, 501, good)
    with pytest.raises((PaymentError, Web3Exception, ValueError)):
        await channel.claim(500, good + b"\0")
    await channel.claim(500, good)


async def test_a_claim_goes_as_far_as_the_deposit(evm: Testnet) -> None:
    channel = await (await parties(evm)).opened(1000)
    most = (1 << 128) - 1
    await channel.claim(most)
    assert await channel.sums() == (1000, 1000, OPEN)
    await channel.do("topUp", channel.id, 5, by=channel.payee, units=5)  # anyone may
    await channel.claim(most)
    assert await channel.sums() == (1005, 1005, OPEN)


async def test_who_may_do_what_and_when(evm: Testnet) -> None:
    channel = await (await parties(evm)).opened(1000)
    payer, payee, stranger = channel.payer, channel.payee, await evm.account()
    name = channel.id

    for other_one in (payee, stranger):
        await channel.refuses(Reason.NOT_ALLOWED, "startClose", name, by=other_one)
    for other_one in (payer, stranger):
        await channel.refuses(Reason.NOT_ALLOWED, "close", name, by=other_one)
    await channel.refuses(Reason.NOT_ALLOWED, "topUp", name, 0, by=payer)
    await channel.do("startClose", name)
    await channel.refuses(Reason.NOT_OPEN, "startClose", name, by=payer)
    await channel.refuses(Reason.NOT_OPEN, "topUp", name, 5, by=payer, units=5)
    await channel.refuses(Reason.NOT_ALLOWED, "close", name, by=payer)
    await channel.do("close", name, by=payee)  # at once, though it is closing
    for function, who in (("close", payee), ("startClose", payer), ("finishClose", payer)):
        await channel.refuses(Reason.NOT_OPEN, function, name, by=who)
    await channel.refuses(Reason.NOT_OPEN, "topUp", name, 5, by=payer, units=5)

    unknown = RawChannel(evm, channel.where, NOBODY, payer, payee, channel.signer, b"\x01" * 32)
    for function, arguments in (
        ("startClose", ()),
        ("close", ()),
        ("finishClose", ()),
        ("topUp", (5,)),
        ("claim", (5, unknown.voucher(5))),
    ):
        with pytest.raises(PaymentError) as refused:
            await unknown.do(function, unknown.id, *arguments, units=5 if function == "topUp" else 0)
        assert refused.value.reason is Reason.NO_CHANNEL


async def test_a_claim_counts_until_the_close_is_finished(evm: Testnet) -> None:
    channel = await (await parties(evm)).opened(1000)
    await channel.do("startClose", channel.id)
    await evm.advance(2 * CLOSE_DELAY_S)
    await channel.claim(700)
    before = await evm.holds(channel.payer.account)
    await channel.do("finishClose", channel.id, by=channel.payee)
    assert await evm.holds(channel.payer.account) == before + 300 * UNIT


async def test_an_id_is_never_used_again(evm: Testnet) -> None:
    channel = await (await parties(evm)).opened(1000)
    shown = evm.shown
    same = (shown(channel.payee.account), shown(channel.signer.address), 0)
    await channel.refuses(Reason.NOT_OPEN, "open", *same, 10, by=channel.payer, units=10)
    await channel.do("close", channel.id, by=channel.payee)
    await channel.refuses(Reason.NOT_OPEN, "open", *same, 10, by=channel.payer, units=10)

    async def name(where: bytes, *parts: object) -> bytes:
        return bytes(await evm.read(where, "idOf", *parts))

    whole = (shown(channel.payer.account), *same)
    others = [shown(STRANGER.address)] * 3 + [1]
    changed = [(*whole[:place], others[place], *whole[place + 1 :]) for place in range(4)]
    names = [await name(channel.where, *parts) for parts in (whole, *changed)]
    names.append(await name(await evm.channels(), *whole))
    assert names[0] == channel.id
    assert len(set(names)) == len(names)


async def test_a_channel_needs_both_parties_and_a_deposit(evm: Testnet) -> None:
    channel = await (await parties(evm)).opened(1000)
    payee, signer, nobody = (evm.shown(account) for account in (channel.payee.account, channel.signer.address, NOBODY))
    for arguments in ((nobody, signer, 5, 10), (payee, nobody, 5, 10), (payee, signer, 5, 0)):
        await channel.refuses(Reason.NOT_ALLOWED, "open", *arguments, by=channel.payer, units=arguments[3])


async def test_money_comes_as_it_was_said(evm: Testnet) -> None:
    native, token = await (await parties(evm)).opened(), await (await parties(evm, "coin")).opened()
    for channel, wei in ((native, 9 * UNIT), (native, 11 * UNIT), (native, 0), (token, 1), (token, 0)):
        before = await channel.state()
        parts = (evm.shown(channel.payee.account), evm.shown(channel.signer.address), 5, 10)
        assert not (await channel.forced("open", *parts, by=channel.payer, wei=wei)).good
        assert not (await channel.forced("topUp", channel.id, 10, by=channel.payer, wei=wei)).good
        assert await channel.state() == before
    for function in ("startClose", "close", "finishClose"):
        assert not (await native.forced(function, native.id, by=native.payer, wei=1)).good


@pytest.mark.parametrize(
    ("unit", "delay_s", "token"), [(0, 100, NOBODY), (1, 0, NOBODY), (1, 366 * 86400, NOBODY), (1, 100, b"\x01" * 20)]
)
async def test_a_contract_without_sense_is_not_made(evm: Testnet, unit: int, delay_s: int, token: bytes) -> None:
    with pytest.raises(AssertionError):
        await evm.channels(token, unit, delay_s)


async def test_accounts_that_are_contracts(evm: Testnet) -> None:
    """One that takes money and needs gas for it gets it; one that refuses it holds up nobody else."""
    base = await parties(evm)
    what = other("account")
    shown, call = evm.shown, evm.call
    strange = await evm.deploy(what)

    async def behave(mode: int, data: bytes = b"") -> None:
        await evm.do(base.payer, strange, "behave", mode, shown(base.where), data, what=what)

    async def run(function: str, *arguments: object, units: int = 0) -> None:
        data = call(base.where, function, *arguments).data
        await evm.do(base.payer, strange, "run", shown(base.where), data, wei=units * UNIT, what=what)

    # As payee.
    await base.do("open", shown(strange), shown(base.signer.address), 0, 1000, units=1000)
    name = bytes(await evm.read(base.where, "idOf", *map(shown, (base.payer.account, strange, base.signer.address)), 0))
    channel = RawChannel(evm, base.where, NOBODY, base.payer, base.payee, base.signer, name)
    await channel.claim(100)
    assert await evm.read(strange, "got", what=what) == 100 * UNIT
    await behave(1)
    await channel.refuses_claim(Reason.SETTLEMENT, 200)
    for function, arguments in (("claim", (name, 300, channel.voucher(300))), ("close", (name,))):
        await behave(2, call(base.where, function, *arguments).data)
        await channel.refuses_claim(Reason.SETTLEMENT, 200)
    await channel.do("startClose", name)
    await evm.advance(CLOSE_DELAY_S)
    before = await evm.holds(base.payee.account), await evm.holds(base.payer.account)
    await channel.do("finishClose", name, by=base.payee)
    assert await evm.holds(base.payer.account) == before[1] + 900 * UNIT

    # As payer.
    await run("open", shown(base.payee.account), shown(base.signer.address), 0, 1000, units=1000)
    name = bytes(await evm.read(base.where, "idOf", *map(shown, (strange, base.payee.account, base.signer.address)), 0))
    channel = RawChannel(evm, base.where, NOBODY, base.payer, base.payee, base.signer, name)
    await behave(1)
    await channel.claim(400)
    await channel.refuses(Reason.SETTLEMENT, "close", name, by=base.payee)
    await run("startClose", name)
    await evm.advance(CLOSE_DELAY_S)
    await behave(2, call(base.where, "finishClose", name).data)
    await channel.refuses(Reason.SETTLEMENT, "finishClose", name, by=base.payee)
    await behave(0)
    await channel.do("finishClose", name, by=base.payee)
    assert await evm.read(strange, "got", what=what) == 700 * UNIT
    assert await evm.holds(base.where) == 0


async def test_a_token_that_returns_nothing(evm: Testnet) -> None:
    channel = await (await parties(evm, "silent")).opened(1000)
    await channel.claim(300)
    await channel.do("close", channel.id, by=channel.payee)
    held = [await evm.holds(key.account, channel.token) for key in (channel.payer, channel.payee)]
    assert held == [9_700 * UNIT, 300 * UNIT]


@pytest.mark.parametrize(("fee", "lies"), [(1, False), (0, True)])
async def test_a_token_that_takes_a_fee_or_says_no(evm: Testnet, fee: int, lies: bool) -> None:
    channel = await (await parties(evm, "coin")).opened(1000)
    await channel.approve(channel.payer, 10)
    await evm.do(channel.payer, channel.token, "misbehave", fee, lies, what=other("coin"))
    parts = (evm.shown(channel.payee.account), evm.shown(channel.signer.address), 5, 10)
    await channel.refuses(Reason.SETTLEMENT, "open", *parts, by=channel.payer)
    await channel.refuses(Reason.SETTLEMENT, "topUp", channel.id, 10, by=channel.payer)
    if lies:
        await channel.refuses_claim(Reason.SETTLEMENT, 300)
        await channel.refuses(Reason.SETTLEMENT, "close", channel.id, by=channel.payee)


async def test_the_domain_is_that_of_vouchers(net: Testnet) -> None:
    where = await net.channels()
    assert await net.read(where, "domainSeparator") == Domain(net.chain_id, where).separator


async def test_gas_of_a_life(evm: Testnet) -> None:
    """See docs/design/0037-contract.md, whose table this made."""
    assert {title: gas[LIFE] <= LIFE_LIMIT for title, gas in (await measured(evm)).items()} == dict.fromkeys(
        COINS, True
    )
