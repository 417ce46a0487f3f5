# pragma version 0.4.3
# An ERC-20 that anyone may have made for them, and that can be told to misbehave.

balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])
fee: public(uint256)
lies: public(bool)
to: address
data: Bytes[512]


@external
def make(owner: address, amount: uint256):
    self.balanceOf[owner] += amount


@external
def misbehave(fee: uint256, lies: bool):
    self.fee = fee
    self.lies = lies


@external
def call_when_moved(to: address, data: Bytes[512]):
    self.to = to
    self.data = data


@external
def approve(spender: address, amount: uint256) -> bool:
    assert amount == 0 or self.allowance[msg.sender][spender] == 0, "first 0"
    self.allowance[msg.sender][spender] = amount
    return True


@internal
def _move(source: address, target: address, amount: uint256) -> bool:
    if self.lies:
        return False
    if self.to != empty(address):
        to: address = self.to
        self.to = empty(address)
        raw_call(to, self.data)
    self.balanceOf[source] -= amount
    self.balanceOf[target] += amount - self.fee
    return True


@external
def transfer(target: address, amount: uint256) -> bool:
    return self._move(msg.sender, target, amount)


@external
def transferFrom(source: address, target: address, amount: uint256) -> bool:
    self.allowance[source][msg.sender] -= amount
    return self._move(source, target, amount)
