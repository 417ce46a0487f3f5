# pragma version 0.4.3
# pragma evm-version cancun
"""
@title Payment channels of Macro VPN
@license MIT
@notice A channel goes from one payer to one payee and pays out what the highest voucher says. It is open, then closing,
    then closed, and never comes back. Amounts are units; `unit` says what one is worth. Each call sends money to one
    party at most, the one that gains by the call: a party that refuses money holds up nobody but itself.
"""

from ethereum.ercs import IERC20

event Opened:
    id: indexed(bytes32)
    payer: indexed(address)
    payee: indexed(address)
    signer: address
    deposit: uint128

event ToppedUp:
    id: indexed(bytes32)
    deposit: uint128

event Claimed:
    id: indexed(bytes32)
    units: uint128
    claimed: uint128

event Closing:
    id: indexed(bytes32)
    payee: indexed(address)
    closes_at: uint64

event Closed:
    id: indexed(bytes32)
    refunded: uint128

# Three words for a channel, since new words are what gas is spent on. Low 160 bits: an account. High bits: a number.
struct Stored:
    payer_and_end: uint256  # when a close can be finished; 0: open, ENDED: closed
    payee_and_claimed: uint256
    signer_and_deposit: uint256

struct Channel:
    payer: address
    payee: address
    signer: address
    deposit: uint128
    claimed: uint128
    state: uint8
    closes_at: uint64

OPEN: constant(uint8) = 1
CLOSING: constant(uint8) = 2
CLOSED: constant(uint8) = 3
ENDED: constant(uint64) = max_value(uint64)

# Half the order of secp256k1's group: 0x7FFFFFFF FFFFFFFF FFFFFFFF FFFFFFFF 5D576E73 57A4501D DFE92F46 681B20A0 (EIP-2)
HALF_ORDER: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168
DOMAIN_TYPE: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
NAME: constant(bytes32) = keccak256("Macro VPN channels")
VERSION: constant(bytes32) = keccak256("1")
VOUCHER_TYPE: constant(bytes32) = keccak256("Voucher(bytes32 channelId,uint128 cumulative)")

token: public(immutable(address))
unit: public(immutable(uint256))
close_delay: public(immutable(uint64))

stored: HashMap[bytes32, Stored]


@deploy
def __init__(coin: address, base_units: uint256, delay_s: uint64):
    """
    @param coin An ERC-20, or the zero address for the chain's own coin.
    @param base_units What one unit is, in the coin's smallest.
    @param delay_s Between the start of a close and its end.
    """
    assert base_units > 0 and delay_s > 0 and delay_s <= 365 * 86400
    assert coin == empty(address) or coin.is_contract
    token = coin
    unit = base_units
    close_delay = delay_s


@view
@internal
def _get(id: bytes32) -> Channel:
    kept: Stored = self.stored[id]
    assert kept.payer_and_end != 0, "no_channel"
    end: uint64 = convert(kept.payer_and_end >> 160, uint64)
    if end == ENDED:
        return Channel(
            payer=empty(address), payee=empty(address), signer=empty(address),
            deposit=0, claimed=0, state=CLOSED, closes_at=0,
        )
    return Channel(
        payer=self._account(kept.payer_and_end),
        payee=self._account(kept.payee_and_claimed),
        signer=self._account(kept.signer_and_deposit),
        deposit=convert(kept.signer_and_deposit >> 160, uint128),
        claimed=convert(kept.payee_and_claimed >> 160, uint128),
        state=CLOSING if end != 0 else OPEN,
        closes_at=end,
    )


@pure
@internal
def _account(word: uint256) -> address:
    return convert(word & convert(max_value(uint160), uint256), address)


@pure
@internal
def _word(account: address, number: uint256) -> uint256:
    return number << 160 | convert(account, uint256)


@pure
@internal
def _deposit(units: uint128) -> uint256:
    """
    @dev More has no room beside an account. What was claimed is never more than this.
    """
    assert units <= convert(max_value(uint96), uint128), "not_allowed"
    return convert(units, uint256)


@payable
@internal
def _take(units: uint128):
    """
    @dev What came counts, not what a token says: one that takes a fee is refused, one that returns nothing is taken.
    """
    amount: uint256 = convert(units, uint256) * unit
    if token == empty(address):
        assert msg.value == amount, "value"
        return
    assert msg.value == 0, "value"
    before: uint256 = staticcall IERC20(token).balanceOf(self)
    extcall IERC20(token).transferFrom(msg.sender, self, amount, default_return_value=True)
    assert staticcall IERC20(token).balanceOf(self) == before + amount, "token"


@internal
def _give(account: address, units: uint128):
    """
    @dev With all gas, since accounts that are contracts need more than `send` leaves them. What comes back is not read.
    """
    if units == 0:
        return
    amount: uint256 = convert(units, uint256) * unit
    if token == empty(address):
        raw_call(account, b"", value=amount)
    else:
        assert extcall IERC20(token).transfer(account, amount, default_return_value=True), "token"


@internal
def _end(id: bytes32, channel: Channel):
    """
    @dev The mark stays, so that nothing gets this id again; the rest is erased, which gives gas back.
    """
    self.stored[id] = Stored(
        payer_and_end=self._word(empty(address), convert(ENDED, uint256)), payee_and_claimed=0, signer_and_deposit=0
    )
    rest: uint128 = channel.deposit - channel.claimed
    log Closed(id=id, refunded=rest)
    self._give(channel.payer, rest)


@view
@internal
def _id_of(payer: address, payee: address, signer: address, nonce: uint256) -> bytes32:
    return keccak256(abi_encode(chain.id, self, payer, payee, signer, nonce))


@payable
@nonreentrant
@external
def open(payee: address, signer: address, nonce: uint256, deposit: uint128) -> bytes32:
    """
    @notice Open a channel from the sender.
    @param nonce The sender's choice. With the other three it must be new.
    @return Its id.
    """
    assert payee != empty(address) and signer != empty(address) and deposit > 0, "not_allowed"
    id: bytes32 = self._id_of(msg.sender, payee, signer, nonce)
    assert self.stored[id].payer_and_end == 0, "not_open"
    self.stored[id] = Stored(
        payer_and_end=self._word(msg.sender, 0),
        payee_and_claimed=self._word(payee, 0),
        signer_and_deposit=self._word(signer, self._deposit(deposit)),
    )
    log Opened(id=id, payer=msg.sender, payee=payee, signer=signer, deposit=deposit)
    self._take(deposit)
    return id


@payable
@nonreentrant
@external
def topUp(id: bytes32, units: uint128):
    """
    @notice Add to the deposit of an open channel. Anyone may.
    """
    channel: Channel = self._get(id)
    assert channel.state == OPEN, "not_open"
    assert units > 0, "not_allowed"
    deposit: uint128 = channel.deposit + units
    self.stored[id].signer_and_deposit = self._word(channel.signer, self._deposit(deposit))
    log ToppedUp(id=id, deposit=deposit)
    self._take(units)


@nonreentrant
@external
def claim(id: bytes32, cumulative: uint128, signature: Bytes[65]) -> uint128:
    """
    @notice Pay the payee what a voucher says beyond what was claimed, as far as the deposit goes. Anyone may.
    @param signature r (32), s (32, low), v (27 or 28).
    @return Units paid; 0 for a voucher that says nothing new.
    """
    channel: Channel = self._get(id)
    assert channel.state != CLOSED, "not_open"
    assert len(signature) == 65, "bad_voucher"
    r: uint256 = convert(slice(signature, 0, 32), uint256)
    s: uint256 = convert(slice(signature, 32, 32), uint256)
    v: uint256 = convert(slice(signature, 64, 1), uint256)
    assert s <= HALF_ORDER, "bad_voucher"
    voucher: bytes32 = keccak256(abi_encode(VOUCHER_TYPE, id, cumulative))
    digest: bytes32 = keccak256(concat(b"\x19\x01", self._domain(), voucher))
    # Of a signature without a key, and of one whose v is not 27 or 28, this is the zero address, which signs nothing.
    assert ecrecover(digest, v, r, s) == channel.signer, "bad_voucher"

    claimed: uint128 = min(cumulative, channel.deposit)
    if claimed <= channel.claimed:
        return 0
    self.stored[id].payee_and_claimed = self._word(channel.payee, convert(claimed, uint256))
    units: uint128 = claimed - channel.claimed
    log Claimed(id=id, units=units, claimed=claimed)
    self._give(channel.payee, units)
    return units


@nonreentrant
@external
def startClose(id: bytes32):
    """
    @notice The payer ends it: the delay begins, in which the payee claims.
    """
    channel: Channel = self._get(id)
    assert channel.state == OPEN, "not_open"
    assert msg.sender == channel.payer, "not_allowed"
    end: uint64 = convert(block.timestamp, uint64) + close_delay
    self.stored[id].payer_and_end = self._word(channel.payer, convert(end, uint256))
    log Closing(id=id, payee=channel.payee, closes_at=end)


@nonreentrant
@external
def close(id: bytes32):
    """
    @notice The payee ends it at once. What it has not claimed goes back to the payer.
    """
    channel: Channel = self._get(id)
    assert channel.state != CLOSED, "not_open"
    assert msg.sender == channel.payee, "not_allowed"
    self._end(id, channel)


@nonreentrant
@external
def finishClose(id: bytes32):
    """
    @notice After the delay, give the payer what is left. Anyone may.
    """
    channel: Channel = self._get(id)
    assert channel.state == CLOSING, "not_open"
    assert block.timestamp >= convert(channel.closes_at, uint256), "too_early"
    self._end(id, channel)


@view
@external
def channel(id: bytes32) -> Channel:
    return self._get(id)


@view
@external
def idOf(payer: address, payee: address, signer: address, nonce: uint256) -> bytes32:
    return self._id_of(payer, payee, signer, nonce)


@view
@internal
def _domain() -> bytes32:
    return keccak256(abi_encode(DOMAIN_TYPE, NAME, VERSION, chain.id, self))


@view
@external
def domainSeparator() -> bytes32:
    """
    @notice EIP-712's. Reckoned anew each time, so that a chain that splits off does not take vouchers of the other.
    """
    return self._domain()
