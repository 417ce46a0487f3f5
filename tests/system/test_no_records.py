"""What a network leaves behind: canaries go through it in every way, and then everything that it wrote is searched.

`make prove-no-logs` does more of it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.harness.demo import Demo, udp_port
from tests.harness.money_secrets import MoneySecrets
from tests.harness.origin import DatagramEcho, NameServer, Origin
from tests.proofs import used
from tests.proofs.forms import Canaries
from tests.proofs.kept import without_moments
from tests.proofs.listed import read_homes
from tests.proofs.page import unnamed
from tests.proofs.search import search
from tests.proofs.times import Times
from tests.proofs.used import DESTINATION, HOST

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.system


def test_nothing_is_kept(tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "network", tmp_path / "elsewhere"
    elsewhere.mkdir()
    begin = time.time()
    with Origin(tmp_path, DESTINATION) as origin, DatagramEcho(DESTINATION) as echo, NameServer(DESTINATION) as names:
        options = ["--home", str(home), *used.settings(names.endpoint)]
        environment = used.talkative(elsewhere)
        with Demo(*options, log=elsewhere / "demo.log", environment=environment, ready_s=60) as demo:
            homes = used.homes_of(demo)
            client_port = udp_port(demo.pids("client")[0])
            used.browse(demo, origin, tmp_path)
            datagrams_port = used.send(demo, echo, homes)
            used.disturb_all(demo, homes)
            canaries = Canaries(
                [used.CANARY],
                texts=used.TEXTS,
                addresses=used.ADDRESSES,
                ports=[client_port, datagrams_port],
                sizes=[used.DOWN_BYTES, used.UP_BYTES],
            )

            # It went through: the exits asked for the names and reached the destination.
            assert {HOST, f"missing.{used.CANARY}.test", f"held.{used.CANARY}.test"} <= set(names.asked)
            assert any(host.startswith(HOST) for _, host in origin.seen)
            assert echo.got
            assert {"not_allowed", "refused", "no_name", "done"} <= used.counted_by_exits(homes)

            money = MoneySecrets(demo, tmp_path / "books").all
            told = list(used.answers(homes))
            assert sum(what.endswith("metrics") for what, _ in told) == len(homes) - 1
            assert [(what, held) for what, answer in told for held in canaries.within(answer)] == []
            assert search(home, canaries).found == []
    # What is written as a node ends counts as well, and so does what it wrote outside its home.
    kept = read_homes(homes)
    assert unnamed(kept) == set()
    for folder in (home, elsewhere):
        assert search(folder, canaries, Times(begin, time.time()), without_moments(kept)).found == []
    logs = [log.read_bytes().lower() for log in (*home.rglob("node.log"), elsewhere / "demo.log")]
    assert len(logs) == len(homes) + 1
    assert not any(needle in log or needle.hex().encode() in log for needle in money for log in logs)
    assert list(home.rglob("peers")), "there is something to search"
