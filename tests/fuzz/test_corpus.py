"""The kept inputs: they are read as documented, and together with the seeds they take us to every reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.corpus import FOLDER, ROOT, kept, watching
from tests.fuzz.readers import UNTARGETED, readers
from tests.fuzz.registry import TARGETS

MOST_BYTES = 300_000
"""Of all kept inputs, as they lie in the repository."""


@pytest.mark.parametrize("name", TARGETS)
def test_kept_inputs_are_read_or_refused(name: str) -> None:
    target = TARGETS[name]
    for data in kept(name):
        assert len(data) <= target.longest
        target.run(data)


def test_the_corpus_is_small_and_belongs_to_targets() -> None:
    files = list(FOLDER.iterdir())
    assert {path.stem for path in files} <= set(TARGETS)
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES
    for path in files:
        lines = path.read_text().splitlines()
        assert len(lines) == len(set(lines))


def test_every_reader_is_reached() -> None:
    """A new one needs a target, or a reason in `readers.UNTARGETED`."""
    with watching() as watch:
        for target in TARGETS.values():
            for data in (*target.seeds, *kept(target.name)):
                target.run(data)
    reached = {name_of(file, function) for file, function, _ in watch.lines}
    found = set(readers())
    assert len(found) > 100
    assert found - reached - set(UNTARGETED) == set(), "no target comes there"
    assert set(UNTARGETED) - found == set(), "these are no readers any more"
    assert reached & set(UNTARGETED) == set(), "targets come there after all"


def name_of(file: str, function: str) -> str:
    return f"{Path(file).relative_to(ROOT).as_posix()}:{function}"
