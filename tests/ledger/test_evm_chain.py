"""RPC nodes that lie or are broken: the calls say so; nothing crashes, hangs, grows, or goes elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
import traceback
from typing import TYPE_CHECKING, Any, Final

import pytest
from aiohttp import web
from web3 import AsyncWeb3

from core.errors import PaymentError, Reason
from ledger.evm import EvmSettings, EvmSettlement, Terms
from ledger.evm_chain import MAX_ANSWER_BYTES, Call, Chain, Endpoint, Mined
from ledger.evm_wallet import Fees, Wallet
from ledger.settlement import Channel, ChannelState
from ledger.wallet_key import WalletKey
from tests.harness.chain import RICH, Anvil
from tests.harness.settled import pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from web3.types import RPCEndpoint, RPCResponse

HASTY: Final = EvmSettings(
    0, b"", confirmations=0, gas_share=None, fees=Fees(poll_s=0.01, patience_s=0.02, give_up_s=0.05), call_s=5.0
)

JUNK: Final[tuple[Any, ...]] = (
    None,
    "",
    "0x",
    "0x0",
    "0x-1",
    "0x" + "ff" * 32,
    "0x" + "00" * 31,
    "0x" + "ff" * 256,
    "0x" + "f" * 5001,
    "zebra",
    -1,
    1 << 300,
    1.5,
    True,
    [],
    [[[]]],
    {},
    {"status": "0x2", "blockNumber": None, "logs": 7, "gasUsed": {}},
    {"status": "0x1", "blockNumber": "0x0", "logs": [{"address": "0x", "topics": [None], "data": 1}], "gasUsed": "0x1"},
    {"baseFeePerGas": "0x-5", "timestamp": "now"},
)
ERRORS: Final[tuple[Any, ...]] = (
    None,
    7,
    "execution reverted",
    {},
    {"code": "x", "message": 5},
    {"code": 3, "message": "execution reverted: \x00\ud800", "data": "0x08c379a0"},
    {"code": 3, "message": "execution reverted", "data": {"a": 1}},
    {"code": -32000, "message": ["nonce too low"]},
)
LIES: Final[list[dict[str, Any]]] = [{"result": lie} for lie in JUNK] + [{"error": lie} for lie in ERRORS] + [{}]


class Lying(Endpoint):
    """Answers one method as it is told, and the others as the chain does."""

    def __init__(self, url: str = "") -> None:
        super().__init__(url)
        self.method = ""
        self.lie: dict[str, Any] = {}

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        if method != self.method:
            return await super().make_request(method, params)
        return self.decode_rpc_response(json.dumps({"jsonrpc": "2.0", "id": 1, **self.lie}).encode())


def is_whole(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 256


def is_mined(value: object) -> bool:
    return value is None or (isinstance(value, Mined) and is_whole(value.block) and is_whole(value.gas))


SOMEBODY: Final = bytes(range(20))
QUESTIONS: Final[dict[str, tuple[Callable[[Chain], Awaitable[object]], Callable[[object], bool]]]] = {
    "eth_blockNumber": (lambda chain: chain.final(), is_whole),
    "eth_chainId": (lambda chain: chain.chain_id(), is_whole),
    "eth_estimateGas": (lambda chain: chain.gas(Call(SOMEBODY, b""), SOMEBODY), is_whole),
    "eth_getBalance": (lambda chain: chain.balance(SOMEBODY, 5), is_whole),
    "eth_getBlockByNumber": (lambda chain: chain.base_fee(), is_whole),
    "eth_getCode": (lambda chain: chain.code(SOMEBODY, 5), lambda code: type(code) is bytes),
    "eth_getTransactionCount": (lambda chain: chain.nonce(SOMEBODY), is_whole),
    "eth_getTransactionReceipt": (lambda chain: chain.mined(bytes(32)), is_mined),
    "eth_sendRawTransaction": (lambda chain: chain.send(b"\x02"), lambda nothing: nothing is None),
}


@pytest.mark.parametrize("method", QUESTIONS)
async def test_answers_are_read_strictly(method: str) -> None:
    lying = Lying()
    lying.method = method
    chain = Chain(AsyncWeb3(lying, middleware=[]), 12, 5.0)
    ask, good = QUESTIONS[method]
    refused = []
    for lying.lie in LIES:
        try:
            assert good(await ask(chain))
        except PaymentError as error:
            refused.append(error.reason)
    assert set(refused) == {Reason.SETTLEMENT}
    assert len(refused) > len(LIES) / 2


async def test_a_channel_that_makes_no_sense_is_none(anvil: Anvil) -> None:
    lying = Lying(anvil.url)
    async with pair(anvil, "coin", settings=HASTY, rpc=lying) as both:
        channel = (await both.raw.opened(1000)).id
        words = [bytes(12) + SOMEBODY] * 3 + [number.to_bytes(32) for number in (1000, 300, 1, 0)]
        lying.method = "eth_call"
        lying.lie = {"result": "0x" + b"".join(words).hex()}
        assert await both.payer.look(channel) == Channel(SOMEBODY, SOMEBODY, SOMEBODY, 1000, 300, ChannelState.OPEN)
        zero, four, huge = bytes(32), (4).to_bytes(32), b"\1" * 32
        for place, wrong in ((0, huge), (3, huge), (3, zero), (5, zero), (5, four), (6, huge)):
            words_now = [*words[:place], wrong, *words[place + 1 :]]
            lying.lie = {"result": "0x" + b"".join(words_now).hex()}
            with pytest.raises(PaymentError) as error:
                await both.payer.look(channel)
            assert error.value.reason is Reason.SETTLEMENT
        for lying.lie in LIES:
            for call in (both.payer.look(channel), both.payer.closing([channel])):
                with pytest.raises(PaymentError):
                    await call
            with contextlib.suppress(PaymentError):
                assert is_whole(await both.payer.balance())


@pytest.mark.parametrize("method", [*QUESTIONS, "eth_call"])
async def test_calls_survive_lies(anvil: Anvil, method: str) -> None:
    """Whatever the RPC node says, a call ends, and no more money is gone than a deposit and its gas."""
    lying = Lying(anvil.url)
    async with pair(anvil, settings=HASTY, rpc=lying) as both:
        payer = both.payer
        channel = (await both.raw.opened(1000)).id
        lying.method = method
        for lying.lie in ({"result": None}, {"result": "0x" + "ff" * 32}, {"result": "0x1"}, {"error": {}}):
            for call in (
                lambda: payer.claim(channel, 5, both.sign(channel, 5)),
                lambda: payer.top_up(channel, 10),
                lambda: payer.start_close(bytes(32)),
            ):
                with contextlib.suppress(PaymentError):
                    await call()
        lying.method = ""
        found = await both.payee.look(channel)
        assert found.claimed in (0, 5)
        assert found.deposit in range(1000, 1050, 10)
        assert await anvil.holds(payer.account) > RICH * 9 // 10


@contextlib.asynccontextmanager
async def served(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """A web server that answers everything in one way; its URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def head_of(url: str, limit_s: float = 5.0) -> int:
    endpoint = Endpoint(url)
    try:
        return await Chain(AsyncWeb3(endpoint, middleware=[]), 0, limit_s).head()
    finally:
        await endpoint.disconnect()


GOOD: Final = b'{"jsonrpc":"2.0","id":0,"result":"0x7"}'


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, GOOD),
        (200, b""),
        (200, b"not JSON"),
        (200, b"\xff\xfe" + GOOD),
        (200, b"[" * 100_000),
        (200, GOOD.replace(b"2.0", b"1.0")),
        (200, b"[" + GOOD + b"]"),
        (200, GOOD + b" " * MAX_ANSWER_BYTES),
    ],
)
async def test_what_is_no_answer(status: int, body: bytes) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body)

    async with served(answer) as url:
        with pytest.raises(PaymentError) as error:
            await head_of(url)
        assert error.value.reason is Reason.SETTLEMENT


async def test_nothing_is_unpacked() -> None:
    """A few bytes could become as many as the memory holds."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(GOOD), headers={"Content-Encoding": "gzip"})

    async with served(answer) as url:
        with pytest.raises(PaymentError):
            await head_of(url)


async def test_an_answer() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=GOOD)

    async with served(answer) as url:
        assert await head_of(url) == 7


async def test_who_does_not_answer_is_not_waited_for() -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with served(answer) as url, asyncio.timeout(10):
        with pytest.raises(PaymentError):
            await head_of(url, 0.1)
    with pytest.raises(PaymentError):
        await head_of(url)  # nobody listens any more


async def test_nothing_else_is_asked() -> None:
    """Neither a redirect nor a contract that names a gateway (EIP-3668) makes the node connect elsewhere."""
    visits = []

    async def elsewhere(request: web.Request) -> web.Response:
        visits.append(request.path)
        return web.Response(body=GOOD)

    async with served(elsewhere) as other:

        async def redirect(_: web.Request) -> web.Response:
            return web.Response(status=307, headers={"Location": other})

        async with served(redirect) as url:
            with pytest.raises(PaymentError):
                await head_of(url)

        lookup = AsyncWeb3().codec.encode(
            ["address", "string[]", "bytes", "bytes4", "bytes"],
            ["0x" + SOMEBODY.hex(), [f"{other}/{{sender}}/{{data}}"], b"", b"abcd", b""],
        )
        lying = Lying()
        lying.method = "eth_call"
        lying.lie = {"error": {"code": 3, "message": "execution reverted", "data": "0x556f1830" + lookup.hex()}}
        chain = Chain(AsyncWeb3(lying, middleware=[]), 0, 5.0)
        settings = EvmSettings(1, SOMEBODY)
        key = WalletKey("07".rjust(64, "0"), "test")
        settlement = EvmSettlement(chain, Wallet(chain, 1, key, Fees()), settings, Terms(bytes(20), 1, 1))
        with pytest.raises(PaymentError):
            await settlement.closing([bytes(32)])
    assert visits == []


async def test_nothing_is_logged(anvil: Anvil, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with pair(anvil) as both:
        channel = await both.payer.open(both.payee.account, both.signer.address, 1000)
        with pytest.raises(PaymentError) as error:
            await both.payer.finish_close(channel)
        shown = [repr(thing) for thing in (both.payer, both.payer_key, anvil.provider(), error.value)]
        shown += traceback.format_exception(error.value)
        text = "\n".join([caplog.text, *shown, *(str(vars(record)) for record in caplog.records)]).lower()
        secrets = [both.payer_key.reveal(), both.payer.account, both.payee.account, channel, both.contract]
    assert [secret.hex() for secret in secrets if secret.hex() in text] == []
    assert anvil.url.rpartition(":")[2] not in text
    assert str(secrets[0]) not in text
