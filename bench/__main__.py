"""`python -m bench [COMMAND] [options …]`: run one measurement and print JSON. Without a command: `speed`."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
import time
from typing import Final

from bench.report import say, table

COMMANDS: Final = (
    "speed",
    "compare",
    "survive",
    "alarms",
    "lateness",
    "distance",
    "memory",
    "profile",
    "front",
    "flood",
    "padding",
    "engines",
    "datagrams",
    "simulation",
    "eclipse",
    "egress",
    "names",
    "sharing",
    "vouchers",
)
DEFAULT: Final = "speed"


def split(arguments: list[str]) -> tuple[str, list[str]]:
    """Take the command's name off the arguments; where there is none, it is the default."""
    if arguments and arguments[0] in COMMANDS:
        return arguments[0], arguments[1:]
    return DEFAULT, arguments


def main() -> None:
    if sys.argv[1:2] in (["-h"], ["--help"]):
        import bench

        say(f"{__doc__}\n\n{bench.__doc__}\nEach command has --help.")
        return
    name, arguments = split(sys.argv[1:])
    module = importlib.import_module(f"bench.{name}")
    parser = argparse.ArgumentParser(
        prog=f"python -m bench {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--table", action="store_true", help="print a table to standard error as well")
    module.add_options(parser)
    options, rest = parser.parse_known_args(arguments)
    if rest and not module.TAKES_DEMO_OPTIONS:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    # Whatever ends this, what it started ends as well.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    started, load = time.monotonic(), os.getloadavg()[0]
    result = module.run(options, rest)
    machine = {"cores": os.cpu_count(), "load_before": load, "took_s": round(time.monotonic() - started, 1)}
    result = {"command": name, "machine": machine, **result}
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    if options.table:
        say(table(result))


if __name__ == "__main__":
    main()
