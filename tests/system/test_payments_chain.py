"""A paid network on a real chain, each node a process: what vouchers say comes onto it, whoever dies or closes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from ledger.evm_chain import SILENT
from ledger.settlement import CLOSE_DELAY_S, ChannelState
from ledger.wallet_key import read_wallet_key
from node.client import NodeClient
from tests.harness.demo import ROOT, Demo, alive, command, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from pathlib import Path

    from tests.harness.chain import Anvil
    from tests.harness.origin import Origin

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(240)]

UNIT: Final = 10**13
FUNDS: Final = 5 * 10**6
"""Units of each node at first; a channel takes a million."""

NODES: Final = ("client", "relay-1", "relay-2", "exit-1")
STEP: Final = "7"
RATE: Final = 300
"""Units per MB that the guard gets at that step, for three hops."""

LARGE: Final = 40_000_000
SMALL: Final = 4_000_000
HASTY: Final = "tests.harness.hasty"
LIMIT_S: Final = 60.0
READY_S: Final = 85.0
"""Of the demo's own 90: deposits are made one after the other, hop by hop, each in blocks of a second."""


@dataclass(frozen=True, slots=True)
class Network:
    """The nodes and their chain."""

    anvil: Anvil
    contract: bytes
    demo: Demo
    origin: Origin

    def home(self, node: str) -> Path:
        return self.demo.home if node == "client" else self.demo.home / node

    def wallet(self, node: str) -> dict[str, Any]:
        return NodeClient(self.home(node)).wallet()

    def signed(self) -> dict[str, int]:
        """What the client has signed, by channel."""
        return {row["id"]: row["paid"] for row in self.wallet("client")["channels"]}

    def got(self, size: int, key: str) -> bool:
        """Fetch so many bytes through the network; whether they came."""
        url = f"http://127.0.0.1:{self.origin.http}/bytes/{size}"
        done = self.demo.curl("-o", "/dev/null", "-w", "%{http_code} %{size_download}", "--proxy-user", f"{key}:", url)
        return done.stdout == f"200 {size}"

    async def on_chain(self, identity: str) -> tuple[int, ChannelState]:
        """What was claimed of a channel, and its state, as the contract has it now."""
        found = await self.anvil.read(self.contract, "channel", bytes.fromhex(identity))
        return int(found[4]), ChannelState(found[5])

    async def fees(self) -> dict[bytes, int]:
        """Wei that each account ever paid for gas."""
        paid: dict[bytes, int] = {}
        for number in range(await self.anvil.chain.head() + 1):
            for receipt in await self.anvil.rpc("eth_getBlockReceipts", hex(number)):
                sender = bytes.fromhex(receipt["from"][2:])
                cost = int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
                paid[sender] = paid.get(sender, 0) + cost
        return paid

    async def agrees(self) -> bool:
        """Whether the chain has what the books say, to the wei: deposits gone, claims come, gas paid."""
        fees, total = await self.fees(), 0
        for node in NODES:
            account = read_wallet_key(self.home(node) / "wallet.key").account
            holds = await self.anvil.holds(account)
            total += holds + fees.get(account, 0)
            facts = self.wallet(node)
            own = [row for row in facts["channels"] if row["pays"]]
            gone = facts["paid"] + sum(row["deposit"] - row["paid"] for row in own)  # closed ones gave back the rest
            if holds + fees.get(account, 0) != (FUNDS - gone + facts["claimed"]) * UNIT:
                return False
        assert total + await self.anvil.holds(self.contract) == len(NODES) * FUNDS * UNIT
        return True


async def comes(what: str, check: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    """Wait until something holds."""
    loop = asyncio.get_running_loop()

    def holds() -> bool:
        return asyncio.run_coroutine_threadsafe(check(), loop).result(LIMIT_S)

    await asyncio.to_thread(until, what, holds, LIMIT_S)


@asynccontextmanager
async def network(anvil: Anvil, folder: Path, origin: Origin) -> AsyncIterator[Network]:
    """Nodes that make their keys themselves, and are given money once these are there."""
    contract = await anvil.channels(unit=UNIT)
    await anvil.rpc("evm_setIntervalMining", 1)
    settings = {
        "settlement": "evm",
        "rpc": anvil.url,
        "chain_id": anvil.chain_id,
        "contract": f"0x{contract.hex()}",
        "confirmations": 1,
    }
    options = [
        "--tariff",
        STEP,
        "--relays",
        "2",
        "--exits",
        "1",
        "--find",
        "gossip",
        "--allow-destination",
        "127.0.0.0/8",
    ]
    for role in ("client", "relay", "exit"):
        for name, value in settings.items():
            options += ["--set", f"{role}:payments.{name}={value}"]
    home = folder / "network"

    def demo() -> Demo:
        return Demo(*options, "--home", str(home), log=folder / "log", program=HASTY, ready_s=READY_S)

    starting = asyncio.create_task(asyncio.to_thread(demo))
    for node in NODES:
        key = (home if node == "client" else home / node) / "wallet.key"
        await asyncio.to_thread(until, "a key", key.exists, READY_S)
        await anvil.rpc("anvil_setBalance", anvil.shown(read_wallet_key(key).account), hex(FUNDS * UNIT))
    with await starting as started:
        yield Network(anvil, contract, started, origin)


@contextmanager
def started_again(net: Network, node: str) -> Iterator[None]:
    """Kill a node of the demo, and start another in its home, which claims when it is told to or has to."""
    home = str(net.home(node))
    [pid] = [entry["pid"] for entry in net.demo.facts["processes"] if entry["home"] == home]
    os.kill(pid, signal.SIGKILL)
    until(f"{node} is gone", lambda: not alive(pid))
    with (net.demo.home / "again.log").open("wb") as log:
        arguments = ["share", "--foreground", "--no-dht", "--home", home]
        environment = os.environ | {"HASTY_CLAIM_S": "100000"}
        process = subprocess.Popen(
            [sys.executable, "-m", HASTY, *arguments], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        process.kill()
        process.wait()


async def test_a_network_on_a_chain(anvil: Anvil, tmp_path: Path, origin: Origin) -> None:
    async with network(anvil, tmp_path, origin) as net:
        assert net.got(LARGE, "first")
        [channel] = [name for name, units in net.signed().items() if units >= RATE * LARGE // 10**6]
        [guard] = [node for node in NODES[1:3] if channel in [row["id"] for row in net.wallet(node)["channels"]]]

        async def is_claimed() -> bool:
            """All that the payer has signed."""
            claimed, _ = await net.on_chain(channel)
            return claimed == net.signed()[channel]

        async def is_something_claimed() -> bool:
            return (await net.on_chain(channel))[0] > 0

        await comes("a claim of the guard's", is_something_claimed)
        assert net.got(SMALL, "second")
        with started_again(net, guard):
            until("the guard is back", lambda: net.got(1000, "third"), LIMIT_S)
            command("wallet", "claim", home=net.home(guard))
            assert await is_claimed()
            await comes("agreement of books and chain", net.agrees)

            assert net.got(LARGE // 2, "fourth"), "over whichever relay is the first hop now"
            assert NodeClient(net.home("client")).wallet_do("close", channel=channel[:8]) == {"closing": 1}
            await comes("an answer to the close", is_claimed)
            await anvil.advance(CLOSE_DELAY_S)

            async def is_over() -> bool:
                return (await net.on_chain(channel))[1] is ChannelState.CLOSED

            await comes("the end of the channel", is_over)
            until("another channel", lambda: net.got(LARGE // 2, "fifth"), LIMIT_S)
            await comes("agreement of books and chain", net.agrees)

            await anvil.stop()
            facts = net.wallet("client")
            assert (facts["balance"], facts["trouble"]) == (None, SILENT)
            assert net.got(SMALL, "fifth"), "what was opened before is good"
