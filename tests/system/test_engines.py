"""Whole networks over the portable engine, and over both engines at once."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from tests.harness.demo import Demo
from tests.harness.origin import content

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.origin import Origin

pytestmark = pytest.mark.system

SIZE = 10_000_000
LOOPBACK = ["--allow-destination", "127.0.0.0/8"]


@pytest.mark.parametrize(
    ("engine", "carried"),
    [
        pytest.param("aioquic", ["aioquic"] * 4, marks=pytest.mark.long),
        ("mixed", ["aiopquic", "aioquic", "aiopquic", "aioquic"]),
    ],
)
def test_bytes_are_exact(origin: Origin, tmp_path: Path, engine: str, carried: list[str]) -> None:
    """A download and an upload over both relays; in the mixed network, over links between the engines too."""
    target, source = tmp_path / "target", tmp_path / "source"
    source.write_bytes(content(SIZE))
    digest = hashlib.sha256(content(SIZE)).hexdigest()
    with Demo("--engine", engine, "--relays", "2", "--exits", "1", *LOOPBACK, log=tmp_path / "log") as demo:
        assert [process["engine"] for process in demo.facts["processes"]] == carried
        down = demo.curl("-o", str(target), f"http://127.0.0.1:{origin.http}/bytes/{SIZE}")
        assert (down.returncode, down.stderr) == (0, "")
        assert hashlib.sha256(target.read_bytes()).hexdigest() == digest
        up = demo.curl("-H", "Expect:", "--data-binary", f"@{source}", f"http://127.0.0.1:{origin.http}/")
        assert (up.returncode, up.stdout) == (0, digest)
