"""Ask for the ways to addresses, in a process of its own that may stand in a namespace.

    python -m tests.harness.ways [--user NUMBER] [--source ADDRESS] [--interfaces] ADDRESS…

It prints JSON: the way to each address.
"""

from __future__ import annotations

import argparse
import json
import os
from ipaddress import ip_address

from exits.routes import InterfaceRoutes, KernelRoutes


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--user", type=int)
    parser.add_argument("--source", type=ip_address)
    parser.add_argument("--interfaces", action="store_true")
    parser.add_argument("addresses", nargs="+")
    chosen = parser.parse_args()
    routes = InterfaceRoutes() if chosen.interfaces else KernelRoutes(chosen.source)
    if chosen.user is not None:
        os.setgroups([])
        os.setuid(chosen.user)
    print(json.dumps({text: routes.way_to(ip_address(text)).value for text in chosen.addresses}))


if __name__ == "__main__":
    main()
