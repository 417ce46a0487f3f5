"""The demo as a process of its own, whose nodes are `tests.node.fake_node`. Arguments: RELAYS EXITS [HOME]."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from core.errors import MacroVpnError
from node.demo import DemoOptions, run

ROOT = Path(__file__).resolve().parents[2]
COMMAND = ([sys.executable, "-m", "tests.node.fake_node"], ROOT)


def announce(facts: dict[str, Any]) -> None:
    print(json.dumps(facts), flush=True)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    relays, exits, *home = sys.argv[1:]
    options = DemoOptions(relays=int(relays), exits=int(exits), port=4, home=Path(home[0]) if home else None)
    try:
        asyncio.run(run(options, announce, say, COMMAND))
    except MacroVpnError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
