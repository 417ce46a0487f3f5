"""The two ends of one link, as the tunnel asks them (`tunnel.toll.Account`).

The ledger's machines decide (`ledger.payer`, `ledger.payee`). Here their words go onto the link, their amounts into the
books, and whoever waits for money is called when it came.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from core.errors import CircuitError, MacroVpnError, PaymentError, Reason
from ledger import messages, payee, payer
from ledger.account import window_units
from ledger.amounts import PARTS_PER_UNIT
from ledger.messages import Stopped
from ledger.payee import Payee, TheirChannel
from ledger.payer import Payer
from node.owing import Spent, most_owed, wary_from
from tunnel.limits import MAX_MESSAGE
from tunnel.toll import SHUT

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from core.ids import PeerKey
    from core.tasks import Tasks
    from ledger.books import PayerChannel
    from ledger.payer import OwnChannel
    from node.wallet import Wallet
    from tunnel.link import Link
    from tunnel.toll import Account, Meter

WORDS_PER_WINDOW: Final = 16
"""How often it is looked whether something can be set off."""

WINDOWS_AHEAD: Final = 2
"""What a payer may be ahead, as the payee sees it: its window, and what it counts as used and is still under way."""


class Paying(Protocol):
    """Who has all ends of this node, and remembers channels from link to link."""

    wallet: Wallet
    tasks: Tasks

    def remembered(self, row: PayerChannel) -> OwnChannel:
        """What is known of an own channel: more than the books, if a link had it since the start."""

    def remember(self, own: OwnChannel) -> None: ...

    def takes_over(self, channel: bytes, end: Outgoing) -> None:
        """An own channel pays at this end from now on, and at no other one."""

    def turn(self, channel: bytes) -> asyncio.Lock:
        """Held by who changes or reads what is paid on an own channel."""

    def used_on(self, channel: bytes, stored: int) -> int:
        """Parts that are used on a channel: more than the books say, if a link has or had it since the start."""

    def holds(self, channel: bytes, end: Incoming) -> None:
        """A channel pays at this end now, and at no other one."""

    def let_go(self, channel: bytes, end: Incoming, used: int) -> None:
        """A link has a channel no more."""

    def spent_for(self, channel: bytes) -> Spent:
        """What all links have in common that have a channel, or had it."""

    def progress(self, link: Link) -> None:
        """Something was used over a link: look whether it can be set off."""

    def ended(self, link: Link, end: Account, reason: Reason) -> None:
        """Nothing is paid any more at an end of a link."""


def _reason_of(error: Exception, otherwise: Reason) -> Reason:
    """The word for the neighbour; `otherwise` for what is this node's own affair."""
    return error.reason if isinstance(error, PaymentError) else otherwise


class End:
    """What the two ends share: who waits, what is to be sent, and what runs beside."""

    def __init__(self, paying: Paying, link: Link) -> None:
        self._paying = paying
        self._wallet = paying.wallet
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self.stopped: Reason | None = None

    def wait(self, go: Callable[[], None]) -> None:
        self._waiting.append(go)

    def wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for go in waiting:
            go()

    def _send(self, outgoing: list[bytes]) -> None:
        bodies, outgoing[:] = list(outgoing), []
        for body in bodies:
            self._link.send_payment(body)

    def _at(self, when: float | None, tick: Callable[[], None]) -> None:
        """Call a session's `tick` at its time."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if when is None else self._loop.call_at(when, tick)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._paying.tasks.spawn(work, name)


class Outgoing(End):
    """What this node pays over a link. Implements `tunnel.toll.Account`."""

    pays = True
    meter: Meter

    def __init__(self, paying: Paying, link: Link, peer: PeerKey, rate: int) -> None:
        super().__init__(paying, link)
        self._peer = peer
        self._rate = rate
        self._row: PayerChannel | None = None
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._word_at = 0
        self.meter = SHUT
        self.began_at = self._loop.time()
        self.session = Payer(self._wallet.separator, link.binding, rate)
        self.session.ask(self._loop.time())
        self._flush()

    # -- tunnel.toll.Account

    def take(self, rate: int, count: int) -> bool:
        if self.session.stage is not payer.Stage.UP:
            return False
        taken = self.session.account.take(rate * count)
        self._pay()
        return taken

    @property
    def window(self) -> int:
        return self.session.account.window if self.session.stage is payer.Stage.UP else 0

    def take_datagram(self, rate: int, count: int) -> bool:
        return self.take(rate, count)

    def took(self, rate: int, count: int, *, datagram: bool) -> None:
        if self.session.stage is payer.Stage.UP:
            self.session.account.took(rate * count, datagram=datagram)
            self._pay()

    def give_back(self, rate: int, count: int) -> None:
        if self.session.stage is payer.Stage.UP:
            self.session.account.give_back(rate * count)

    def wait(self, go: Callable[[], None]) -> None:
        super().wait(go)
        self._pay()

    # -- the session

    def want(self, rate: int) -> None:
        """Pay for circuits up to this rate."""
        if rate > self._rate:
            self._rate = rate
            self._act(self.session.rates(rate))

    async def ready(self) -> None:
        """Wait until something is paid ahead.

        Raises:
            CircuitError: that will not be.
        """
        await asyncio.shield(self._ready)

    def received(self, message: messages.Message) -> None:
        self._act(self.session.receive(message, self._loop.time()))

    def _pay(self) -> None:
        if self.session.stage is payer.Stage.UP and (account := self.session.account).counted >= self._word_at:
            self._word_at = account.counted + account.window // WORDS_PER_WINDOW
            self._paying.progress(self._link)
        events = self.session.due()
        if events:
            self._act(events)
        if self.session.stage is payer.Stage.UP:
            self.session.account.look(self._word_at - 1)

    def _act(self, events: list[payer.Event]) -> None:
        for event in events:
            match event:
                case payer.NeedChannel(account):
                    self._spawn(self._show(account), "payment channel")
                case payer.Commit(cumulative, used):
                    self._spawn(self._store(cumulative, used, self._wallet.store.raise_paid), "payment")
                case payer.Adopt(cumulative, used):
                    self._spawn(self._store(cumulative, used, self._wallet.store.adopt_paid), "payment")
                case payer.Acknowledged():
                    self._acknowledged()
                case payer.NeedDeposit(units):
                    self._spawn(self._top_up(units), "deposit")
                case payer.CapReached():
                    self._act(self.session.stop(Reason.SPENDING_CAP))
                case Stopped(reason, _):
                    self._ended(reason)
        self._flush()

    def _flush(self) -> None:
        self.meter = self.session.account if self.session.stage is payer.Stage.UP else SHUT
        self._send(self.session.outgoing)
        self._at(self.session.next_at, self._tick)

    def _tick(self) -> None:
        self._act(self.session.tick(self._loop.time()))

    def _acknowledged(self) -> None:
        if not self._ready.done() and self.session.ahead > 0:
            self._ready.set_result(None)
        self.wake()

    async def _show(self, account: bytes) -> None:
        try:
            row = await self._wallet.channel_to(self._peer, account)
            async with self._paying.turn(row.channel):  # what an earlier link wanted to store is stored, or refused
                self._paying.takes_over(row.channel, self)
                row = self._wallet.store.payer(row.channel) or row
        except (MacroVpnError, TimeoutError) as error:
            self._act(self.session.stop(_reason_of(error, Reason.NO_CHANNEL)))
            return
        self._row = row
        self.session.cap = row.paid + self._wallet.cap_left
        self.session.show(self._paying.remembered(row), self._loop.time())
        self._flush()

    async def _store(
        self, cumulative: int, used: int, store: Callable[[bytes, int, int], Coroutine[Any, Any, None]]
    ) -> None:
        assert self._row is not None
        try:
            async with self._paying.turn(self._row.channel):
                await store(self._row.channel, cumulative, used)
        except PaymentError as error:
            self._refused(error.reason)
            return
        except MacroVpnError:
            self._refused(Reason.SETTLEMENT)
            return
        self._act(self.session.stored(self._loop.time()))

    def _refused(self, reason: Reason) -> None:
        self.session.not_stored()
        row = None if self._row is None else self._wallet.store.payer(self._row.channel)
        if reason is Reason.SPENDING_CAP and row is not None:
            self.session.cap = row.paid + self._wallet.cap_left
            self._act(self.session.due())
        else:
            self._act(self.session.stop(reason))

    async def _top_up(self, units: int) -> None:
        assert self._row is not None
        try:
            self.session.deposit = await self._wallet.top_up(self._row.channel, units)
        except (MacroVpnError, TimeoutError) as error:
            self._act(self.session.stop(_reason_of(error, Reason.NO_FUNDS)))
            return
        self._act(self.session.due())

    def _ended(self, reason: Reason) -> None:
        if not self._ready.done():
            self._ready.set_exception(CircuitError(reason))
            self._ready.exception()  # seen; whoever waits gets it all the same
        if self._row is not None:
            self._spawn(self._remember(self._row.channel), "payment use")
        self.stopped = reason
        self._paying.ended(self._link, self, reason)

    async def _remember(self, channel: bytes) -> None:
        """Keep what is known of the channel for the next link, once nothing is being stored."""
        async with self._paying.turn(channel):
            if (own := self.session.own) is not None:
                self._paying.remember(own)
                await self._wallet.note_use(channel, own.used)

    @property
    def channel(self) -> bytes:
        """Its id; empty before there is one."""
        return self._row.channel if self._row is not None else b""

    @property
    def used(self) -> int | None:
        """Parts used on the channel; None while nothing is known."""
        return own.used if (own := self.session.own) is not None else None

    def give_up(self) -> None:
        """Another link takes the channel over, and goes on from how it stands."""
        self._act(self.session.stop(Reason.CLOSED))
        if (own := self.session.own) is not None:
            self._paying.remember(own)

    def link_down(self) -> None:
        self._act(self.session.stop(Reason.NEXT_HOP))


class Incoming(End):
    """What a neighbour pays here over a link. Implements `tunnel.toll.Income`."""

    pays = False
    meter: Meter

    def __init__(self, paying: Paying, link: Link) -> None:
        super().__init__(paying, link)
        self._rate = 0
        self._spent = Spent()
        self.meter = SHUT
        self.channel = b""
        self.session = self._new_session()

    def _new_session(self) -> Payee:
        wallet = self._wallet
        return Payee(wallet.separator, wallet.settlement.account, self._link.binding, self._loop.time())

    # -- tunnel.toll.Account

    def take(self, rate: int, count: int) -> bool:
        return self.session.stage is payee.Stage.UP and self.session.account.take(rate * count)

    def take_datagram(self, rate: int, count: int) -> bool:
        return self.session.stage is payee.Stage.UP and self.session.account.take_datagram(rate * count)

    def took(self, rate: int, count: int, *, datagram: bool) -> None:
        """Nothing comes to the paid end that it does not ask for."""

    def give_back(self, rate: int, count: int) -> None:
        if self.session.stage is payee.Stage.UP:
            self.session.account.give_back(rate * count)

    @property
    def overdrawn(self) -> bool:
        return self.spent > wary_from(self._paid, self._rate)

    @property
    def exhausted(self) -> bool:
        return self.spent > self.window - MAX_MESSAGE * self._rate

    def call_in(self) -> None:
        if self.spent > self._most_owed - MAX_MESSAGE * self._rate:
            self.stop(Reason.UNPAID)

    def _collect(self) -> None:
        """What this node owes for the payer beyond what it is ready to counts as used, as far as it is paid by now."""
        account = self.session.account
        if (excess := self.spent - self._most_owed) > 0:
            account.take(min(excess, account.room))

    @property
    def window(self) -> int:
        return window_units(self._paid, self._rate) * PARTS_PER_UNIT

    @property
    def _paid(self) -> int:
        """Units on the channel."""
        return self.session.account.paid if self.channel else 0

    @property
    def _most_owed(self) -> int:
        """Parts."""
        return most_owed(self._paid, self._rate, self._spent.late)

    @property
    def spent(self) -> int:
        """Parts that this node owes others for what it carries here, beyond what was used of the channel."""
        return self._spent.owed - (self.session.account.counted if self.channel and self.stopped is None else 0)

    def owes(self, parts: int) -> None:
        self._spent.owed += parts

    def came_late(self, parts: int) -> None:
        self._spent.late += parts

    def wait(self, go: Callable[[], None]) -> None:
        super().wait(go)
        self.session.short(self._loop.time())
        self._flush()

    # -- the session

    def earns(self, rate: int) -> None:
        """A circuit is paid at this rate."""
        self._rate = max(self._rate, rate)

    def received(self, message: messages.Message) -> None:
        now = self._loop.time()
        if isinstance(message, messages.Ask) and self.session.may_follow(now):
            self.session, self.stopped, self.channel, self._spent = self._new_session(), None, b"", Spent()
        self._act(self.session.receive(message, now))

    def _act(self, events: list[payee.Event]) -> None:
        session = self.session
        for event in events:
            match event:
                case payee.Look(channel):
                    self._spawn(self._look(session, channel), "payment look")
                case payee.Commit(cumulative, signature, used):
                    self._spawn(self._store(session, cumulative, signature, used), "earning")
                case Stopped(reason, _):
                    self._ended(reason)
        self._flush()

    def _flush(self) -> None:
        self.meter = self.session.account if self.session.stage is payee.Stage.UP else SHUT
        self._send(self.session.outgoing)
        self._at(self.session.next_at, self._tick)

    def _tick(self) -> None:
        self._act(self.session.tick(self._loop.time()))

    async def _look(self, session: Payee, channel: bytes) -> None:
        first = session.stage is payee.Stage.LOOKING
        try:
            row = await self._wallet.accept(channel)
        except (MacroVpnError, TimeoutError) as error:
            if first and session is self.session:
                self._act(session.refuse(_reason_of(error, Reason.SETTLEMENT)))
            return
        if session is not self.session:
            return
        if not first:
            self._act(session.set_deposit(row.deposit, self._loop.time()))
            return
        used = self._paying.used_on(channel, row.used)
        self._act(session.accept(TheirChannel(row.signer, row.deposit, row.paid, row.signature, used)))
        if session.stage is payee.Stage.UP:  # it has the channel's key: only then others lose it
            self.channel = channel
            self._paying.holds(channel, self)
            before, self._spent = self._spent, self._paying.spent_for(channel)
            self._spent.owed += before.owed
            self._spent.late += before.late
            self._collect()
            self.wake()

    async def _store(self, session: Payee, cumulative: int, signature: bytes, used: int) -> None:
        try:
            await self._wallet.take_voucher(self.channel, cumulative, signature, used)
        except (MacroVpnError, ValueError) as error:
            if session is self.session:
                self._act(session.stop(_reason_of(error, Reason.SETTLEMENT)))
            return
        if session is not self.session:
            return
        self._act(session.stored(self._loop.time()))
        if self._rate:
            most = WINDOWS_AHEAD * window_units(session.account.paid, self._rate)
            session.account.bound(most * PARTS_PER_UNIT)
        self._collect()
        self.wake()
        if self._waiting:
            session.short(self._loop.time())
        else:
            session.enough()
        self._flush()

    @property
    def used(self) -> int | None:
        """Parts used on the channel; None while there is none."""
        return self.session.account.used if self.channel else None

    def _ended(self, reason: Reason) -> None:
        self._spent.owed = self.spent
        self.stopped = reason
        if (used := self.used) is not None:
            self._paying.let_go(self.channel, self, used)
            self._spawn(self._wallet.note_use(self.channel, used), "earning use")
        self._paying.ended(self._link, self, reason)

    def link_down(self) -> None:
        self._act(self.session.stop(Reason.NEXT_HOP))

    def stop(self, reason: Reason) -> None:
        self._act(self.session.stop(reason))
