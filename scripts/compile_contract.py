"""Compile the channels' contract: `ledger/contract/channels.vy` to `channels.json` beside it.

Usage, from the root of the repository: .venv/bin/python -m scripts.compile_contract

The same source and compiler make the same bytes: what the compiler would append about itself is left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import vyper

SOURCE: Final = Path(__file__).resolve().parent.parent / "ledger/contract/channels.vy"
MADE: Final = SOURCE.with_suffix(".json")


def main() -> None:
    """Compile and write."""
    MADE.write_text(compiled(), encoding="ascii")


def compiled() -> str:
    """What belongs into the file."""
    formats = ("abi", "bytecode", "bytecode_runtime")
    made = vyper.compile_code(SOURCE.read_text(encoding="utf-8"), output_formats=formats, no_bytecode_metadata=True)
    bytecode, runtime = (made[name].removeprefix("0x") for name in formats[1:])
    lines = ",\n    ".join(json.dumps(entry) for entry in made["abi"])
    return f'{{\n  "abi": [\n    {lines}\n  ],\n  "bytecode": "{bytecode}",\n  "runtime": "{runtime}"\n}}\n'


if __name__ == "__main__":
    main()
