"""The rule that nothing is skipped where everything is installed, in a pytest run of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

CONFTEST: Final = Path(__file__).with_name("conftest.py")

TESTS: Final = """
import pytest

def test_passes(): pass

@pytest.mark.skipif(True, reason="no wireguard here")
def test_marked(): pass

def test_inside(): pytest.skip("no chromium here")

@pytest.mark.xfail
def test_known(): assert False

@pytest.fixture
def missing(): pytest.skip("no tcpdump here")

def test_fixture(missing): pass
"""


@pytest.mark.parametrize(
    ("ci", "outcome"),
    [
        ("true", {"1 passed", "1 failed", "3 errors", "1 xfailed"}),
        ("", {"1 passed", "4 skipped", "1 xfailed"}),
        ("false", {"1 passed", "4 skipped", "1 xfailed"}),
    ],
)
def test_skips_fail_in_ci(tmp_path: Path, ci: str, outcome: set[str]) -> None:
    shutil.copy(CONFTEST, tmp_path)
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_module.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:asyncio",
            "-p",
            "no:cacheprovider",
            "--continue-on-collection-errors",
        ],
        cwd=tmp_path,
        env=os.environ | {"CI": ci, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    summary = result.stdout.splitlines()[-1].strip("= ").partition(" in ")[0]
    assert set(summary.split(", ")) == outcome, result.stdout
    assert ("Nothing may be skipped here: Skipped: no chromium here" in result.stdout) == (ci == "true")
