"""Judge what the node says of its money."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from node.coins import coins
from node.doctor_scene import unchecked, without_node
from node.findings import Finding, Level

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from node.doctor_scene import Told

NEAR_CAP: Final = 0.9
"""From this part of the spending cap on it is time to look."""


def look_at_wallet(told: Told) -> list[Finding]:
    """Say what is wrong with the money."""
    wallet = told.wallet
    if not wallet:
        if not told.status:
            return [without_node("wallet", "how its money stands")]
        return [unchecked("wallet", "The node did not say in time how its money stands.", "Ask: `macrovpn wallet`.")]
    if wallet.get("settlement", "off") == "off":
        return [Finding("wallet", Level.OK, "Payments are off: nothing is paid, and nothing is earned.")]
    return [*_balance(wallet), *_cap(wallet), *_channels(wallet), *_unsettled(wallet), _backup()]


def _balance(wallet: Mapping[str, Any]) -> Iterator[Finding]:
    balance, trouble = wallet.get("balance"), str(wallet.get("trouble", ""))
    if balance is None:
        remedy = (
            "Look at payments.rpc or payments.ledger. What was agreed goes on; no channel can be opened or claimed."
        )
        yield Finding("balance", Level.PROBLEM, trouble or "The ledger does not answer.", remedy)
        return
    locked = int(wallet.get("locked", 0))
    said = f"The ledger answers: {coins(balance)} coins are free, {coins(locked)} lie in channels."
    if balance or locked:
        yield Finding("balance", Level.OK, said)
    else:
        remedy = "Put coins into the account that `macrovpn wallet` shows, or set tunnel.max_tariff to 0."
        yield Finding("balance", Level.WARNING, f"{said} Peers that ask for money cannot be paid.", remedy)


def _cap(wallet: Mapping[str, Any]) -> Iterator[Finding]:
    cap, paid = wallet.get("cap"), int(wallet.get("paid", 0))
    remedy = "`macrovpn wallet cap COINS` raises it. What it forbids is refused, and nothing goes direct."
    if cap is None:
        said = "There is no spending cap: channels are filled as long as the wallet has coins."
        yield Finding("cap", Level.OK, said, "`macrovpn wallet cap COINS` sets one.")
    elif paid >= cap:
        yield Finding("cap", Level.PROBLEM, f"The spending cap of {coins(cap)} coins is reached.", remedy)
    else:
        said = f"{coins(paid)} of the {coins(cap)} coins of the spending cap are paid."
        near = paid >= NEAR_CAP * cap
        yield Finding("cap", Level.WARNING if near else Level.OK, said, remedy if near else "")


def _channels(wallet: Mapping[str, Any]) -> Iterator[Finding]:
    closing = [row for row in wallet.get("channels", ()) if row["state"] == "closing"]
    own = sum(bool(row["pays"]) for row in closing)
    others = len(closing) - own
    if others:
        said = f"Who pays closes {others} channel{'s' * (others > 1)}: what was not claimed when that is over is lost."
        remedy = "Keep the node running, which claims by itself, or claim now: `macrovpn wallet claim`."
        yield Finding("channels", Level.WARNING, said, remedy)
    if own:
        said = f"{own} channel{'s' * (own > 1)} of this node {'are' if own > 1 else 'is'} being closed."
        remedy = "Keep the node running until the rest is back. The ledger's clock counts, not this machine's."
        yield Finding("channels", Level.OK, said, remedy)


def _unsettled(wallet: Mapping[str, Any]) -> Iterator[Finding]:
    left = int(wallet.get("received", 0)) - int(wallet.get("claimed", 0))
    if left > 0:
        said = f"{coins(left)} coins were earned and are not claimed yet."
        yield Finding(
            "unsettled", Level.OK, said, "The node claims by itself from time to time; `macrovpn wallet claim` now."
        )


def _backup() -> Finding:
    said = "Nobody knows whether there is a backup of the wallet: none is recorded."
    remedy = "Keep a copy of `wallet.key` elsewhere, and `macrovpn wallet export FILE` after channels were opened."
    return Finding("backup", Level.OK, said, remedy)
