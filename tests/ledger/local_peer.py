"""Another process on a ledger of test coins: it opens a channel to an account, and tops it up, a unit at a time.

`python -m tests.ledger.local_peer FILE PAYEE`: prints the channel and a voucher for 600 units, then each deposit once
it is in the books. Whatever it reads, it does one more; at the end of its input it prints what was claimed.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from ledger.local import join
from ledger.voucher import SigningKey

ACCOUNT = b"\xb0" * 20
KEY = SigningKey(b"\x09" * 32)


async def main(path: Path, payee: bytes) -> None:
    ours = await join(path, ACCOUNT, time.time)
    await ours.faucet(ACCOUNT, 1 << 100)
    channel = await ours.open(payee, KEY.address, 1000)
    print(channel.hex(), KEY.sign(ours.domain.separator, channel, 600).hex(), flush=True)
    for deposit, _ in enumerate(sys.stdin, 1001):
        await ours.top_up(channel, 1)
        print(deposit, flush=True)
    print((await ours.look(channel)).claimed)
    await ours.aclose()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), bytes.fromhex(sys.argv[2])))
