"""A node's money: its books, its account in the settlement, and what is done with them from time to time.

Channels are opened when somebody is to be paid, topped up when they run low, claimed now and then (`ledger.claiming`),
watched for a payer that closes, and forgotten when they are closed.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from core.errors import MacroVpnError, PaymentError, Reason
from core.tasks import Tasks
from ledger.amounts import MAX_AMOUNT, PARTS_PER_UNIT, UNITS_PER_COIN
from ledger.books import PayeeChannel, PayerChannel
from ledger.claiming import Claims
from ledger.settlement import ChannelState
from ledger.store import Store
from ledger.voucher import SigningKey
from node.channel_keys import ChannelKeys
from node.coins import read_coins
from node.settings import NO_CAP
from node.settlements import join_settlement, wallet_key
from peers.identity import peer_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from core.ids import PeerKey
    from ledger.settlement import Channel, Settlement
    from node.settings import PaymentsSettings
    from node.wallet_orders import WalletOrder

STORE_NAME: Final = "money.db"
LOOK_S: Final = 30.0
"""Between two looks at all channels; a payer's close leaves a day."""

SETTLE_S: Final = 3600.0
"""How long one call of the settlement may take. On a chain it waits until it counts, and has limits of its own."""

BALANCE_S: Final = 3.0
"""How long whoever looks at the wallet waits for the settlement. Shorter than `node.client.LIMIT_S`."""

_log = logging.getLogger(__name__)


class UnknownChannelError(MacroVpnError):
    """No channel of this node has such an id, or more than one has."""

    def __init__(self, digits: str) -> None:
        which = f"No channel's id begins with {digits}, or more than one's does." if digits else "There is no channel."
        super().__init__(f"{which} `macrovpn wallet` lists all.")


class Wallet:
    """Made by `open`; `close` when done.

    Args:
        settings: the section `payments`.
        store: the books.
        settlement: where the channels are.
        keys: of the channels on which this node pays.

    Attributes:
        store, settlement: as given.
        separator: of the domain that vouchers count in, 32 bytes.
    """

    def __init__(self, settings: PaymentsSettings, store: Store, settlement: Settlement, keys: ChannelKeys) -> None:
        self._keys = keys
        self._settings = settings
        self._tasks = Tasks()
        self._opening: dict[bytes, asyncio.Lock] = {}
        self._claims = Claims(random.SystemRandom().random)
        self._claiming = asyncio.Lock()
        self.store = store
        self.settlement = settlement
        self.separator = settlement.domain.separator

    @classmethod
    async def open(cls, settings: PaymentsSettings, home: Path, *, relays: bool) -> Wallet:
        """Open the books of a home, or begin them.

        Args:
            settings: the section `payments`; its `settlement` is not `off`.
            home: the node's folder.
            relays: whether this node carries for others, and so pays on with what it is paid.

        Raises:
            ConfigError: a setting or a file is wrong.
            PaymentError: the settlement does not answer.
        """
        path = home / STORE_NAME
        is_new = not path.exists()
        store = await Store.open(path)
        try:
            if is_new:
                own_limit = round(settings.deposit * UNITS_PER_COIN)
                await store.cap(MAX_AMOUNT if relays or settings.settlement == "local" else own_limit)
            await _use_cap(store, settings)
            key = wallet_key(home)
            settlement = await join_settlement(settings, home, key, first=is_new)
        except BaseException:
            await store.aclose()
            raise
        return cls(settings, store, settlement, ChannelKeys(key.reveal()))

    async def use(self, settings: PaymentsSettings) -> None:
        """Go by another cap, other deposits and another number of channels from now on.

        Raises:
            StoreError: the cap could not be written; then nothing has changed.
        """
        await _use_cap(self.store, settings)
        self._settings = settings

    def start(self) -> None:
        """Look after the channels from now on."""
        self._tasks.spawn(self._look_after(), "wallet")

    async def close(self) -> None:
        """Write down what waits, and let go of everything."""
        await self._tasks.cancel()
        await self.store.aclose()
        await self.settlement.aclose()

    # -- paying

    @property
    def cap(self) -> int | None:
        """Units that may be signed in all, ever; None for any number."""
        cap = self.store.totals.cap
        return None if cap == MAX_AMOUNT else cap

    @property
    def cap_left(self) -> int:
        """Units that may still be signed."""
        return max(0, self.store.totals.cap - self.store.signed)

    async def channel_to(self, peer: PeerKey, account: bytes) -> PayerChannel:
        """The channel on which a peer is paid; opened if there is none.

        Raises:
            PaymentError: it cannot be opened.
            StoreError: the books cannot be written.
        """
        async with self._opening.setdefault(account, asyncio.Lock()):
            fitting = [
                row
                for row in self.store.payers
                if (row.peer, row.account, row.separator) == (peer, account, self.separator)
                and row.state is ChannelState.OPEN
            ]
            if fitting:
                return max(fitting, key=lambda row: row.deposit - row.paid)
            if sum(row.state is ChannelState.OPEN for row in self.store.payers) >= self._settings.channels:
                # Clients name the next hop. Else they could have a relay lock up all that it has, and pay the fees.
                raise PaymentError(Reason.NO_CHANNEL)
            return await self._open_channel(peer, account)

    async def _open_channel(self, peer: PeerKey, account: bytes) -> PayerChannel:
        """Open a channel, or find again one that the books do not know: they are an old backup, or the node was stopped
        while it opened it. The keys follow from the account's, so nothing is lost with the books."""
        known = {row.channel for row in self.store.payers}
        for number in count():
            secret = self._keys.secret(self.separator, account, number)
            signer = SigningKey(secret).address
            channel = await self.settlement.find(account, signer)
            if channel is None:
                channel = await self._pay_in(account, signer)
            elif channel in known or (await self.settlement.look(channel)).state is not ChannelState.OPEN:
                continue
            deposit = (await self.settlement.look(channel)).deposit
            row = PayerChannel(channel, peer, self.separator, account, secret, deposit)
            await self.store.add_payer(row)
            return row
        raise AssertionError("there is always another number")

    async def _pay_in(self, account: bytes, signer: bytes) -> bytes:
        deposit = min(round(self._settings.deposit * UNITS_PER_COIN), await self.settlement.balance())
        if not deposit:
            raise PaymentError(Reason.NO_FUNDS)
        async with asyncio.timeout(SETTLE_S):
            return await self.settlement.open(account, signer, deposit)

    async def note_use(self, channel: bytes, used: int) -> None:
        """Remember how much was used on a channel, in parts. Best effort: what was paid is remembered elsewhere."""
        with suppress(MacroVpnError):
            await self.store.use(channel, used)

    async def top_up(self, channel: bytes, least: int) -> int:
        """Put more into a channel on which this node pays.

        Args:
            channel: its id.
            least: units that it must get; it gets a whole deposit if there is so much.

        Returns:
            What it holds then, in units, ever.

        Raises:
            PaymentError: `NO_FUNDS`, or the settlement refuses.
            StoreError: the books cannot be written.
        """
        units = max(least, round(self._settings.deposit * UNITS_PER_COIN))
        free = await self.settlement.balance()
        if free < least:
            raise PaymentError(Reason.NO_FUNDS)
        async with asyncio.timeout(SETTLE_S):
            await self.settlement.top_up(channel, min(units, free))
        return await self._see_deposit(channel)

    async def _see_deposit(self, channel: bytes) -> int:
        deposit = (await self.settlement.look(channel)).deposit
        await self.store.deposit(channel, deposit)
        return deposit

    # -- being paid

    async def accept(self, channel: bytes) -> PayeeChannel:
        """Look up a channel that somebody wants to pay on, and remember it.

        Raises:
            PaymentError: it is not one to this node that is open here.
            StoreError: the books cannot be written.
        """
        found = await self.settlement.look(channel)
        if found.payee != self.settlement.account:
            raise PaymentError(Reason.NO_CHANNEL)
        if found.state is not ChannelState.OPEN:
            raise PaymentError(Reason.NOT_OPEN)
        row = self.store.payee(channel)
        if row is None:
            row = PayeeChannel(channel, self.separator, found.signer, found.deposit)
            await self.store.add_payee(row)
        elif row.deposit != found.deposit:
            await self.store.deposit(channel, found.deposit)
        return self.store.payee(channel) or row

    async def take_voucher(self, channel: bytes, cumulative: int, signature: bytes, used: int) -> None:
        """Keep a voucher. Arguments and errors as for `Store.take_voucher`."""
        if await self.store.take_voucher(channel, cumulative, signature, used):
            self._claims.stored(channel, cumulative, signature)

    # -- from time to time

    async def _look_after(self) -> None:
        while True:
            for row in self.store.payees:
                await self._attempt(self._look_at_payee, row)
            for own in self.store.payers:
                await self._attempt(self._look_at_payer, own)
            await asyncio.sleep(LOOK_S)

    @staticmethod
    async def _attempt[Row](look: Callable[[Row], Any], row: Row) -> None:
        try:
            async with asyncio.timeout(SETTLE_S):
                await look(row)
        except (MacroVpnError, TimeoutError) as error:
            _log.info("a channel could not be looked after: %s", type(error).__name__)

    async def _look_at_payee(self, row: PayeeChannel) -> None:
        channel = row.channel
        closing = bool(await self.settlement.closing([channel]))
        voucher = self._claims.due(row, asyncio.get_running_loop().time(), closing=closing)
        if voucher is not None:
            await self._claim(channel, *voucher)
        async with self._claiming:
            found = await self._gone_or(channel)
            await self._remember(channel, found)
            await self._note_claimed(channel, found)
        if self.store.payee(channel) is None:
            self._claims.forget(channel)

    async def _look_at_payer(self, row: PayerChannel) -> None:
        found = await self._gone_or(row.channel)
        if found is not None and found.state is ChannelState.CLOSING and await self._is_due(found):
            await self.settlement.finish_close(row.channel)
            found = await self._gone_or(row.channel)
        await self._remember(row.channel, found)

    async def _is_due(self, found: Channel) -> bool:
        return await self.settlement.now_s() >= found.closes_at

    async def _gone_or(self, channel: bytes) -> Channel | None:
        """The channel, None when the settlement knows it no more."""
        try:
            return await self.settlement.look(channel)
        except PaymentError as error:
            if error.reason is Reason.NO_CHANNEL:
                return None
            raise

    async def _remember(self, channel: bytes, found: Channel | None) -> None:
        """Note the state of a channel, and forget it when it is closed."""
        row = self.store.payer(channel) or self.store.payee(channel)
        if found is None or row is None:
            return
        if found.state is not row.state:
            await self.store.state(channel, found.state)
        if found.state is ChannelState.CLOSED:
            await self.store.forget(channel)

    async def _note_claimed(self, channel: bytes, found: Channel | None) -> None:
        """Note what was paid out, by whomever it was claimed. `_claiming` is held, so that nothing else does."""
        row = self.store.payee(channel)
        if found is not None and row is not None and found.claimed > row.claimed:
            await self.store.claimed(channel, min(found.claimed, row.paid))

    async def _claim(self, channel: bytes, cumulative: int, signature: bytes) -> int:
        """Claim, and note what that brought: nothing, where gas would have cost too much of it."""
        async with self._claiming:
            credited = await self.settlement.claim(channel, cumulative, signature)
            await self._note_claimed(channel, await self._gone_or(channel))
        return credited

    async def _claim_all(self) -> dict[str, int]:
        """What was paid out, and what is left because it is not worth its gas."""
        rows = [row for row in self.store.payees if row.paid > row.claimed]
        claimed = sum([await self._claim(row.channel, row.paid, row.signature) for row in rows])
        return {"claimed": claimed, "left": sum(row.paid - row.claimed for row in self.store.payees)}

    # -- for people

    def sums(self, live: Mapping[bytes, int]) -> dict[str, int]:
        """What was spent, signed (`paid`), earned and got in vouchers (`received`), in units.

        Args:
            live: parts used on channels that are in use now, by their ids.
        """

        def used(rows: tuple[PayerChannel, ...] | tuple[PayeeChannel, ...]) -> int:
            return sum(max(row.used, live.get(row.channel, 0)) for row in rows) // PARTS_PER_UNIT

        store, totals = self.store, self.store.totals
        return {
            "spent": totals.spent + used(store.payers),
            "paid": store.signed,
            "earned": totals.earned + used(store.payees),
            "received": totals.earned + sum(row.paid for row in store.payees),
        }

    async def do(self, order: WalletOrder) -> dict[str, Any]:
        """Do what somebody ordered.

        Raises:
            MacroVpnError: it was refused, or the settlement does not answer.
        """
        match order.what:
            case "claim":
                return await self._claim_all()
            case "close":
                return await self._close(order.channel)
            case "cap":
                await self.store.cap(MAX_AMOUNT if order.units is None else order.units)
                return {"cap": order.units}
            case "deposit":
                row = self._found(order.channel)
                await self.settlement.top_up(row.channel, order.units or 0)
                return {"channel": row.channel.hex(), "deposit": await self._see_deposit(row.channel)}
            case "export":
                from pathlib import Path

                await self.store.export(Path(order.path))
                return {"path": order.path}

    def _found(self, digits: str) -> PayerChannel:
        rows = [row for row in self.store.payers if row.channel.hex().startswith(digits)]
        if (digits and len(rows) != 1) or not rows:
            raise UnknownChannelError(digits)
        return max(rows, key=lambda row: row.paid)

    async def _close(self, digits: str) -> dict[str, Any]:
        rows = [self._found(digits)] if digits else list(self.store.payers)
        closing = 0
        for row in rows:
            if row.state is ChannelState.OPEN:
                await self.settlement.start_close(row.channel)
                await self.store.state(row.channel, ChannelState.CLOSING)
                closing += 1
        return {"closing": closing}

    async def facts(self, live: Mapping[bytes, int]) -> dict[str, Any]:
        """What `macrovpn wallet` shows; amounts in units.

        Args:
            live: parts used on channels that are in use now, by their ids.

        `balance` is None, and `trouble` says why, while the settlement does not answer.
        """
        balance, trouble = None, ""
        try:
            async with asyncio.timeout(BALANCE_S):
                balance = await self.settlement.balance()
        except PaymentError as error:
            trouble = str(error)
        except TimeoutError:
            trouble = Reason.SETTLEMENT.sentence
        store, totals, domain = self.store, self.store.totals, self.settlement.domain
        rows: tuple[PayerChannel | PayeeChannel, ...] = (*store.payers, *store.payees)
        return self.sums(live) | {
            "settlement": self._settings.settlement,
            "chain": str(domain.chain_id) if domain.chain_id else "",
            "account": "0x" + self.settlement.account.hex(),
            "balance": balance,
            "trouble": trouble,
            "locked": sum(row.deposit - row.paid for row in store.payers),
            "claimed": totals.earned + sum(row.claimed for row in store.payees),
            "cap": self.cap,
            "tariff": self._settings.tariff,
            "channels": [_shown(row) for row in rows],
        }


def _shown(row: PayerChannel | PayeeChannel) -> dict[str, Any]:
    pays = isinstance(row, PayerChannel)
    return {
        "id": row.channel.hex(),
        "pays": pays,
        "peer_id": peer_id(row.peer) if isinstance(row, PayerChannel) else "",
        "state": row.state.name.lower(),
        "deposit": row.deposit,
        "paid": row.paid,
        "claimed": row.claimed if isinstance(row, PayeeChannel) else 0,
    }


async def _use_cap(store: Store, settings: PaymentsSettings) -> None:
    """Have the books keep the cap of the settings; without any there, the one that they have."""
    if settings.cap:
        await store.cap(MAX_AMOUNT if settings.cap == NO_CAP else read_coins(settings.cap))
