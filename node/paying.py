"""Payments over links: what the tunnel asks for (`tunnel.toll.Toll`), and how it stands with each neighbour."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from core.errors import CircuitError, DecodeError, Reason
from core.tariffs import RATES
from core.tasks import Tasks
from ledger import messages, payee, payer
from ledger.messages import Side, reader_of
from ledger.payer import OwnChannel
from ledger.set_off import SetOff
from ledger.voucher import SigningKey
from node.owing import Spent
from node.payment_ends import Incoming, Outgoing
from tunnel.toll import NO_TOLL

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.ids import PeerKey
    from ledger.books import PayerChannel
    from node.wallet import Wallet
    from tunnel.link import Link
    from tunnel.toll import Account, Income

AGAIN_S: Final = 2.0
"""After so long a neighbour that would not be paid, or is paid no more, is asked anew. Longer than `payee.LOOK_S`."""

CLOSE_S: Final = 2.0
"""At the end, how long the books may take."""


class PayingNode:
    """Implements `tunnel.toll.Toll`.

    Args:
        wallet: the node's money.
        tariff: what this node asks for carrying, a step.
        on_end: told of a link over which nothing more is paid, why, and whether this node was to pay.

    Attributes:
        wallet, tasks: see `node.payment_ends.Paying`.
        trouble: why this node could not pay, last; None if it always could.
    """

    def __init__(self, wallet: Wallet, tariff: int, on_end: Callable[[Link, Reason, bool], None]) -> None:
        self.wallet = wallet
        self.tasks = Tasks()
        self.trouble: Reason | None = None
        self._own_rate = RATES[tariff]
        self._cap_then = 0
        self._on_end = on_end
        self._out: dict[Link, Outgoing] = {}
        self._in: dict[Link, Incoming] = {}
        self._set_off: dict[Link, SetOff] = {}
        self._own: dict[bytes, OwnChannel] = {}
        self._turns: dict[bytes, asyncio.Lock] = {}
        self._used: dict[bytes, int] = {}
        self._spent: dict[bytes, Spent] = {}
        self._holders: dict[bytes, Incoming] = {}

    async def close(self) -> None:
        """Remember how every channel stands."""
        for link in [*self._out, *self._in]:
            self.link_down(link)
        await self.tasks.finish(CLOSE_S)

    async def facts(self) -> dict[str, Any]:
        """What `macrovpn wallet` shows."""
        facts = await self.wallet.facts(self._live())
        return facts if facts["trouble"] else facts | self._state()

    def sums(self) -> dict[str, Any]:
        """What was spent and earned, in units, the cap and what is wrong."""
        return self.wallet.sums(self._live()) | {"cap": self.wallet.cap} | self._state()

    def _state(self) -> dict[str, str]:
        return {"trouble": self.trouble.sentence if self.trouble is not None else ""}

    def _live(self) -> dict[bytes, int]:
        ends: list[Outgoing | Incoming] = [*self._out.values(), *self._in.values()]
        return {end.channel: used for end in ends if (used := end.used) is not None}

    # -- tunnel.toll.Toll

    def accepts(self, paid: int, pays: int) -> Reason | None:
        if not self._own_rate:
            return NO_TOLL.accepts(paid, pays)  # to pay others for nothing would only bind its deposits
        return Reason.PRICE if paid - pays < self._own_rate else None

    def paid_by(self, link: Link, rate: int) -> Income:
        end = self._incoming(link)
        end.earns(rate)
        return end

    async def paying(self, link: Link, peer: PeerKey, rate: int) -> Account:
        if self.trouble is Reason.SPENDING_CAP and self.wallet.store.totals.cap == self._cap_then:
            raise CircuitError(Reason.SPENDING_CAP)
        end = self._out.get(link)
        if end is None or (end.stopped is not None and asyncio.get_running_loop().time() - end.began_at > AGAIN_S):
            end = self._out[link] = Outgoing(self, link, peer, rate)
        if end.stopped is not None:
            raise CircuitError(end.stopped)
        end.want(rate)
        await end.ready()
        return end

    def payment(self, link: Link, body: bytes) -> None:
        message = messages.decode(body)
        match reader_of(message):
            case Side.PAYER:
                if (end := self._out.get(link)) is None:
                    raise DecodeError("payment", "answers nothing")
                end.received(message)
            case Side.PAYEE:
                self._incoming(link).received(message)
            case _:
                self._set_off_came(link, message)

    def link_down(self, link: Link) -> None:
        self._set_off.pop(link, None)
        if (outgoing := self._out.pop(link, None)) is not None:
            outgoing.link_down()
        if (incoming := self._in.pop(link, None)) is not None:
            incoming.link_down()

    def _incoming(self, link: Link) -> Incoming:
        if (end := self._in.get(link)) is None:
            end = self._in[link] = Incoming(self, link)
        return end

    # -- node.payment_ends.Paying

    def remembered(self, row: PayerChannel) -> OwnChannel:
        known = self._own.get(row.channel)
        if known is None:
            return OwnChannel(row.channel, SigningKey(row.secret), row.deposit, row.paid, row.used)
        return replace(known, paid=max(known.paid, row.paid), deposit=row.deposit)

    def remember(self, own: OwnChannel) -> None:
        self._own[own.channel] = own

    def takes_over(self, channel: bytes, end: Outgoing) -> None:
        for other in list(self._out.values()):
            if other is not end and other.channel == channel and other.stopped is None:
                other.give_up()

    def turn(self, channel: bytes) -> asyncio.Lock:
        return self._turns.setdefault(channel, asyncio.Lock())

    def used_on(self, channel: bytes, stored: int) -> int:
        holder = self._holders.get(channel)
        held = holder.used if holder is not None else None
        return self._used.get(channel, stored) if held is None else held

    def holds(self, channel: bytes, end: Incoming) -> None:
        former, self._holders[channel] = self._holders.get(channel), end
        self._used.pop(channel, None)
        if former is not None and former is not end:
            former.stop(Reason.CLOSED)

    def spent_for(self, channel: bytes) -> Spent:
        return self._spent.setdefault(channel, Spent())

    def let_go(self, channel: bytes, end: Incoming, used: int) -> None:
        if self._holders.get(channel) is end:
            del self._holders[channel]
            self._used[channel] = used

    def progress(self, link: Link) -> None:
        set_off = self._set_off.get(link) or self._new_set_off(link)
        if set_off is not None and (word := set_off.next_word()) is not None:
            link.send_payment(messages.encode(messages.SetOff(word)))

    def ended(self, link: Link, end: Account, reason: Reason) -> None:
        self._set_off.pop(link, None)
        if reason is Reason.NEXT_HOP:
            return  # the link is gone
        if end.pays:
            self.trouble, self._cap_then = reason, self.wallet.store.totals.cap
        self._on_end(link, reason, end.pays)

    # -- set-off

    def _new_set_off(self, link: Link) -> SetOff | None:
        """Both neighbours pay each other here, or nothing can be set off."""
        outgoing, incoming = self._out.get(link), self._in.get(link)
        if outgoing is None or incoming is None:
            return None
        if outgoing.session.stage is not payer.Stage.UP or incoming.session.stage is not payee.Stage.UP:
            return None
        self._set_off[link] = found = SetOff(outgoing.session.account, incoming.session.account)
        return found

    def _set_off_came(self, link: Link, message: messages.Message) -> None:
        set_off = self._set_off.get(link) or self._new_set_off(link)
        if set_off is None or not isinstance(message, messages.SetOff):
            return
        try:
            set_off.hears(message.parts)
        except ValueError as error:
            raise DecodeError("payment", "no number of parts") from error
        for end in (self._out[link], self._in[link]):
            end.wake()
