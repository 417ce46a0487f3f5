# pragma version 0.4.3
# A token as some old ones are: nothing is returned.

balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])


@external
def make(owner: address, amount: uint256):
    self.balanceOf[owner] += amount


@external
def approve(spender: address, amount: uint256):
    self.allowance[msg.sender][spender] = amount


@external
def transfer(target: address, amount: uint256):
    self.balanceOf[msg.sender] -= amount
    self.balanceOf[target] += amount


@external
def transferFrom(source: address, target: address, amount: uint256):
    self.allowance[source][msg.sender] -= amount
    self.balanceOf[source] -= amount
    self.balanceOf[target] += amount
