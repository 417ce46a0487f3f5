"""The contract itself, on two chains: its rules hold whoever calls it, and whatever accounts and tokens do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest
from web3.exceptions import Web3Exception

from core.errors import PaymentError, Reason
from ledger.contract import channels
from ledger.settlement import CLOSE_DELAY_S, ChannelState
from ledger.voucher import Domain, SigningKey, keccak256
from scripts.compile_contract import MADE, compiled
from tests.harness.chain import NOBODY, UNIT, Anvil, Testnet
from tests.harness.chain import compiled as other
from tests.harness.raw_channel import CLOSED, RawChannel, high, parties
from tests.ledger.gas import COINS, LIFE, LIFE_LIMIT, measured

if TYPE_CHECKING:
    from ledger.evm_chain import Mined

OPEN, CLOSING = int(ChannelState.OPEN), int(ChannelState.CLOSING)
STRANGER: Final = SigningKey(bytes(31) + b"\x09")


def test_what_is_shipped_is_what_the_source_says() -> None:
    made = compiled()
    assert MADE.read_text(encoding="ascii") == made
    assert json.loads(made)["runtime"] == channels().runtime.hex()


def events(mined: Mined, channel: RawChannel) -> list[str]:
    """What the contract told of a channel, in order."""
    names = {}
    for entry in channels().abi:
        if entry["type"] == "event":
            name = f"{entry['name']}({','.join(part['type'] for part in entry['inputs'])})"
            names[keccak256(name.encode())] = name
    assert all(topics[1] == channel.id for where, topics, _ in mined.logs if where == channel.where)
    return [names[topics[0]] for where, topics, _ in mined.logs if where == channel.where]


@pytest.mark.parametrize("kind", ["native", "coin"])
async def test_life(net: Testnet, kind: str) -> None:
    channel = await (await parties(net, kind)).opened(1000)
    payee = await net.holds(channel.payee.account, channel.token)
    assert await channel.sums() == (1000, 0, OPEN)

    told = events(await channel.claim(400, by=channel.payer), channel)  # anyone may
    assert await net.holds(channel.payee.account, channel.token) == payee + 400 * UNIT
    if kind != "native":
        await channel.approve(channel.payer, 50)
    told += events(await channel.do("topUp", channel.id, 50, units=50), channel)
    told += events(await channel.do("startClose", channel.id), channel)
    told += events(await channel.claim(500, by=channel.payer), channel)
    assert await channel.sums() == (1050, 500, CLOSING)

    await net.advance(CLOSE_DELAY_S)
    payer = await net.holds(channel.payer.account, channel.token)
    told += events(await channel.do("finishClose", channel.id, by=channel.payee), channel)
    assert await net.holds(channel.payer.account, channel.token) == payer + 550 * UNIT
    assert told == [
        "Claimed(bytes32,uint128,uint128)",
        "ToppedUp(bytes32,uint128)",
        "Closing(bytes32,address,uint64)",
        "Claimed(bytes32,uint128,uint128)",
        "Closed(bytes32,uint128)",
    ]
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


async def test_signatures_have_one_form(anvil: Anvil) -> None:
    channel = await (await parties(anvil)).opened(1000)
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


async def test_a_claim_goes_as_far_as_the_deposit(anvil: Anvil) -> None:
    channel = await (await parties(anvil)).opened(1000)
    most = (1 << 128) - 1
    await channel.claim(most)
    assert await channel.sums() == (1000, 1000, OPEN)
    await channel.do("topUp", channel.id, 5, by=channel.payee, units=5)  # anyone may
    await channel.claim(most)
    assert await channel.sums() == (1005, 1005, OPEN)


async def test_who_may_do_what_and_when(anvil: Anvil) -> None:
    channel = await (await parties(anvil)).opened(1000)
    payer, payee, stranger = channel.payer, channel.payee, await anvil.account()
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

    unknown = RawChannel(anvil, channel.where, NOBODY, payer, payee, channel.signer, b"\x01" * 32)
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


async def test_a_claim_counts_until_the_close_is_finished(anvil: Anvil) -> None:
    channel = await (await parties(anvil)).opened(1000)
    await channel.do("startClose", channel.id)
    await anvil.advance(2 * CLOSE_DELAY_S)
    await channel.claim(700)
    before = await anvil.holds(channel.payer.account)
    await channel.do("finishClose", channel.id, by=channel.payee)
    assert await anvil.holds(channel.payer.account) == before + 300 * UNIT


async def test_an_id_is_never_used_again(anvil: Anvil) -> None:
    channel = await (await parties(anvil)).opened(1000)
    shown = anvil.shown
    same = (shown(channel.payee.account), shown(channel.signer.address), 0)
    await channel.refuses(Reason.NOT_OPEN, "open", *same, 10, by=channel.payer, units=10)
    await channel.do("close", channel.id, by=channel.payee)
    await channel.refuses(Reason.NOT_OPEN, "open", *same, 10, by=channel.payer, units=10)

    async def name(where: bytes, *parts: object) -> bytes:
        return bytes(await anvil.read(where, "idOf", *parts))

    whole = (shown(channel.payer.account), *same)
    others = [shown(STRANGER.address)] * 3 + [1]
    changed = [(*whole[:place], others[place], *whole[place + 1 :]) for place in range(4)]
    names = [await name(channel.where, *parts) for parts in (whole, *changed)]
    names.append(await name(await anvil.channels(), *whole))
    accounts = (channel.where, channel.payer.account, channel.payee.account, channel.signer.address)
    words = [anvil.chain_id.to_bytes(32), *(account.rjust(32, b"\0") for account in accounts), bytes(32)]
    assert names[0] == channel.id == keccak256(b"".join(words))
    assert len(set(names)) == len(names)


async def test_a_channel_needs_both_parties_and_a_deposit(anvil: Anvil) -> None:
    channel = await (await parties(anvil)).opened(1000)
    payee, signer, nobody = (
        anvil.shown(account) for account in (channel.payee.account, channel.signer.address, NOBODY)
    )
    for arguments in ((nobody, signer, 5, 10), (payee, nobody, 5, 10), (payee, signer, 5, 0)):
        await channel.refuses(Reason.NOT_ALLOWED, "open", *arguments, by=channel.payer, units=arguments[3])


async def test_money_comes_as_it_was_said(anvil: Anvil) -> None:
    native, token = await (await parties(anvil)).opened(), await (await parties(anvil, "coin")).opened()
    await token.approve(token.payer, 20)
    for channel, wei in ((native, 9 * UNIT), (native, 11 * UNIT), (native, 0), (token, 1)):
        before = await channel.state()
        parts = (anvil.shown(channel.payee.account), anvil.shown(channel.signer.address), 5, 10)
        assert not (await channel.forced("open", *parts, by=channel.payer, wei=wei)).good
        assert not (await channel.forced("topUp", channel.id, 10, by=channel.payer, wei=wei)).good
        assert await channel.state() == before
    for function in ("startClose", "close", "finishClose"):
        assert not (await native.forced(function, native.id, by=native.payer, wei=1)).good


async def test_a_deposit_has_96_bits(anvil: Anvil) -> None:
    most = (1 << 96) - 1
    base = await parties(anvil, "coin")
    await anvil.do(base.payer, base.token, "make", anvil.shown(base.payer.account), 2 * most * UNIT, what=other("coin"))
    channel = await base.opened(most)
    await channel.approve(channel.payer, most + 2)
    parts = (anvil.shown(channel.payee.account), anvil.shown(channel.signer.address), 5)
    await channel.refuses(Reason.NOT_ALLOWED, "open", *parts, most + 1, by=channel.payer)
    await channel.refuses(Reason.NOT_ALLOWED, "topUp", channel.id, 1, by=channel.payer)
    await channel.claim(most)
    assert await channel.sums() == (most, most, OPEN)
    assert await anvil.holds(channel.payee.account, channel.token) == most * UNIT


@pytest.mark.parametrize(
    ("unit", "delay_s", "token"), [(0, 100, NOBODY), (1, 0, NOBODY), (1, 366 * 86400, NOBODY), (1, 100, b"\x01" * 20)]
)
async def test_a_contract_without_sense_is_not_made(anvil: Anvil, unit: int, delay_s: int, token: bytes) -> None:
    with pytest.raises(AssertionError):
        await anvil.channels(token, unit, delay_s)


async def test_accounts_that_are_contracts(anvil: Anvil) -> None:
    """One that takes money and needs gas for it gets it; one that refuses it holds up nobody else."""
    base = await parties(anvil)
    what = other("account")
    shown, call = anvil.shown, anvil.call
    strange = await anvil.deploy(what)

    async def behave(mode: int, data: bytes = b"") -> None:
        await anvil.do(base.payer, strange, "behave", mode, shown(base.where), data, what=what)

    async def run(function: str, *arguments: object, units: int = 0) -> None:
        data = call(base.where, function, *arguments).data
        await anvil.do(base.payer, strange, "run", shown(base.where), data, wei=units * UNIT, what=what)

    # As payee.
    await base.do("open", shown(strange), shown(base.signer.address), 0, 1000, units=1000)
    name = bytes(
        await anvil.read(base.where, "idOf", *map(shown, (base.payer.account, strange, base.signer.address)), 0)
    )
    channel = RawChannel(anvil, base.where, NOBODY, base.payer, base.payee, base.signer, name)
    await channel.claim(100)
    assert await anvil.read(strange, "got", what=what) == 100 * UNIT
    await behave(1)
    await channel.refuses_claim(Reason.SETTLEMENT, 200)
    for function, arguments in (("claim", (name, 300, channel.voucher(300))), ("close", (name,))):
        await behave(2, call(base.where, function, *arguments).data)
        await channel.refuses_claim(Reason.SETTLEMENT, 200)
    await channel.do("startClose", name)
    await anvil.advance(CLOSE_DELAY_S)
    before = await anvil.holds(base.payee.account), await anvil.holds(base.payer.account)
    await channel.do("finishClose", name, by=base.payee)
    assert await anvil.holds(base.payer.account) == before[1] + 900 * UNIT

    # As payer.
    await run("open", shown(base.payee.account), shown(base.signer.address), 0, 1000, units=1000)
    name = bytes(
        await anvil.read(base.where, "idOf", *map(shown, (strange, base.payee.account, base.signer.address)), 0)
    )
    channel = RawChannel(anvil, base.where, NOBODY, base.payer, base.payee, base.signer, name)
    await behave(1)
    await channel.claim(400)
    await channel.refuses(Reason.SETTLEMENT, "close", name, by=base.payee)
    await run("startClose", name)
    await anvil.advance(CLOSE_DELAY_S)
    await behave(2, call(base.where, "finishClose", name).data)
    await channel.refuses(Reason.SETTLEMENT, "finishClose", name, by=base.payee)
    await behave(0)
    await channel.do("finishClose", name, by=base.payee)
    assert await anvil.read(strange, "got", what=what) == 700 * UNIT
    assert await anvil.holds(base.where) == 0


async def test_nothing_is_entered_from_within(anvil: Anvil) -> None:
    """Not even what would do no harm."""
    channel = await (await parties(anvil, "coin")).opened(1000)
    await channel.approve(channel.payer, 10)
    harmless = anvil.call(channel.where, "claim", channel.id, 0, channel.voucher(0)).data
    arguments = (anvil.shown(channel.where), harmless)
    await anvil.do(channel.payer, channel.token, "call_when_moved", *arguments, what=other("coin"))
    parts = (anvil.shown(channel.payee.account), anvil.shown(channel.signer.address), 5, 10)
    await channel.refuses(Reason.SETTLEMENT, "open", *parts, by=channel.payer)
    await channel.refuses(Reason.SETTLEMENT, "topUp", channel.id, 10, by=channel.payer)

    base, what, shown = await parties(anvil), other("account"), anvil.shown
    both = shown(await anvil.deploy(what))  # payer and payee
    opening = anvil.call(base.where, "open", both, shown(base.signer.address), 0, 1000).data
    await anvil.do(base.payer, bytes.fromhex(both[2:]), "run", shown(base.where), opening, wei=1000 * UNIT, what=what)
    name = bytes(await anvil.read(base.where, "idOf", both, both, shown(base.signer.address), 0))
    own = RawChannel(anvil, base.where, NOBODY, base.payer, base.payee, base.signer, name)
    ending = anvil.call(base.where, "startClose", name).data
    await anvil.do(base.payer, bytes.fromhex(both[2:]), "behave", 2, shown(base.where), ending, what=what)
    await own.refuses_claim(Reason.SETTLEMENT, 200)


async def test_a_token_that_returns_nothing(anvil: Anvil) -> None:
    channel = await (await parties(anvil, "silent")).opened(1000)
    await channel.claim(300)
    await channel.do("close", channel.id, by=channel.payee)
    held = [await anvil.holds(key.account, channel.token) for key in (channel.payer, channel.payee)]
    assert held == [9_700 * UNIT, 300 * UNIT]


@pytest.mark.parametrize(("fee", "lies"), [(1, False), (0, True)])
async def test_a_token_that_takes_a_fee_or_says_no(anvil: Anvil, fee: int, lies: bool) -> None:
    channel = await (await parties(anvil, "coin")).opened(1000)
    await channel.approve(channel.payer, 10)
    await anvil.do(channel.payer, channel.token, "misbehave", fee, lies, what=other("coin"))
    parts = (anvil.shown(channel.payee.account), anvil.shown(channel.signer.address), 5, 10)
    await channel.refuses(Reason.SETTLEMENT, "open", *parts, by=channel.payer)
    await channel.refuses(Reason.SETTLEMENT, "topUp", channel.id, 10, by=channel.payer)
    if lies:
        await channel.refuses_claim(Reason.SETTLEMENT, 300)
        await channel.refuses(Reason.SETTLEMENT, "close", channel.id, by=channel.payee)


async def test_the_domain_is_that_of_vouchers(net: Testnet) -> None:
    where = await net.channels()
    assert await net.read(where, "domainSeparator") == Domain(net.chain_id, where).separator


async def test_gas_of_a_life(anvil: Anvil) -> None:
    """See docs/design/0037-contract.md, whose table this made."""
    assert {title: gas[LIFE] <= LIFE_LIMIT for title, gas in (await measured(anvil)).items()} == dict.fromkeys(
        COINS, True
    )
