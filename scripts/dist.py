"""Make what is given to others out of the last commit: `make dist`.

In `dist/` stand then the wheel and the sdist, the browser extension for Chromium and Firefox, `requirements.txt` with
the digests of everything that the wheel needs, the bill of materials, and `SHA256SUMS` over all of it.

The same commit gives the same bytes, whoever makes it, where and when: it is made of what git has and not of what lies
around, by tools that are locked, and all times are the commit's. (Another zlib may pack the same files differently.)
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

import click

from scripts import extension, sbom
from scripts.sbom import ROOT

SUMS: Final = "SHA256SUMS"


def make(target: Path, work: Path) -> list[Path]:
    """Make everything.

    Args:
        target: the folder for it, which is made anew.
        work: an empty folder for what lies in between.

    Returns:
        What was made.
    """
    time_s = sbom.commit_time()
    source = work / "source"
    packed = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(source, filter="data")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    build = [sys.executable, "-m", "hatchling", "build", "--directory", str(target)]
    subprocess.run(
        build, cwd=source, env=os.environ | {"SOURCE_DATE_EPOCH": str(time_s)}, capture_output=True, check=True
    )
    for browser in extension.DIFFERENCES:
        shutil.copy(extension.build(browser, work).with_suffix(".zip"), target)
    options = ("--no-emit-project", "--no-header", "--no-annotate")
    (target / "requirements.txt").write_text(sbom.export(source, *options), encoding="utf-8")
    sbom.write(source, target, time_s)
    made = sorted(target.iterdir())
    sums = (f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in made)
    (target / SUMS).write_text("".join(sums), encoding="ascii")
    return [*made, target / SUMS]


@click.command()
@click.argument("target", default=ROOT / "dist", type=click.Path(path_type=Path))
def main(target: Path) -> None:
    """Make everything in the folder TARGET, and say how large it is."""
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, check=True).stdout
    if changed:
        click.echo("Made of the last commit: what was changed since is not in it.", err=True)
    with tempfile.TemporaryDirectory(prefix="macrovpn-dist-") as work:
        for path in make(target, Path(work)):
            click.echo(f"{path.stat().st_size:>10,}  {path.name}")


if __name__ == "__main__":
    main()
