"""A program that behaves, seen from outside, as a node: a home, a control interface, an end. It carries no traffic.

`FAKE_NODE` chooses how: `stubborn` ignores SIGTERM, requests to stop and its parent, `broken` ends at once with a line
on stderr, `blocked` stays blocked, `used` has to be asked twice. `FAKE_NODE_ONLY` limits that to homes whose path ends
in it. `FAKE_NODE_PEERS` is the number of peers that it claims to know.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import MacroVpnError
from node.config import PARENT_FD_ENV, Loaded, Settings, load
from node.control.server import Control
from node.files import HomeLock
from node.settings_view import rows
from node.switch import OFF
from tests.node import answers

if TYPE_CHECKING:
    from node.wallet_orders import WalletOrder


class FakeNode:
    """What `Control` asks."""

    def __init__(self, settings: Settings, how: str) -> None:
        self._settings = settings
        self._how = how
        self.is_on = True
        self.stopped = asyncio.Event()
        self._asked = 0

    def status(self) -> dict[str, Any]:
        client = "client" in self._settings.node.roles
        blocked = {"state": "blocked", "reason": "no guard answers."}
        off = {"state": "down", "reason": OFF}
        now = blocked if self._how == "blocked" else {} if self.is_on else off
        return (
            answers.STATUS
            | now
            | {
                "peers": int(os.environ.get("FAKE_NODE_PEERS", "0")),
                "peer_id": "" if client else answers.PEER_ID,
                "proxy": self._settings.proxy.listen if client else "",
                "pac": f"http://{self._settings.proxy.listen}/x/proxy.pac" if client else "",
                "roles": list(self._settings.node.roles),
                "engine": "fake",
            }
        )

    def route(self) -> dict[str, Any]:
        return answers.ROUTE

    def explain(self) -> dict[str, Any]:
        return answers.EXPLAINED

    def second(self) -> dict[str, Any]:
        return answers.SECOND

    def peers(self) -> dict[str, Any]:
        return answers.PEERS

    def health(self) -> dict[str, Any]:
        return {}

    def new_probe(self) -> str:
        return ""

    def probe_came(self, name: str) -> bool:
        return False

    async def ask_site(self, url: str) -> dict[str, Any]:
        return {}

    def regions(self) -> list[dict[str, Any]]:
        return answers.REGIONS

    def settings(self) -> dict[str, Any]:
        return {"settings": rows(Loaded(self._settings, {})), "file": "/config.toml", "problem": ""}

    async def change(self, changes: dict[str, Any]) -> dict[str, Any]:
        return {"applied": [], "for_new": [], "after_restart": list(changes)}

    async def switch(self, on: bool) -> None:
        self.is_on = on

    def invite(self) -> str:
        return ""

    def pac(self) -> str:
        return answers.PAC

    async def confirm_trust(self) -> dict[str, Any]:
        return answers.TRUST

    async def reload_trust(self) -> None:
        return

    def rules(self) -> dict[str, Any]:
        return {"count": 0, "digest": ""}

    async def reload_rules(self) -> None:
        return

    async def wallet(self) -> dict[str, Any]:
        return answers.WALLET

    async def wallet_do(self, order: WalletOrder) -> dict[str, Any]:
        return answers.ORDERS[order.what]

    async def hop(self) -> None:
        if not self.is_on:
            raise MacroVpnError(OFF)

    def request_stop(self) -> float:
        self._asked += 1
        if self._how == "used" and self._asked == 1:
            return 60.0
        if self._how != "stubborn":
            self.stopped.set()
        return 0.0


async def run(home: Path, how: str) -> None:
    settings = load(home)
    node = FakeNode(settings, how)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, node.request_stop)
    if how != "stubborn" and (parent := os.environ.get(PARENT_FD_ENV)):
        os.set_blocking(int(parent), False)
        loop.add_reader(int(parent), node.stopped.set)
    control = Control(node, home)
    await control.start(settings.control.port)
    await node.stopped.wait()
    await control.stop()


def main(arguments: list[str]) -> None:
    home = Path(arguments[arguments.index("--home") + 1])
    how = os.environ.get("FAKE_NODE", "")
    if not str(home).endswith(os.environ.get("FAKE_NODE_ONLY", "")):
        how = ""
    if how == "broken":
        print("this node is broken on purpose", file=sys.stderr)
        sys.exit(1)
    lock = HomeLock(home)
    lock.acquire()
    asyncio.run(run(home, how))


if __name__ == "__main__":
    main(sys.argv)
