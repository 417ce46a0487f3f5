"""The demo as a process of its own, whose nodes are `tests.node.fake_node`. Arguments: RELAYS EXITS [HOME].

`FAKE_DEMO` says how the nodes come up: `programs`, or `forks`, as without it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from core.errors import MacroVpnError
from node.demo import DemoOptions, run
from node.starters import Forks, Programs
from tests.node import fake_node

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, "-m", "tests.node.fake_node"]


def announce(facts: dict[str, Any]) -> None:
    print(json.dumps(facts), flush=True)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    relays, exits, *home = sys.argv[1:]
    options = DemoOptions(relays=int(relays), exits=int(exits), port=4, home=Path(home[0]) if home else None)
    programs = os.environ.get("FAKE_DEMO") == "programs"
    try:
        run(options, announce, say, Programs(PROGRAM, ROOT) if programs else Forks(options.nodes, fake_node.main, ROOT))
    except MacroVpnError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
