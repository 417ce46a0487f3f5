"""What an RPC node says of a chain, read strictly. It may be broken or lie; then `PaymentError` says so.

A lie can make this node refuse a channel that is good, or believe one that is not: whoever takes payment on a chain
has to trust the RPC node it asks, and best runs its own. What a lie cannot do: crash this process, hold it up, make it
connect elsewhere, fill its memory, or spend more on fees than the settings allow.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from web3.exceptions import ContractLogicError, TransactionNotFound
from web3.providers.async_base import AsyncJSONBaseProvider

from core.errors import PaymentError, Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from web3 import AsyncWeb3
    from web3.types import RPCEndpoint, RPCResponse, TxParams

MAX_ANSWER_BYTES: Final = 1 << 20
"""The largest are blocks: 32 bytes and quotes for each of some thousand transactions."""

SILENT: Final = (
    "The node of the chain does not answer, or not sensibly. See whether it runs, and whether it is the one that "
    "payments.rpc names."
)

_WORDS: Final = {
    reason.word: reason
    for reason in (
        Reason.NO_CHANNEL,
        Reason.NOT_OPEN,
        Reason.NOT_ALLOWED,
        Reason.TOO_EARLY,
        Reason.BAD_VOUCHER,
    )
}
"""With which the contract refuses."""


class Endpoint(AsyncJSONBaseProvider):
    """JSON-RPC over HTTP. Unlike web3's own it logs nothing, bounds answers, and goes nowhere else: it follows neither
    redirects nor what a contract names (EIP-3668).

    Args:
        url: of the RPC node; it may hold a password, so nothing shows it.
    """

    global_ccip_read_enabled = False

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        if self._session is None:
            headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
            self._session = aiohttp.ClientSession(headers=headers, auto_decompress=False)
        body = self.encode_rpc_request(method, params)
        async with self._session.post(self._url, data=body, allow_redirects=False, raise_for_status=True) as answer:
            data = bytearray()
            async for piece in answer.content.iter_any():
                data += piece
                if len(data) > MAX_ANSWER_BYTES:
                    raise ValueError("this answer is too long")
        return self.decode_rpc_response(bytes(data))

    async def disconnect(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


@dataclass(frozen=True, slots=True)
class Call:
    """What a transaction does.

    Args:
        to: the contract's address, 20 bytes.
        data: function and arguments.
        value: wei that go with it.
    """

    to: bytes
    data: bytes
    value: int = 0

    def params(self, web3: AsyncWeb3[Any], sender: bytes) -> TxParams:
        """As web3 has it."""
        address = web3.to_checksum_address
        return {
            "from": address(sender),
            "to": address(self.to),
            "data": self.data,
            "value": web3.to_wei(self.value, "wei"),
        }


@dataclass(frozen=True, slots=True)
class Mined:
    """A transaction that is in the chain, for now.

    Args:
        block: its number.
        good: it did what it should.
        gas: what it used.
        logs: contract (20 bytes), topics (32 bytes each) and data.
    """

    block: int
    good: bool
    gas: int
    logs: list[tuple[bytes, list[bytes], bytes]]


def whole(value: object, bits: int = 256) -> int:
    """Read a number.

    Raises:
        ValueError: it is none, or out of range.
    """
    if type(value) is not int or not 0 <= value < 1 << bits:
        raise ValueError("this is no number")
    return value


def exact(value: object, size: int) -> bytes:
    """Read bytes.

    Raises:
        ValueError: they are none, or not as many.
    """
    if not isinstance(value, bytes) or len(value) != size:
        raise ValueError("not bytes, or not as many as there must be")
    return bytes(value)


def address(value: str) -> bytes:
    """Read an address.

    Raises:
        ValueError: it is none.
    """
    return exact(bytes.fromhex(value.removeprefix("0x")), 20)


class Chain:
    """Questions to an RPC node. Every one of them raises `PaymentError`: `SETTLEMENT`, or what the contract says.

    Args:
        web3: made with `middleware=[]`.
        confirmations: blocks that must stand on another until that one counts as final.
        limit_s: for each question.
    """

    def __init__(self, web3: AsyncWeb3[Any], confirmations: int, limit_s: float) -> None:
        self.web3 = web3
        self.confirmations = confirmations
        self._limit_s = limit_s

    async def ask[Answer, Read](self, question: Awaitable[Answer], read: Callable[[Answer], Read]) -> Read:
        """Ask, and read the answer. What `read` raises is the RPC node's fault."""
        try:
            async with asyncio.timeout(self._limit_s):
                return read(await question)
        except ContractLogicError as error:
            word = str(error.message).rpartition(" ")[2].strip("'\"")
            raise PaymentError(_WORDS.get(word, Reason.SETTLEMENT)) from error
        except Exception as error:  # what a lying node makes web3 raise cannot be listed
            raise PaymentError(Reason.SETTLEMENT, SILENT) from error

    async def chain_id(self) -> int:
        """The chain's."""
        return await self.ask(self.web3.eth.chain_id, whole)

    async def head(self) -> int:
        """The newest block's number."""
        return await self.ask(self.web3.eth.block_number, whole)

    async def final(self) -> int:
        """The number of the newest block that counts as final."""
        return max(0, await self.head() - self.confirmations)

    async def now_s(self) -> int:
        """The newest block's time, Unix seconds."""
        return await self.ask(self.web3.eth.get_block("latest"), lambda block: whole(block["timestamp"], 64))

    async def base_fee(self) -> int:
        """The newest block's, wei per gas."""
        return await self.ask(self.web3.eth.get_block("latest"), lambda block: whole(block["baseFeePerGas"], 128))

    async def nonce(self, account: bytes, block: int | None = None) -> int:
        """How many transactions of an account are in the chain, up to a block or the newest."""
        sender = self.web3.to_checksum_address(account)
        return await self.ask(self.web3.eth.get_transaction_count(sender, "latest" if block is None else block), whole)

    async def balance(self, account: bytes, block: int | None = None) -> int:
        """Wei of an account, at a block or the newest."""
        owner = self.web3.to_checksum_address(account)
        return await self.ask(self.web3.eth.get_balance(owner, "latest" if block is None else block), whole)

    async def code(self, contract: bytes, block: int) -> bytes:
        """What stands at an address, at a block."""
        return await self.ask(self.web3.eth.get_code(self.web3.to_checksum_address(contract), block), bytes)

    async def gas(self, call: Call, sender: bytes) -> int:
        """What a call would need now. Raises what the contract would refuse it with."""
        return await self.ask(self.web3.eth.estimate_gas(call.params(self.web3, sender)), lambda gas: whole(gas, 64))

    async def send(self, raw: bytes) -> None:
        """Hand in a signed transaction."""
        await self.ask(self.web3.eth.send_raw_transaction(raw), lambda _: None)

    async def mined(self, transaction: bytes) -> Mined | None:
        """Where a transaction is in the chain; None: it is not.

        Args:
            transaction: its hash, 32 bytes.
        """
        return await self.ask(self._receipt(transaction), _read_receipt)

    async def _receipt(self, transaction: bytes) -> Any:
        try:
            return await self.web3.eth.get_transaction_receipt(self.web3.to_hex(transaction))
        except TransactionNotFound:
            return None


def _read_receipt(receipt: Any) -> Mined | None:
    if receipt is None:
        return None
    logs = [
        (address(log["address"]), [exact(topic, 32) for topic in log["topics"]], bytes(log["data"]))
        for log in receipt["logs"]
    ]
    return Mined(whole(receipt["blockNumber"]), whole(receipt["status"], 1) == 1, whole(receipt["gasUsed"], 64), logs)
