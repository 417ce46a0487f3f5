"""`python -m tests.chaos`: see `tests.chaos`. Ends with 1 if a verdict is not green."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.chaos.run import PLANTS, Options, chaos
from tests.harness.namespaces import ip, why_not

if TYPE_CHECKING:
    from collections.abc import Sequence

_FINISH_S: Final = 300.0
"""What a run may take beyond its seconds: start, first and last look, and the end of transfers."""


def seeds(text: str) -> list[int]:
    """Read `3`, `1-10` or `1,4,7-9`."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _table(result: dict[str, Any]) -> str:
    lines = [f"seed {result['seed']}: {'green' if result['green'] else 'RED'}"]
    for verdict in result["verdicts"]:
        lines.append(f"  {'RED  ' if verdict['wrong'] else 'green'} {verdict['judge']:<22} {verdict['seen']}")
        lines += [f"          {text}" for text in verdict["wrong"][:20]]
        if (more := len(verdict["wrong"]) - 20) > 0:
            lines.append(f"          and {more} more")
    return "\n".join(lines)


async def _limited(options: Options) -> dict[str, Any]:
    async with asyncio.timeout(options.seconds + _FINISH_S):
        return await chaos(options, _say)


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of disturbances [%(default)s]")
    parser.add_argument("--seed", "--seeds", dest="seeds", type=seeds, default=[1], help="such as 3, or 1-10 [1]")
    parser.add_argument("--recover", type=float, default=5.0, help="seconds until a request must work [%(default)s]")
    parser.add_argument("--plant", choices=PLANTS, default="", help="a defect that must be found")
    parser.add_argument("--keep", type=Path, help="new folder for homes and logs of all nodes; else they are removed")
    parser.add_argument("--json", type=Path, help="file for all results; else they are printed")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Run what the command line asks for, and return the exit code."""
    options = _arguments(words)
    if reason := why_not("nft", "gcc"):
        _say(f"chaos cannot run here: {reason}")
        return 2
    os.unshare(os.CLONE_NEWNET)
    ip("link", "set", "lo", "up")
    results = []
    for seed in options.seeds:
        found = Options(seed, options.seconds, options.recover, options.plant, options.keep)
        results.append(asyncio.run(_limited(found)))
        _say(_table(results[-1]))
    text = json.dumps(results, indent=1)
    if options.json is None:
        print(text)
    else:
        options.json.write_text(text)
    green = sum(bool(result["green"]) for result in results)
    _say(f"{green} of {len(results)} seeds are green")
    return int(green < len(results))


if __name__ == "__main__":
    sys.exit(main())
