"""What the contract's calls cost. `python -m tests.ledger.gas` prints it as a table in Markdown."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from ledger.contract import channels
from ledger.settlement import CLOSE_DELAY_S
from scripts.get_anvil import anvil
from tests.harness.chain import NOBODY, UNIT, Anvil
from tests.harness.raw_channel import RawChannel, parties

if TYPE_CHECKING:
    from tests.harness.chain import Testnet

LIFE: Final = "a life: open, claim, startClose, finishClose"
LIFE_LIMIT: Final = 300_000

COINS: Final = {"native": "native", "ERC-20": "coin"}


async def measured(net: Testnet) -> dict[str, dict[str, int]]:
    """Gas by coin and call. The token is the tests' own, which is as simple as a token can be."""
    return {title: await _of(await parties(net, kind)) for title, kind in COINS.items()}


async def _of(base: RawChannel) -> dict[str, int]:
    net, shown = base.net, base.net.shown
    made = net.creation(channels(), shown(base.token), UNIT, CLOSE_DELAY_S)
    found = {"deploy": await net.web3.eth.estimate_gas({"data": made})}
    parts = (shown(base.payee.account), shown(base.signer.address))
    if base.token != NOBODY:
        await base.approve(base.payer, 5000)
    found["open"] = (await base.do("open", *parts, 0, 1000, units=1000)).gas
    channel = await base.named(0)
    found["topUp"] = (await channel.do("topUp", channel.id, 500, units=500)).gas
    found["claim"] = (await channel.claim(700)).gas
    found["claim, later"] = (await channel.claim(1000)).gas
    found["claim, nothing new"] = (await channel.claim(1000)).gas
    found["startClose"] = (await channel.do("startClose", channel.id)).gas
    await net.advance(CLOSE_DELAY_S)
    found["finishClose"] = (await channel.do("finishClose", channel.id)).gas
    await base.do("open", *parts, 1, 1000, units=1000)
    second = await base.named(1)
    found["close"] = (await second.do("close", second.id, by=base.payee)).gas
    found[LIFE] = sum(found[name] for name in ("open", "claim", "startClose", "finishClose"))
    return found


async def _main() -> None:
    async with Anvil(anvil()) as net:
        table = await measured(net)
    print("| gas |", *(f"{title} |" for title in table))
    print("|---|" + "---|" * len(table))
    for name in table["native"]:
        print(f"| {name} |", *(f"{column[name]:,} |" for column in table.values()))


if __name__ == "__main__":
    asyncio.run(_main())
