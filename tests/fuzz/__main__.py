"""Let coverage guide the search for inputs: `python -m tests.fuzz [--seconds N] [--keep] [target …]`.

Each target runs in a process of its own, from its seeds and what was kept; then it says how many inputs were tried.
Install what it needs with `uv sync --inexact --group fuzz`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from base64 import b64encode
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import click

from tests.fuzz.corpus import kept, write

if TYPE_CHECKING:
    from tests.fuzz.target import Target

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ["core", "pac", "ledger", "tunnel", "peers", "exits", "proxy", "node"]
LIBRARIES: Final = ["dns", "h11", "h2", "hpack", "asyncio_socks_server"]
"""Parsers that stand between us and the bytes; coverage has to guide through them too."""
_DONE: Final = re.compile(r"Done (\d+) runs in (\d+) second")
_COVERAGE: Final = re.compile(r"cov: (\d+) ft: (\d+)")
GRACE_S: Final = 60


def search(name: str, folder: Path, seconds: int) -> None:
    """Run one target until the time is over or something is found. Does not return."""
    import atheris

    with atheris.instrument_imports(include=PACKAGES + LIBRARIES, enable_loader_override=False):
        from tests.fuzz.registry import TARGETS
    target = TARGETS[name]
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate((*target.seeds, *kept(name))):
        (corpus / str(number)).write_bytes(seed)
    options = [f"-max_total_time={seconds}", f"-max_len={target.longest}", f"-artifact_prefix={folder}/", "-timeout=10"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], target.run)
    atheris.Fuzz()


def report(target: Target, seconds: int, keep: bool) -> bool:
    """Search in another process and print one line, or what was found.

    Args:
        target: which reader.
        seconds: how long.
        keep: keep those inputs for the tests that show something new.

    Returns:
        Whether nothing was found.
    """
    with TemporaryDirectory(prefix="macrovpn-fuzz-") as folder:
        command = [sys.executable, "-m", "tests.fuzz", "--seconds", str(seconds), "--in-folder", folder, target.name]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False, timeout=seconds + GRACE_S
        )
        said = done.stdout + done.stderr
        runs = _DONE.search(said)
        if done.returncode == 0 and runs is not None:
            edges = _COVERAGE.findall(said)[-1][0]
            click.echo(f"{target.name:20} {int(runs[1]):>10,} inputs in {runs[2]} s, {edges} edges")
            if keep:
                write(target, (path.read_bytes() for path in Path(folder, "corpus").iterdir()))
            return True
        click.echo(f"{target.name:20} FOUND SOMETHING\n{said[-4000:]}")
        for artifact in Path(folder).glob("*-*"):
            click.echo(f"{artifact.name}: {b64encode(artifact.read_bytes()).decode()}")
        return False


@click.command()
@click.option("--seconds", default=60, show_default=True, help="Time for each target.")
@click.option("--in-folder", type=click.Path(path_type=Path), hidden=True)
@click.option("--keep", is_flag=True, help="Keep what was found for the tests, in tests/fuzz/corpus.")
@click.argument("names", nargs=-1)
def main(seconds: int, in_folder: Path | None, keep: bool, names: tuple[str, ...]) -> None:
    """Fuzz the named targets, or all, one after the other."""
    if in_folder is not None:
        search(names[0], in_folder, seconds)
    if find_spec("atheris") is None:
        sys.exit("This needs atheris: uv sync --inexact --group fuzz")
    from tests.fuzz.registry import TARGETS

    if unknown := set(names) - set(TARGETS):
        sys.exit(f"There is no target {', '.join(sorted(unknown))}. There are: {', '.join(TARGETS)}")
    good = [report(TARGETS[name], seconds, keep) for name in names or TARGETS]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
