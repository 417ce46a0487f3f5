"""What docs/payments.md says of a chain is so."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from core.errors import Reason
from ledger.claiming import CLAIM_SPREAD_S, CLAIM_STEP
from ledger.evm import EvmSettings, connect
from ledger.evm_chain import SILENT
from ledger.evm_wallet import NO_GAS, NOT_TAKEN, Fees

if TYPE_CHECKING:
    from tests.harness.chain import Anvil

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = (ROOT / "docs/payments.md").read_text(encoding="utf-8")


async def test_a_contract_is_deployed_as_it_says(anvil: Anvil, tmp_path: Path) -> None:
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    key = await anvil.account()
    (tmp_path / "deployer.key").write_text(f"{key.reveal().hex()}\n")
    deploying = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code.replace("http://127.0.0.1:8545", anvil.url)),
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await deploying.communicate()
    contract = bytes.fromhex(said.decode().strip().removeprefix("0x"))
    settlement = await connect(EvmSettings(anvil.chain_id, contract, confirmations=0), key, anvil.url)
    assert await settlement.balance() == await anvil.holds(key.account) // 10**12
    await settlement.aclose()


@pytest.mark.parametrize("sentence", [SILENT, NO_GAS, NOT_TAKEN, Reason.NO_FUNDS.sentence])
def test_the_sentences(sentence: str) -> None:
    assert f"| {sentence.partition('. ')[0].rstrip('.')}. |" in PAGE


def test_the_figures() -> None:
    settings = EvmSettings(1, b"")
    assert (settings.confirmations, settings.gas_share) == (12, 20)
    assert f"at least {CLAIM_STEP:,} units, and its gas costs at most a twentieth" in PAGE
    assert f"no more than {Fees().most // 10**9} gwei is ever paid" in PAGE
    assert CLAIM_SPREAD_S == 6 * 3600
    assert "up to six hours" in PAGE
