# pragma version 0.4.3
# An account that is a contract: payer or payee of channels. It can refuse money, or use the call to come in again.

mode: public(uint8)  # 0: takes money and writes it down, 1: refuses it, 2: calls in again
to: address
data: Bytes[512]
got: public(uint256)


@external
def behave(mode: uint8, to: address, data: Bytes[512]):
    self.mode = mode
    self.to = to
    self.data = data


@payable
@external
def run(to: address, data: Bytes[512]):
    raw_call(to, data, value=msg.value)


@payable
@external
def __default__():
    assert self.mode != 1, "refused"
    self.got += msg.value
    if self.mode == 2:
        raw_call(self.to, self.data)
