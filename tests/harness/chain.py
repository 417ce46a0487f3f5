"""Chains on this machine: `PyEvm` within this process, and `Anvil`, a program that answers over HTTP on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import vyper
from eth_tester.exceptions import TransactionFailed, ValidationError
from web3 import Account, AsyncEthereumTesterProvider, AsyncWeb3
from web3.exceptions import TransactionNotFound
from web3.types import RPCEndpoint

from ledger.contract import Compiled, channels
from ledger.evm import EvmSettings, EvmSettlement, connect
from ledger.evm_chain import Call, Chain, Endpoint, Mined
from ledger.evm_wallet import Fees, Wallet
from ledger.settlement import CLOSE_DELAY_S
from ledger.wallet_key import WalletKey
from tests.harness.entropy import seeded

if TYPE_CHECKING:
    from web3.providers.async_base import AsyncBaseProvider
    from web3.types import RPCResponse, TxReceipt

NOBODY: Final = bytes(20)
UNIT: Final = 10**12
"""Wei in a unit, where the coin has 18 places."""

RICH: Final = 10**18
"""Wei of an account, unless said otherwise: a coin."""

FAST: Final = Fees(poll_s=0.01, patience_s=0.3, give_up_s=60.0)
START_S: Final = 20.0
CONTRACTS: Final = Path(__file__).parent / "contracts"


@cache
def compiled(name: str) -> Compiled:
    """A contract of `tests/harness/contracts`."""
    source = (CONTRACTS / f"{name}.vy").read_text(encoding="utf-8")
    made = vyper.compile_code(source, output_formats=("abi", "bytecode", "bytecode_runtime"))
    return Compiled(made["abi"], *(bytes.fromhex(made[part][2:]) for part in ("bytecode", "bytecode_runtime")))


class Testnet(ABC):
    """A chain with accounts that have coins. Blocks are made when a transaction comes, unless told otherwise.

    Use as `async with PyEvm() as net`.
    """

    __test__ = False

    def __init__(self) -> None:
        self._draw = seeded(type(self).__name__)
        self.chain_id = 0
        self._bank = ""

    @abstractmethod
    def provider(self) -> AsyncBaseProvider:
        """What asks the chain; for one settlement, which closes it."""

    @abstractmethod
    async def rpc(self, method: str, *parameters: Any) -> Any:
        """Ask the chain anything; what it answers as it came."""

    @abstractmethod
    async def mine(self, blocks: int = 1) -> None:
        """Make blocks, with all that waits in the first."""

    @abstractmethod
    async def advance(self, seconds: int) -> None:
        """Make a block that is so much later than the newest."""

    async def __aenter__(self) -> Self:
        self.web3: AsyncWeb3[Any] = AsyncWeb3(self.provider(), middleware=[])
        self.chain = Chain(self.web3, 0, 10.0)
        self.chain_id = await self.chain.chain_id()
        self._bank = (await self.web3.eth.accounts)[0]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.web3.provider.disconnect()

    async def account(self, wei: int = RICH) -> WalletKey:
        """A new account with so much."""
        key = WalletKey(self._draw(32).hex(), "test")
        if wei:
            await self.give(key.account, wei)
        return key

    async def give(self, account: bytes, wei: int) -> None:
        """Give an account so much."""
        paid = {"from": self._bank, "to": self.shown(account), "value": hex(wei), "gas": hex(21_000)}
        await self._receipt(await self.rpc("eth_sendTransaction", paid))

    async def _receipt(self, transaction: Any) -> TxReceipt:
        async with asyncio.timeout(START_S):
            while True:
                with contextlib.suppress(TransactionNotFound):
                    return await self.web3.eth.get_transaction_receipt(transaction)
                await asyncio.sleep(0.002)

    def shown(self, account: bytes) -> Any:
        """An address as web3 wants it."""
        return self.web3.to_checksum_address(account)

    def contract(self, where: bytes, what: Compiled | None = None) -> Any:
        """A contract to call, the channels' unless said otherwise."""
        return self.web3.eth.contract(self.shown(where), abi=(what or channels()).abi)

    def creation(self, what: Compiled, *arguments: Any) -> bytes:
        """What is sent to put a contract on the chain."""
        return bytes.fromhex(
            self.web3.eth.contract(abi=what.abi, bytecode=what.bytecode).constructor(*arguments).data_in_transaction[2:]
        )

    async def deploy(self, what: Compiled, *arguments: Any) -> bytes:
        """Put a contract on the chain; its address."""
        data = self.web3.to_hex(self.creation(what, *arguments))
        name = await self.rpc("eth_sendTransaction", {"from": self._bank, "data": data, "gas": hex(4_000_000)})
        receipt = await self._receipt(name)
        assert receipt["status"] == 1
        return bytes.fromhex(str(receipt["contractAddress"])[2:])

    async def channels(self, token: bytes = NOBODY, unit: int = UNIT, delay_s: int = CLOSE_DELAY_S) -> bytes:
        """Put the channels' contract on the chain."""
        return await self.deploy(channels(), self.shown(token), unit, delay_s)

    async def token(self, owner: WalletKey, amount: int, name: str = "coin") -> bytes:
        """Put an ERC-20 of `tests/harness/contracts` on the chain, and give somebody some."""
        where = await self.deploy(compiled(name))
        await self.do(owner, where, "make", self.shown(owner.account), amount, what=compiled(name))
        return where

    def wallet(self, key: WalletKey, fees: Fees = FAST) -> Wallet:
        return Wallet(self.chain, self.chain_id, key, fees)

    def call(self, where: bytes, function: str, *arguments: Any, wei: int = 0, what: Compiled | None = None) -> Call:
        """A call of a contract, the channels' unless said otherwise."""
        data = self.contract(where, what).encode_abi(function, list(arguments))
        return Call(where, bytes.fromhex(data[2:]), wei)

    async def do(
        self, key: WalletKey, where: bytes, function: str, *arguments: Any, wei: int = 0, what: Compiled | None = None
    ) -> Mined:
        """Call a contract; raises PaymentError if it refuses."""
        return await self.wallet(key).transact(self.call(where, function, *arguments, wei=wei, what=what))

    async def forced(self, key: WalletKey, call: Call, gas: int) -> Mined:
        """Have a transaction in a block whatever it does."""
        price = 2 * await self.chain.base_fee()
        signed = Account.sign_transaction(
            {
                **call.params(self.web3, key.account),
                "type": 2,
                "chainId": self.chain_id,
                "nonce": await self.chain.nonce(key.account),
                "gas": gas,
                "maxFeePerGas": price,
                "maxPriorityFeePerGas": 0,
            },
            key.reveal(),
        )
        await self.web3.eth.send_raw_transaction(signed.raw_transaction)
        await self._receipt(signed.hash)
        mined = await self.chain.mined(signed.hash)
        assert mined is not None
        return mined

    async def read(self, where: bytes, function: str, *arguments: Any, what: Compiled | None = None) -> Any:
        """Ask a contract."""
        return await self.contract(where, what).functions[function](*arguments).call()

    async def holds(self, account: bytes, token: bytes = NOBODY) -> int:
        """What an account has, in the coin's smallest units."""
        if token == NOBODY:
            return await self.chain.balance(account)
        return int(await self.read(token, "balanceOf", self.shown(account), what=compiled("coin")))

    async def settlement(
        self, key: WalletKey, contract: bytes, settings: EvmSettings | None = None, rpc: AsyncBaseProvider | None = None
    ) -> EvmSettlement:
        """A settlement of an account. Without other settings nothing needs confirmations, and gas costs what it may."""
        known = settings or EvmSettings(0, b"", confirmations=0, gas_share=None, fees=FAST)
        known = replace(known, chain_id=self.chain_id, contract=contract)
        return await connect(known, key, rpc or self.provider())


class _InProcess(AsyncEthereumTesterProvider):
    """Answers as a node does that is reached over HTTP: errors are answers."""

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        try:
            return await super().make_request(method, params)
        except TransactionFailed as error:
            return {"jsonrpc": "2.0", "id": 1, "error": {"code": 3, "message": str(error)}}
        except ValidationError as error:
            return {"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": str(error)}}

    async def disconnect(self) -> None:
        """Nothing is open."""


class PyEvm(Testnet):
    """The chain of `py-evm`, in memory."""

    def __init__(self) -> None:
        super().__init__()
        self._provider = _InProcess()
        self._tester = self._provider.ethereum_tester

    def provider(self) -> AsyncBaseProvider:
        return self._provider

    async def rpc(self, method: str, *parameters: Any) -> Any:
        return await self.web3.manager.coro_request(RPCEndpoint(method), list(parameters))

    async def mine(self, blocks: int = 1) -> None:
        self._tester.mine_blocks(blocks)

    async def advance(self, seconds: int) -> None:
        latest, pending = (self._tester.get_block_by_number(which)["timestamp"] for which in ("latest", "pending"))
        if latest + seconds > pending:  # else as much has passed by itself
            self._tester.time_travel(latest + seconds)
        self._tester.mine_block()


class Anvil(Testnet):
    """Foundry's chain, a process of its own. It takes back blocks, drops transactions and holds mining back.

    Args:
        program: where it is; `scripts.get_anvil` fetches it.
    """

    def __init__(self, program: Path) -> None:
        super().__init__()
        self._program = program
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""

    def provider(self) -> AsyncBaseProvider:
        return Endpoint(self.url)

    async def __aenter__(self) -> Self:
        options = ("--host", "127.0.0.1", "--port", "0", "--hardfork", "cancun")
        self._process = await asyncio.create_subprocess_exec(self._program, *options, stdout=asyncio.subprocess.PIPE)
        async with asyncio.timeout(START_S):
            assert self._process.stdout is not None
            async for line in self._process.stdout:
                if line.startswith(b"Listening on "):
                    self.url = f"http://{line.split()[-1].decode()}"
                    break
        return await super().__aenter__()

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__()
        await self.stop()

    async def stop(self) -> None:
        """End the process, if it runs: nobody answers any more."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            await self._process.communicate()

    async def rpc(self, method: str, *parameters: Any) -> Any:
        answer = await self.web3.provider.make_request(RPCEndpoint(method), list(parameters))
        assert "result" in answer, answer
        return answer["result"]

    async def mine(self, blocks: int = 1) -> None:
        await self.rpc("anvil_mine", hex(blocks))

    async def advance(self, seconds: int) -> None:
        await self.rpc("evm_increaseTime", hex(seconds))
        await self.mine()

    async def reorganise(self, depth: int) -> None:
        """Take blocks back, and put as many empty ones in their place. Their transactions are gone."""
        await self.rpc("anvil_reorg", depth, [])

    async def hold(self, held: bool = True) -> None:
        """Make no block when a transaction comes; only `mine` does."""
        await self.rpc("evm_setAutomine", not held)

    async def waiting(self) -> list[dict[str, Any]]:
        """The transactions that wait."""
        found = await self.rpc("txpool_content")
        return [held for kind in found.values() for by_nonce in kind.values() for held in by_nonce.values()]
