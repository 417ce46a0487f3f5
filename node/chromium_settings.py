"""Read what Chromium and its kin go by: options of those that run, policies, and what extensions set in profiles.

Nothing is written, and of everything only what is about proxies and WebRTC is kept. All of it comes from outside: sizes
and numbers are bounded, and what has another form than expected counts as unknown.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from node.files import read_foreign

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

PROGRAMS: Final = frozenset(
    {
        *("chromium", "chromium-browser", "chrome", "google-chrome", "brave", "brave-browser", "msedge", "vivaldi-bin"),
        *("Chromium", "Google Chrome", "Brave Browser", "Microsoft Edge", "Vivaldi"),
    }
)
FOLDERS: Final = {
    ".config/chromium": "Chromium",
    ".config/google-chrome": "Chrome",
    ".config/BraveSoftware/Brave-Browser": "Brave",
    ".config/microsoft-edge": "Edge",
    ".config/vivaldi": "Vivaldi",
    "snap/chromium/common/chromium": "Chromium (Snap)",
    ".var/app/org.chromium.Chromium/config/chromium": "Chromium (Flatpak)",
    ".var/app/com.google.Chrome/config/google-chrome": "Chrome (Flatpak)",
    "Library/Application Support/Chromium": "Chromium",
    "Library/Application Support/Google/Chrome": "Chrome",
    "Library/Application Support/BraveSoftware/Brave-Browser": "Brave",
    "Library/Application Support/Microsoft Edge": "Edge",
}
"""Where profiles lie, below the user's home. Source: docs/user_data_dir.md of Chromium's repository."""
POLICIES: Final = (
    *("/etc/chromium/policies/managed", "/etc/opt/chrome/policies/managed", "/etc/brave/policies/managed"),
    "/etc/opt/edge/policies/managed",
)
"""Source: Chromium's policy documentation for Linux. On macOS and Windows policies are not files."""

OPTIONS: Final = frozenset(
    {
        *("proxy-server", "proxy-pac-url", "proxy-bypass-list", "proxy-auto-detect", "no-proxy-server"),
        *("webrtc-ip-handling-policy", "user-data-dir", "type"),
    }
)
"""What of a command line is read. Chromium 156 obeys `webrtc-ip-handling-policy` on it."""
MAX_PROCESSES: Final = 4096
MAX_COMMAND_BYTES: Final = 1 << 16
MAX_BROWSERS: Final = 20
MAX_PROFILES: Final = 50
MAX_EXTENSIONS: Final = 500
MAX_POLICY_FILES: Final = 50
MAX_POLICY_BYTES: Final = 1 << 20
MAX_PREFERENCES_BYTES: Final = 16 << 20
"""A profile's with many extensions has some hundred kilobytes."""
MAX_NAME_CHARACTERS: Final = 60


@dataclass(frozen=True, slots=True)
class Running:
    """A browser that runs.

    Args:
        options: those of `OPTIONS` that it was started with, and their values.
    """

    options: dict[str, str]


@dataclass(frozen=True, slots=True)
class Extension:
    """What an extension has set in a profile.

    Args:
        id: its own.
        pac: the text or address of the PAC that it set, `data:` and all; empty when it set another kind of proxy.
        is_proxy: whether it set any proxy.
        mandatory: whether Chromium goes nowhere when the PAC fails.
        webrtc: the policy for WebRTC; empty without one.
    """

    id: str
    pac: str
    is_proxy: bool
    mandatory: bool
    webrtc: str


@dataclass(frozen=True, slots=True)
class ChromiumProfile:
    """One profile that has been used.

    Args:
        name: browser and folder.
        extensions: those that are on.
        clear: whether it could be read.
    """

    name: str
    extensions: tuple[Extension, ...] = ()
    clear: bool = True


@dataclass(frozen=True, slots=True)
class Chromiums:
    """All that was found.

    Args:
        running: browsers of this user that run.
        policies: what an administrator decided, by the policy's name.
        profiles: of all browsers.
    """

    running: tuple[Running, ...] = ()
    policies: dict[str, Any] = field(default_factory=dict)
    profiles: tuple[ChromiumProfile, ...] = ()


def read_all(user_home: Path, processes: Path = Path("/proc"), policies: Iterable[str] = POLICIES) -> Chromiums:
    """Read everything.

    Args:
        user_home: the user's.
        processes: where the system tells what runs; on macOS it does not.
        policies: folders of policies.
    """
    return Chromiums(
        tuple(islice(_running(processes), MAX_BROWSERS)),
        _policies(policies),
        tuple(islice(_profiles(user_home), MAX_PROFILES)),
    )


# -- what runs


def _running(processes: Path) -> Iterator[Running]:
    if not processes.is_dir():
        return
    for entry in islice((each for each in processes.iterdir() if each.name.isdigit()), MAX_PROCESSES):
        try:
            if entry.stat().st_uid != os.getuid():
                continue
            with (entry / "cmdline").open("rb") as file:
                line = file.read(MAX_COMMAND_BYTES)
        except OSError:
            continue
        words = line.decode("utf-8", "replace").rstrip("\0").split("\0")
        if (found := parse_command(words)) is not None:
            yield found


def parse_command(words: Sequence[str]) -> Running | None:
    """Read a command line; None when it is no such browser's, or that of one of its helpers, which run by the dozen."""
    if not words or words[0].rpartition("/")[2] not in PROGRAMS:
        return None
    options: dict[str, str] = {}
    for word in words[1:]:
        name, _, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and name in OPTIONS:
            options[name] = value
    return None if "type" in options else Running(options)


# -- policies


def _policies(folders: Iterable[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    files = (file for folder in folders for file in sorted(Path(folder).glob("*.json")))
    for file in islice(files, MAX_POLICY_FILES):
        text, _ = read_foreign(file, MAX_POLICY_BYTES)
        found |= _object(text)
    return {name: value for name, value in found.items() if name.startswith(("Proxy", "WebRtc"))}


def _object(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


# -- profiles


def _profiles(user_home: Path) -> Iterator[ChromiumProfile]:
    for folder, browser in FOLDERS.items():
        for file in sorted((user_home / folder).glob("*/Preferences")):
            name = f"{browser} ({file.parent.name})"[:MAX_NAME_CHARACTERS]
            text, whole = read_foreign(file, MAX_PREFERENCES_BYTES)
            secure, _ = read_foreign(file.with_name("Secure Preferences"), MAX_PREFERENCES_BYTES)
            found = {extension.id: extension for part in (text, secure) for extension in parse_extensions(part)}
            yield ChromiumProfile(name, tuple(found.values()), clear=whole and bool(_object(text)))


def parse_extensions(text: str | None) -> Iterator[Extension]:
    """Read the extensions that are on, and what they have set, out of a profile's `Preferences`."""
    settings = _inside(_object(text), "extensions", "settings")
    for name, entry in islice(settings.items(), MAX_EXTENSIONS):
        if not isinstance(entry, dict) or entry.get("disable_reasons") or entry.get("state") == 0:
            continue
        set_ = _inside(entry, "preferences")
        proxy, webrtc = _inside(set_, "proxy"), set_.get("webrtc.ip_handling_policy", "")
        pac = proxy.get("pac_url", "") if proxy.get("mode") == "pac_script" else ""
        is_proxy = proxy.get("mode", "direct") not in ("direct", "system")
        mandatory = proxy.get("pac_mandatory") is True
        yield Extension(name, pac if isinstance(pac, str) else "", is_proxy, mandatory, str(webrtc))


def _inside(value: dict[str, Any], *names: str) -> dict[str, Any]:
    for name in names:
        found = value.get(name)
        value = found if isinstance(found, dict) else {}
    return value
