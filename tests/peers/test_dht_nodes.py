"""The file of remembered DHT nodes: what is read back, and what is not believed."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peers.dht_nodes import FIRST_LINE, MAX_FILE_BYTES, MAX_NODES, load, save

if TYPE_CHECKING:
    from pathlib import Path

    from peers.addresses import Address

hosts = st.ip_addresses().map(str)
nodes = st.lists(st.tuples(hosts, st.integers(1, 65535)), max_size=MAX_NODES)


@given(nodes)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read(tmp_path: Path, known: list[Address]) -> None:
    save(tmp_path / "dht", known)
    assert load(tmp_path / "dht") == known
    assert (tmp_path / "dht").stat().st_size <= MAX_FILE_BYTES
    assert stat.S_IMODE((tmp_path / "dht").stat().st_mode) == 0o600


def test_no_more_than_the_bound_is_written(tmp_path: Path) -> None:
    save(tmp_path / "dht", [("127.0.0.1", port) for port in range(1, 1000)])
    assert len(load(tmp_path / "dht")) == MAX_NODES


def test_no_file(tmp_path: Path) -> None:
    assert load(tmp_path / "dht") == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "macro-vpn dht 2\n",
        f"{FIRST_LINE}",
        f"{FIRST_LINE}\n127.0.0.1:1",
        f"{FIRST_LINE}\n127.0.0.1:0\n",
        f"{FIRST_LINE}\n127.0.0.1:65536\n",
        f"{FIRST_LINE}\n127.0.0.1:01\n",
        f"{FIRST_LINE}\n127.0.0.999:1\n",
        f"{FIRST_LINE}\n127.0.0.01:1\n",
        f"{FIRST_LINE}\nlocalhost:1\n",
        f"{FIRST_LINE}\n[::1:1\n",
        f"{FIRST_LINE}\n::1:1\n",
        f"{FIRST_LINE}\n\n",
        f"{FIRST_LINE}\n" + "127.0.0.1:1\n" * (MAX_NODES + 1),
        "\xff",
    ],
)
def test_a_damaged_file_is_set_aside_whole(tmp_path: Path, text: str) -> None:
    path = tmp_path / "dht"
    path.write_bytes(text.encode("latin-1"))
    assert load(path) == []
    assert not path.exists()
    assert (tmp_path / "dht.bad").read_bytes() == text.encode("latin-1")


@given(st.binary(max_size=2 * MAX_FILE_BYTES))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_noise(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "dht").write_bytes(data)
    assert load(tmp_path / "dht") == []
