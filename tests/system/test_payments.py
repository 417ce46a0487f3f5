"""Money in a whole network: what is carried is paid, hop by hop, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from node.demo_plan import LEDGER_NAME
from tests.harness.demo import Demo, command, settled, until
from tests.harness.money_secrets import MoneySecrets, holdings, is_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.origin import Origin

pytestmark = pytest.mark.system

PAID: Final = ("--tariff", "2", "--relays", "2", "--exits", "1", "--allow-destination", "127.0.0.0/8")
LARGE: Final = 300_000_000
RATE: Final = 2
"""Units per MB of each hop's own share, at the demo's step."""


@pytest.fixture(scope="module")
def paid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with Demo(*PAID, log=tmp_path_factory.mktemp("paid") / "log") as demo:
        yield demo


def download(demo: Demo, origin: Origin, size: int, key: str) -> tuple[str, int]:
    """Fetch so many bytes; returns curl's word on the status and how many came."""
    url = f"http://127.0.0.1:{origin.http}/bytes/{size}"
    done = demo.curl("-o", "/dev/null", "-w", "%{http_code} %{size_download}", "--proxy-user", f"{key}:x", url)
    status, _, count = done.stdout.partition(" ")
    return status, int(count)


def test_each_hop_earns_what_the_tariff_says(paid: Demo, origin: Origin) -> None:
    before = settled(paid.home)
    status, count = download(paid, origin, LARGE, "large")
    assert (status, count) == ("200", LARGE)
    after = settled(paid.home)

    def more(node: str, what: str) -> int:
        return int(after[node][what]) - int(before[node][what])

    [guard] = [relay for relay in ("relay-1", "relay-2") if more(relay, "earned") > 5 * LARGE // 10**6]
    relay = "relay-2" if guard == "relay-1" else "relay-1"
    links = [("client", guard, 3), (guard, relay, 2), (relay, "exit-1", 1)]
    for payer, payee, hops in links:
        assert abs(more(payer, "spent") - more(payee, "earned")) <= 1, "both ends of a link counted the same"
        carried = more(payer, "spent") / (hops * RATE)
        assert LARGE / 1e6 <= carried <= LARGE / 1e6 * 1.02, "MB on that link, with layers and pings"
    own = [more(node, "earned") - more(node, "spent") for node in (guard, relay, "exit-1")]
    assert abs(sum(own) - more("client", "spent")) <= 3
    assert min(own) >= RATE * LARGE // 10**6
    for what in (before, after):
        assert sum(row["balance"] + row["locked"] + row["due"] for row in what.values()) == 4 * 1000 * 10**6


def test_who_is_not_at_a_channel_knows_nothing_of_it(paid: Demo, origin: Origin, tmp_path: Path) -> None:
    """So the exit holds nothing of the guard's and the client's in memory, nor the guard of the exit's. In this network
    all share a file of test coins, which shows accounts and channels as a chain does: a copy of a page may be anywhere.
    """
    assert download(paid, origin, 3_000_000, "memory") == ("200", 3_000_000)
    books, ledger = MoneySecrets(paid, tmp_path / "before"), paid.home / LEDGER_NAME
    pages = ledger.read_bytes()
    found = {
        name: holdings(pid, books.own(name) | books.secret(name) | books.public(name))
        for name, pid in books.pids.items()
    }
    pages += ledger.read_bytes()
    later = MoneySecrets(paid, tmp_path / "later")  # a channel may have been opened meanwhile
    for name, holds in found.items():
        assert books.own(name) <= {held.needle for held in holds}, "the search finds what is there"
        assert later.secret(name) & {held.needle for held in holds} == set()
        assert later.public(name) & {held.needle for held in holds if not is_of(held, pages)} == set()
        assert books.secret(name)
        assert books.public(name)


@pytest.mark.long
def test_a_cap_is_kept_to_the_unit(paid: Demo, origin: Origin) -> None:
    already = command("wallet", home=paid.home)["paid"]
    cap = already + 60  # 10 MB at 6 units per MB, on top of what is paid ahead
    command("wallet", "cap", f"{cap / 1e6:.6f}", home=paid.home)
    status, count = download(paid, origin, LARGE, "capped")
    assert (status, count) != ("200", LARGE)
    found = command("wallet", home=paid.home)
    assert found["paid"] <= cap
    assert "spending cap" in found["trouble"]
    refused = paid.curl("-i", "--proxy-user", "other:x", f"http://127.0.0.1:{origin.http}/", way="-x")
    assert "X-MacroVPN-Reason: spending_cap" in refused.stdout
    assert "macrovpn wallet cap" in refused.stdout
    command("wallet", "cap", "none", home=paid.home)
    until("connections go again", lambda: download(paid, origin, 1000, "again") == ("200", 1000), 20)
