"""Make the browser extension: `dist/macrovpn-chromium.zip`, `dist/macrovpn-firefox.zip`, and a folder of each.

Usage, from the root of the repository: make extension

Both have the files of `extension/`; only the manifest differs, as `extension/firefox.json` says. The same files make
the same archives. `--rules` writes `extension/rules.js` anew: what the PAC script does with a host, for Firefox, where
the extension has to decide itself.
"""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from pathlib import Path
from string import Template
from typing import Any, Final

from pac.hosts import ENDS_IN_NUMBER, IPV4, MAX_NAME_BYTES, NAME
from pac.pac import to_script
from pac.script import DECIDE

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCE: Final = ROOT / "extension"
RULES: Final = SOURCE / "rules.js"
DIFFERENCES: Final = {"chromium": None, "firefox": SOURCE / "firefox.json"}
EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time that an archive can name."""

_RULES: Final = Template("""\
// Written by `python -m scripts.extension --rules` from `pac/script.py`: rules decide here as they do in the PAC.
let TABLE = {}, GLOBS = [], PREFIXES4 = [], PREFIXES6 = [];
const IS_NAME = new RegExp($is_name);
const IS_IPV4 = new RegExp($is_ipv4);
const ENDS_IN_NUMBER = new RegExp($ends_in_number);

/**
 * Obey the rules of a PAC from now on: its first lines are data. Without a PAC there are none.
 * @throws if it is no PAC of this node
 */
export function readRules(pac) {
  const data = { GROUPS: [], TABLE: {}, GLOBS: [], PREFIXES4: [], PREFIXES6: [] };
  if (pac) {
    for (const name of Object.keys(data)) {
      data[name] = JSON.parse(new RegExp("^var " + name + " = (.*);$$", "m").exec(pac)[1]);
    }
  }
  for (const [found, head, tail, words] of data.GROUPS) {
    for (const word of words.split(" ")) data.TABLE[head + word + tail] = found;
  }
  ({ TABLE, GLOBS, PREFIXES4, PREFIXES6 } = data);
}

/** Whether a rule sends a request past the tunnel. */
export const isDirect = (url, host) => outcome(wantedOf(url), host) === 1;
""")


def rules_text() -> str:
    """What belongs into `extension/rules.js`."""
    return Template(_RULES.template + DECIDE).substitute(
        is_name=to_script(f"^{NAME}$"),
        is_ipv4=to_script(f"^{IPV4}$"),
        ends_in_number=to_script(f"^{ENDS_IN_NUMBER}$"),
        max_name=MAX_NAME_BYTES,
    )


def manifest(browser: str) -> dict[str, Any]:
    """The manifest for `chromium` or `firefox`."""
    common: dict[str, Any] = json.loads((SOURCE / "manifest.json").read_text(encoding="utf-8"))
    differences = DIFFERENCES[browser]
    if differences is not None:
        common |= json.loads(differences.read_text(encoding="utf-8"))
    return {key: value for key, value in common.items() if value is not None}


def build(browser: str, target: Path) -> Path:
    """Write the extension for a browser.

    Args:
        browser: `chromium` or `firefox`.
        target: where the archive goes, and a folder of the same name.

    Returns:
        The folder.
    """
    folder = target / f"macrovpn-{browser}"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("*.json"))
    text = json.dumps(manifest(browser), indent=2, ensure_ascii=False) + "\n"
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), EPOCH)
                archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return folder


def main() -> None:
    """Do what the arguments say."""
    if "--rules" in sys.argv[1:]:
        RULES.write_text(rules_text(), encoding="ascii")
        return
    target = ROOT / "dist"
    target.mkdir(exist_ok=True)
    for browser in DIFFERENCES:
        print(build(browser, target).with_suffix(".zip").relative_to(ROOT))


if __name__ == "__main__":
    main()
