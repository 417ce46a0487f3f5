"""Which settlement a node takes part in, and with which account."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from core.errors import ConfigError
from ledger.amounts import UNITS_PER_COIN
from ledger.wallet_key import read_wallet_key, take_wallet_key
from node.files import write_private

if TYPE_CHECKING:
    from ledger.local import LocalSettlement
    from ledger.settlement import Settlement
    from ledger.wallet_key import WalletKey
    from node.settings import PaymentsSettings

KEY_NAME: Final = "wallet.key"
LEDGER_NAME: Final = "ledger.db"
FIRST_COINS: Final = 1000
"""Test coins that an account of a local ledger begins with."""


async def join_settlement(settings: PaymentsSettings, home: Path, key: WalletKey, *, first: bool) -> Settlement:
    """Take part.

    Args:
        settings: the section `payments`; its `settlement` is not `off`.
        home: the node's folder.
        key: of the account.
        first: for the first time, so that a local ledger gives test coins.

    Raises:
        ConfigError: a setting or a file is wrong, or a library is missing.
        PaymentError: the settlement does not answer.
    """
    if settings.settlement == "evm":
        return await _chain(settings, key)
    path = Path(settings.ledger) if settings.ledger else home / LEDGER_NAME
    return await _local(path, key.account, first=first)


async def _local(path: Path, account: bytes, *, first: bool) -> LocalSettlement:
    from ledger.local import join

    settlement = await join(path, account, time.time)
    try:
        if first:
            await settlement.faucet(account, FIRST_COINS * UNITS_PER_COIN)
    except BaseException:
        await settlement.aclose()
        raise
    return settlement


async def _chain(settings: PaymentsSettings, key: WalletKey) -> Settlement:
    try:
        from ledger.evm import EvmSettings, connect
    except ImportError as error:
        problem = "a chain needs libraries that are not installed; run: pip install 'macro-vpn[evm]'"
        raise ConfigError("payments.settlement", problem) from error
    chosen = EvmSettings(
        chain_id=settings.chain_id,
        contract=bytes.fromhex(settings.contract.removeprefix("0x")),
        confirmations=settings.confirmations,
        unit_wei=settings.unit_wei or None,
    )
    try:
        return await connect(chosen, key, settings.rpc)
    except ConfigError as error:
        raise ConfigError(f"payments.{error.where}", error.problem) from error


def wallet_key(home: Path) -> WalletKey:
    """The key of the node's account: from the environment, or its file, which is made if there is none.

    Raises:
        ConfigError: there is one, and it is none.
    """
    if (given := take_wallet_key(os.environ)) is not None:
        return given
    path = home / KEY_NAME
    if not path.exists():
        write_private(path, secrets.token_hex(32) + "\n")
    return read_wallet_key(path)
