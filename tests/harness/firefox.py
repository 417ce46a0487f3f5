"""A home with a Firefox profile in it, as Firefox writes one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def profile_at(
    user_home: Path,
    prefs: Mapping[str, Any],
    *,
    folder: str = ".mozilla/firefox",
    version: str = "",
    name: str = "work",
) -> Path:
    """Make the only profile of a folder.

    Args:
        user_home: the user's home.
        prefs: settings below `network.proxy`.
        folder: where Firefox keeps its profiles, below the home.
        version: of the Firefox that used it last; empty: nobody knows.
        name: the profile's.

    Returns:
        Its folder.
    """
    path = user_home / folder / "x1y2.work"
    path.mkdir(parents=True, exist_ok=True)
    listed = f"[Profile0]\nName={name}\nIsRelative=1\nPath={path.name}\nDefault=1\n\n[General]\nVersion=2\n"
    (path.parent / "profiles.ini").write_text(listed)
    lines = [f'user_pref("network.proxy.{key}", {json.dumps(value)});\n' for key, value in prefs.items()]
    (path / "prefs.js").write_text("// Mozilla User Preferences\n" + "".join(lines))
    if version:
        (path / "compatibility.ini").write_text(f"[Compatibility]\nLastVersion={version}_20261101/20261101\n")
    return path
