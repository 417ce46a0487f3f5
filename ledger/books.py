"""What a node remembers of money, and which changes of it are allowed. The file it is kept in is `store`'s.

One row for each channel, which says how it stands and nothing of how it came to that. A `Draft` holds changes that are
not yet written; the `Books` below it stay as they are until `Books.take`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from core.errors import PaymentError, Reason
from core.ids import PEER_KEY_BYTES, PeerKey
from ledger.amounts import MAX_AMOUNT, PARTS_PER_UNIT, check_amount
from ledger.settlement import ChannelState
from ledger.voucher import ADDRESS_BYTES, CHANNEL_ID_BYTES, SIGNATURE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SEPARATOR_BYTES: Final = 32
SECRET_BYTES: Final = 32
NO_SIGNATURE: Final = bytes(SIGNATURE_BYTES)

MAX_CHANNELS: Final = 4096
"""Channels on each side, so that what strangers open does not grow without end. As many as a node knows peers."""


def _check_bytes(size: int, *values: object) -> None:
    for value in values:
        if type(value) is not bytes or len(value) != size:
            raise ValueError(f"not {size} bytes")


def _check_row(channel: bytes, separator: bytes, deposit: int, paid: int, used: int, state: object) -> None:
    _check_bytes(CHANNEL_ID_BYTES, channel)
    _check_bytes(SEPARATOR_BYTES, separator)
    if check_amount(paid) > check_amount(deposit):
        raise ValueError("more is paid than was put in")
    if type(used) is not int or not 0 <= used <= paid * PARTS_PER_UNIT:
        raise ValueError("more is used than is paid")
    if type(state) is not ChannelState:
        raise ValueError("no state of a channel")


class PayerChannel(Struct, frozen=True):
    """A channel on which this node pays.

    Args:
        channel: its id, 32 bytes.
        peer: who is paid.
        separator: of the domain its vouchers count in, 32 bytes.
        account: of who is paid, 20 bytes.
        secret: of the key that signs its vouchers, and nothing else, 32 bytes.
        deposit: units put in, as far as that is final.
        paid: units of the highest voucher that may have been signed.
        used: parts; at most what is paid.
        state: where it stands.

    Raises:
        ValueError: a wrong length, no amount, or amounts that cannot be together.
    """

    channel: bytes
    peer: PeerKey
    separator: bytes
    account: bytes
    secret: bytes
    deposit: int
    paid: int = 0
    used: int = 0
    state: ChannelState = ChannelState.OPEN

    def __post_init__(self) -> None:
        _check_row(self.channel, self.separator, self.deposit, self.paid, self.used, self.state)
        _check_bytes(PEER_KEY_BYTES, self.peer)
        _check_bytes(ADDRESS_BYTES, self.account)
        _check_bytes(SECRET_BYTES, self.secret)

    def __repr__(self) -> str:
        return "PayerChannel([redacted])"


class PayeeChannel(Struct, frozen=True):
    """A channel on which this node is paid.

    Args:
        channel: its id, 32 bytes.
        separator: of the domain its vouchers count in, 32 bytes.
        signer: address of the key that signs them, 20 bytes.
        deposit: units put in, as far as that is final.
        paid: units of the highest voucher.
        signature: under that voucher, 65 bytes; zeros while there is none.
        used: parts; at most what is paid.
        claimed: units that the settlement has paid out; at most what is paid.
        state: where it stands.

    Raises:
        ValueError: as for `PayerChannel`.
    """

    channel: bytes
    separator: bytes
    signer: bytes
    deposit: int
    paid: int = 0
    signature: bytes = NO_SIGNATURE
    used: int = 0
    claimed: int = 0
    state: ChannelState = ChannelState.OPEN

    def __post_init__(self) -> None:
        _check_row(self.channel, self.separator, self.deposit, self.paid, self.used, self.state)
        _check_bytes(ADDRESS_BYTES, self.signer)
        _check_bytes(SIGNATURE_BYTES, self.signature)
        if (self.signature == NO_SIGNATURE) != (self.paid == 0):
            raise ValueError("a signature and an amount belong together")
        if check_amount(self.claimed) > self.paid:
            raise ValueError("more is claimed than is paid")

    def __repr__(self) -> str:
        return "PayeeChannel([redacted])"


class Totals(Struct, frozen=True):
    """Sums beside the channels, in units.

    Args:
        cap: what this node may sign in all, ever. New books have 0: nothing is spent before somebody says how much.
        spent: signed on channels that are forgotten.
        earned: claimed on channels that are forgotten.

    Raises:
        ValueError: no amount.
    """

    cap: int = 0
    spent: int = 0
    earned: int = 0

    def __post_init__(self) -> None:
        for amount in (self.cap, self.spent, self.earned):
            check_amount(amount)

    def __repr__(self) -> str:
        return "Totals([redacted])"


class Books:
    """What is written.

    Args:
        payers: channels on which this node pays.
        payees: channels on which it is paid.
        totals: the sums.

    Raises:
        ValueError: a channel twice, or more signed in all than there are units.

    Attributes:
        signed: units that were ever signed in all, on channels that are forgotten as well.
    """

    __slots__ = ("payees", "payers", "signed", "totals")

    def __init__(self, payers: Iterable[PayerChannel], payees: Iterable[PayeeChannel], totals: Totals) -> None:
        paying, paid = list(payers), list(payees)
        self.payers = {row.channel: row for row in paying}
        self.payees = {row.channel: row for row in paid}
        self.totals = totals
        self.signed = check_amount(totals.spent + sum(row.paid for row in paying))
        if len(self.payers | self.payees) != len(paying) + len(paid):
            raise ValueError("a channel is there twice")

    def take(self, draft: Draft) -> None:
        """Make the changes of a draft that was written."""
        _merge(self.payers, draft.payers)
        _merge(self.payees, draft.payees)
        self.totals, self.signed = draft.totals, draft.signed


def _merge[Row](rows: dict[bytes, Row], changes: dict[bytes, Row | None]) -> None:
    for channel, row in changes.items():
        if row is None:
            rows.pop(channel, None)
        else:
            rows[channel] = row


def _moved(old: ChannelState, new: ChannelState) -> ChannelState:
    """The later of two states; a channel never goes back."""
    if new < old:
        raise PaymentError(Reason.NOT_OPEN)
    return new


class Draft:
    """Changes on top of books. Each call makes one whole change, or raises and makes none.

    Every call but those that add raises `PaymentError` `NO_CHANNEL` for a channel that is not there, and every call
    `ValueError` for what is no amount, state or signature.

    Attributes:
        payers: rows that changed; None for those that went.
        payees: the same.
        totals: the sums, with the changes.
        signed: as in `Books`, with the changes.
    """

    def __init__(self, books: Books) -> None:
        self._books = books
        self.payers: dict[bytes, PayerChannel | None] = {}
        self.payees: dict[bytes, PayeeChannel | None] = {}
        self.totals = books.totals
        self.signed = books.signed

    @property
    def is_empty(self) -> bool:
        return not self.payers and not self.payees and self.totals == self._books.totals

    def payer(self, channel: bytes) -> PayerChannel:
        return _found(self._payer(channel))

    def payee(self, channel: bytes) -> PayeeChannel:
        return _found(self._payee(channel))

    def _payer(self, channel: bytes) -> PayerChannel | None:
        return self.payers[channel] if channel in self.payers else self._books.payers.get(channel)

    def _payee(self, channel: bytes) -> PayeeChannel | None:
        return self.payees[channel] if channel in self.payees else self._books.payees.get(channel)

    def _row(self, channel: bytes) -> PayerChannel | PayeeChannel:
        return self._payer(channel) or self.payee(channel)

    def _put(self, row: PayerChannel | PayeeChannel) -> None:
        if isinstance(row, PayerChannel):
            self.payers[row.channel] = row
        else:
            self.payees[row.channel] = row

    def add_payer(self, row: PayerChannel) -> None:
        """Add a channel on which nothing is signed yet.

        Raises:
            PaymentError: `BUSY`: there are too many.
            ValueError: it is there, or has a past.
        """
        self._check_new(row, self._books.payers, self.payers)
        self.payers[row.channel] = row

    def add_payee(self, row: PayeeChannel) -> None:
        """Add a channel on which no voucher came yet. Raises as `add_payer`."""
        self._check_new(row, self._books.payees, self.payees)
        self.payees[row.channel] = row

    def _check_new[Row: (PayerChannel, PayeeChannel)](
        self, row: Row, written: Mapping[bytes, Row], changes: Mapping[bytes, Row | None]
    ) -> None:
        if self._payer(row.channel) or self._payee(row.channel):
            raise ValueError("this channel is there already")
        if row.paid or row.state is ChannelState.CLOSED:
            raise ValueError("a channel begins with nothing paid, and not closed")
        more = sum((change is not None) - (channel in written) for channel, change in changes.items())
        if len(written) + more >= MAX_CHANNELS:
            raise PaymentError(Reason.BUSY)

    def raise_paid(self, channel: bytes, paid: int, used: int) -> None:
        """Pay up to an amount: sign it when this is written.

        Args:
            channel: on which this node pays.
            paid: units in all; at least what was paid.
            used: parts in all. What is beyond `paid` was a gift of the payee's and is not remembered.

        Raises:
            PaymentError: `NOT_OPEN`; `NO_FUNDS`, more than the deposit; `SPENDING_CAP`, with all other channels more
                than the cap.
            ValueError: less than was paid.
        """
        row = self.payer(channel)
        if row.state is not ChannelState.OPEN:
            raise PaymentError(Reason.NOT_OPEN)
        if check_amount(paid) > row.paid and self.signed - row.paid + paid > self.totals.cap:
            raise PaymentError(Reason.SPENDING_CAP)
        self._pay(row, paid, used)

    def adopt_paid(self, channel: bytes, paid: int, used: int) -> None:
        """Remember what this node has signed and forgot: the payee showed the voucher. As `raise_paid`, but a cap and
        a close come too late for it.

        Raises:
            PaymentError: `NO_FUNDS`: more than the deposit.
            ValueError: less than was paid.
        """
        self._pay(self.payer(channel), paid, used)

    def _pay(self, row: PayerChannel, paid: int, used: int) -> None:
        if check_amount(paid) < row.paid:
            raise ValueError("what is paid never falls")
        if paid > row.deposit or self.signed - row.paid + paid > MAX_AMOUNT:
            raise PaymentError(Reason.NO_FUNDS)
        self._put(replace(row, paid=paid, used=_at_most(used, paid)))
        self.signed += paid - row.paid

    def take_voucher(self, channel: bytes, paid: int, signature: bytes, used: int) -> bool:
        """Keep a voucher that was checked, if it is the highest.

        Args:
            channel: on which this node is paid.
            paid: units it says.
            signature: under it, 65 bytes.
            used: parts in all, at most what it pays.

        Returns:
            False for one that says nothing new, which changes nothing.

        Raises:
            PaymentError: `NOT_OPEN`, closed; `NO_FUNDS`, more than the deposit.
        """
        row = self.payee(channel)
        if check_amount(paid) <= row.paid:
            return False
        if row.state is ChannelState.CLOSED:
            raise PaymentError(Reason.NOT_OPEN)
        if paid > row.deposit:
            raise PaymentError(Reason.NO_FUNDS)
        self._put(replace(row, paid=paid, signature=signature, used=used))
        return True

    def use(self, channel: bytes, used: int) -> None:
        """Remember how much of what is paid was used, on either side: a link ends, and nobody pays.

        Args:
            channel: either side's.
            used: parts in all, as for `raise_paid` and `take_voucher`.
        """
        row = self._row(channel)
        self._put(replace(row, used=_at_most(used, row.paid) if isinstance(row, PayerChannel) else used))

    def deposit(self, channel: bytes, units: int) -> None:
        """Hear what was put in, in all. Less than before is possible where blocks are taken back.

        Raises:
            PaymentError: `NOT_OPEN`, nothing is added any more; `NO_FUNDS`, less than was paid.
        """
        row = self._row(channel)
        if units != row.deposit and row.state is not ChannelState.OPEN:
            raise PaymentError(Reason.NOT_OPEN)
        if check_amount(units) < row.paid:
            raise PaymentError(Reason.NO_FUNDS)
        self._put(replace(row, deposit=units))

    def claimed(self, channel: bytes, units: int) -> None:
        """Hear what the settlement has paid out, in all.

        Raises:
            PaymentError: `BAD_VOUCHER`: more than any voucher says that is known here.
            ValueError: less than before.
        """
        row = self.payee(channel)
        if check_amount(units) > row.paid:
            raise PaymentError(Reason.BAD_VOUCHER)
        if units < row.claimed:
            raise ValueError("what is claimed never falls")
        self._put(replace(row, claimed=units))

    def state(self, channel: bytes, state: ChannelState) -> None:
        """Hear where a channel stands.

        Raises:
            PaymentError: `NOT_OPEN`: it would go back.
        """
        row = self._row(channel)
        self._put(replace(row, state=_moved(row.state, state)))

    def forget(self, channel: bytes) -> None:
        """Drop a closed channel. What was signed or claimed on it goes into the totals.

        Raises:
            PaymentError: `TOO_EARLY`: it is not closed.
        """
        row = self._row(channel)
        if row.state is not ChannelState.CLOSED:
            raise PaymentError(Reason.TOO_EARLY)
        if isinstance(row, PayerChannel):
            self.payers[channel] = None
            self.totals = replace(self.totals, spent=self.totals.spent + row.paid)
        else:
            self.payees[channel] = None
            self.totals = replace(self.totals, earned=min(self.totals.earned + row.claimed, MAX_AMOUNT))

    def cap(self, units: int) -> None:
        """Say what may be signed in all, ever. A cap below what was signed stops what comes."""
        self.totals = replace(self.totals, cap=units)


def _at_most(used: int, paid: int) -> int:
    """The parts that count: what a payee gave beyond what was paid was a gift."""
    return paid * PARTS_PER_UNIT if type(used) is int and used > paid * PARTS_PER_UNIT else used


def _found[Row](row: Row | None) -> Row:
    if row is None:
        raise PaymentError(Reason.NO_CHANNEL)
    return row
