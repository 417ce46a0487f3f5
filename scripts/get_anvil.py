"""Fetch `anvil`, the chain on this machine that tests use, out of the npm registry.

Usage, from the root of the repository: .venv/bin/python -m scripts.get_anvil

It prints where the program is. It is kept in `.venv/anvil`, and fetched once. `scripts/anvil/package-lock.json` names
the version and the digests, which npm checks; the packages' own scripts are not run.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
LOCKED: Final = ROOT / "scripts/anvil"
PLACE: Final = ROOT / ".venv/anvil"
LIMIT_S: Final = 90
"""For about 15 MB."""


def main() -> None:
    """Fetch it and say where it is."""
    print(anvil())


def anvil() -> Path:
    """The program, fetched if it is not there.

    Raises:
        RuntimeError: it cannot be fetched; says what to do.
    """
    if not PLACE.exists():
        _fetch()
    found = sorted(PLACE.glob("node_modules/@foundry-rs/anvil-*/bin/anvil"))
    if not found:
        raise RuntimeError(f"npm has no anvil for this kind of machine (looked in {PLACE}).")
    return found[0]


def _fetch() -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError("anvil comes from the npm registry, and npm is missing: install Node.js from 20 on.")
    with tempfile.TemporaryDirectory(dir=PLACE.parent) as folder:
        made = Path(folder, PLACE.name)
        shutil.copytree(LOCKED, made)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", f"{folder}/cache"]
        done = subprocess.run(command, cwd=made, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        if done.returncode:
            raise RuntimeError(f"npm could not fetch anvil:\n{done.stderr.strip()}")
        if not PLACE.exists():  # else somebody else was faster
            made.rename(PLACE)


if __name__ == "__main__":
    main()
