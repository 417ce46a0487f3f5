"""Read what a user's Firefox profiles say about proxies, names, WebRTC, and which add-ons there are.

Nothing is written, and no other setting is kept.

Firefox writes `prefs.js`; a user may write `user.js`, which it reads afterwards, at each start. Both come from outside:
their size and number are bounded, and only lines of the one form that Firefox itself writes are understood.
"""

from __future__ import annotations

import configparser
import json
import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from node.files import read_foreign

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

type Value = bool | int | str

FOLDERS: Final = (
    ".mozilla/firefox",
    ".config/mozilla/firefox",
    "snap/firefox/common/.mozilla/firefox",
    "snap/firefox/common/.config/mozilla/firefox",
    ".var/app/org.mozilla.firefox/.mozilla/firefox",
    ".var/app/org.mozilla.firefox/config/mozilla/firefox",
    "Library/Application Support/Firefox",
)
"""Where `profiles.ini` lies, below the user's home: Linux, Linux from Firefox 147 on, Snap, Flatpak and macOS.

153 ESR makes the second where the first is missing (`firefox-esr -CreateProfile` in an empty home). In Snap and Flatpak
the home and the folder of settings are others; those of 147 and later there follow from that and were not seen."""
MAX_PROFILES: Final = 50
MAX_INI_BYTES: Final = 1 << 16
MAX_PREFS_BYTES: Final = 4 << 20
"""A text of a setting has at most 1 MiB (`MAX_PREF_LENGTH` in Firefox's Preferences.cpp), such as a PAC as data."""
MAX_NAME_CHARACTERS: Final = 60
NONE: Final = frozenset[str]()

_NAMES: Final = (
    r"(?:network\.(?:(?:proxy|trr)\.[A-Za-z0-9_.-]{1,100}|connectivity-service\.enabled|dns\.native_https_query)"
    r"|media\.peerconnection\.(?:enabled|ice\.proxy_only)|extensions\.webextensions\.uuids)"
)
_LINE: Final = re.compile(
    rf'\s*user_pref\("({_NAMES})", *(true|false|-?[0-9]{{1,10}}|"(?:[^"\\]|\\.)*")\);' r"\s*(?://.*)?"
)
_OURS: Final = re.compile(rf"""pref\s*\(\s*["']{_NAMES}""")
_VERSION: Final = re.compile(r"^LastVersion=([0-9]{1,4})\.", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile.

    Args:
        name: as the user sees it in Firefox's list of profiles.
        prefs: the settings that are read and differ from Firefox's own.
        version: the number of the Firefox that used it last, or None.
        clear: whether all of these settings could be read.
    """

    name: str
    prefs: dict[str, Value]
    version: int | None
    clear: bool

    @property
    def addons(self) -> frozenset[str]:
        """The hosts of the add-ons' own pages: Firefox draws one for each profile and add-on."""
        try:
            hosts = json.loads(str(self.prefs.get("extensions.webextensions.uuids", "{}")))
        except (ValueError, RecursionError):
            return NONE
        return frozenset(host for host in hosts.values() if isinstance(host, str)) if isinstance(hosts, dict) else NONE

    def text(self, name: str) -> str:
        """Give a text below `network.proxy`, or an empty one."""
        value = self.prefs.get(f"network.proxy.{name}", "")
        return value if isinstance(value, str) else ""

    def number(self, name: str, default: int) -> int:
        """Give a number below `network.proxy`."""
        value = self.prefs.get(f"network.proxy.{name}", default)
        return value if isinstance(value, int) and not isinstance(value, bool) else default

    def switch(self, name: str) -> bool | None:
        """Give a truth value below `network.proxy`, or None where Firefox's own counts."""
        value = self.prefs.get(f"network.proxy.{name}")
        return value if isinstance(value, bool) else None


def profiles(user_home: Path) -> list[Profile]:
    """Read the profiles that have been used or set up, at most `MAX_PROFILES`."""
    folders = (folder for base in FOLDERS for folder in _listed(user_home / base))
    found = (_profile(name, folder) for name, folder in islice(folders, MAX_PROFILES))
    return [profile for profile in found if profile is not None]


def parse_prefs(text: str) -> tuple[dict[str, Value], bool]:
    """Read the settings about proxies and names out of a `prefs.js` or `user.js`.

    Returns:
        The settings, the last line of each, and whether every line that sets one was understood.
    """
    found: dict[str, Value] = {}
    clear = True
    inside = False
    for line in text.split("\n"):
        stripped = line.strip()
        inside = inside or stripped.startswith("/*")
        if inside:
            inside = "*/" not in stripped
            continue
        if match := _LINE.fullmatch(line):
            try:
                found[match[1]] = json.loads(match[2])
            except ValueError:
                clear = False
        elif _OURS.search(line) and not stripped.startswith(("//", "#")):
            clear = False
    return found, clear


def _listed(folder: Path) -> Iterator[tuple[str, Path]]:
    """Name the profiles of a `profiles.ini` and their folders."""
    text, _ = read_foreign(folder / "profiles.ini", MAX_INI_BYTES)
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text or "")
    except configparser.Error:
        return
    for section in parser.sections():
        path = parser.get(section, "path", fallback="")
        if section.startswith("Profile") and path and "\0" not in path:
            name = parser.get(section, "name", fallback="") or section
            yield name[:MAX_NAME_CHARACTERS], folder / path


def _profile(name: str, folder: Path) -> Profile | None:
    prefs: dict[str, Value] = {}
    clear = True
    seen = False
    for file in ("prefs.js", "user.js"):
        text, whole = read_foreign(folder / file, MAX_PREFS_BYTES)
        clear = clear and whole
        seen = seen or text is not None or not whole
        found, understood = parse_prefs(text or "")
        prefs |= found
        clear = clear and understood
    if not seen:
        return None
    compatibility, _ = read_foreign(folder / "compatibility.ini", MAX_INI_BYTES)
    version = _VERSION.search(compatibility or "")
    return Profile(name, prefs, int(version[1]) if version else None, clear)
