"""Write `docs/settings.md` out of the settings themselves: `.venv/bin/python -m scripts.write_settings`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from node.applying import LIVE
from node.config_edit import format_value, get_value
from node.settings import FIELDS, Settings
from node.settings_help import HELP, SECTION_HELP
from node.settings_view import must_be

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "settings.md"

_HEAD: Final = """\
# Settings

One file, `config.toml` in the node's home (`macrovpn config list --json` names it), in TOML:

```
[tunnel]
mode = "privacy"
regions = ["NL", "DE"]
```

`macrovpn config set tunnel.mode privacy` writes it and keeps your comments; so do the dashboard and the browser button.
A wrong file is refused with the line and the reason. An environment variable counts more than the file:
`MACROVPN_TUNNEL_MODE` for `tunnel.mode`. An option of a command counts more than both, for that run or until the
setting is changed while the node runs. `macrovpn config list` says where each value comes from.

**Now**: a running node goes by a change at once, and no connection breaks for it
([how](design/0041-settings-at-run-time.md)). The others wait for the next start, and `macrovpn status` says so.

This page is written by `python -m scripts.write_settings`.
"""


def document() -> str:
    """Write the page."""
    parts = [_HEAD]
    for section, sentence in SECTION_HELP.items():
        parts.append(f"\n## {section}\n\n{sentence}\n\n| setting | what for | must be | default | takes effect |\n")
        parts.append("|---|---|---|---|---|\n")
        parts += [_line(name) for name in FIELDS if name.partition(".")[0] == section]
    return "".join(parts)


def _line(name: str) -> str:
    default = format_value(get_value(Settings(), name))
    return f"| `{name}` | {HELP[name]} | {must_be(name)} | `{default}` | {'now' if name in LIVE else 'at start'} |\n"


if __name__ == "__main__":
    PAGE.write_text(document(), encoding="utf-8")
