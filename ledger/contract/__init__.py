"""The contract that holds the deposits on a chain: `channels.vy`, and `channels.json`, which was compiled from it.

`python -m scripts.compile_contract` makes the latter anew. What its rules are is said in the source; what it costs and
why it is built so, in `docs/design/0037-contract.md`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True, slots=True)
class Compiled:
    """A contract as it is put on a chain.

    Args:
        abi: its functions and events, as JSON has them.
        bytecode: what is sent to deploy it, before the constructor's arguments.
        runtime: what is then on the chain, before the values that the constructor fixed.
    """

    abi: list[dict[str, Any]]
    bytecode: bytes
    runtime: bytes


@cache
def channels() -> Compiled:
    """The channels' contract, out of this package."""
    found = json.loads(resources.files(__name__).joinpath("channels.json").read_text(encoding="ascii"))
    return Compiled(found["abi"], bytes.fromhex(found["bytecode"]), bytes.fromhex(found["runtime"]))
