"""A short run of the real thing, as `make chaos` does it; that takes ten minutes and ten seeds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from tests.chaos.__main__ import seeds
from tests.harness.demo import ROOT
from tests.harness.namespaces import why_not

if TYPE_CHECKING:
    from pathlib import Path

SECONDS: Final = 25
RECOVER_S: Final = 10.0
"""Twice what the command asks for: other tests may run beside this one."""


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_network_in_chaos(tmp_path: Path) -> None:
    if reason := why_not("nft", "gcc"):
        pytest.skip(reason)
    file = tmp_path / "result.json"
    options = ["--seconds", str(SECONDS), "--seed", "3", "--recover", str(RECOVER_S), "--json", str(file)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *options],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [result] = json.loads(file.read_text())
    assert len(result["disturbances"]) >= 5
    assert result["green"]


def test_seeds_as_people_write_them() -> None:
    assert [seeds(text) for text in ("3", "1-4", "1,7-9")] == [[3], [1, 2, 3, 4], [1, 7, 8, 9]]
