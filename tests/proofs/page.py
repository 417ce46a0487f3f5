"""What `docs/state.md` names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tests.harness.demo import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.proofs.kept import Kept

_PAGE: Final = (ROOT / "docs/state.md").read_text()
_ROW: Final = re.compile(r"^\| (`[^|]+) \|", re.MULTILINE)


def named_files() -> set[str]:
    """The first cells of all tables."""
    return {name for cell in _ROW.findall(_PAGE) for name in re.findall("`[^`]+`", cell)}


def unnamed(kept: Iterable[Kept]) -> set[str]:
    """The fields of some files whose words are not on the page."""
    words = " ".join(_PAGE.split())
    return {field.name for one in kept for field in one.fields if field.name not in words}
