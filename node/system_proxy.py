"""Point the system's proxy settings to this node while it runs, and put back what was there.

What was there is on disk before anything is changed. A node that is killed leaves settings that point to a port where
nobody listens: browsers then say so and send nothing, until the next `up` or `down` puts the settings back.

The settings are the user's and not one node's, so record and lock lie in one place, whatever the home of the node is.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from core.errors import ConfigError, MacroVpnError
from node.config import default_home
from node.desktops import Gnome, Kde, MacOs, SystemProxyError
from node.files import HomeLock, HomeTakenError, lock_holder, make_home, write_private
from node.settings import join_endpoint
from node.wininet import Windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from node.desktops import Place, Values

FOLDER: Final = "system-proxy"
RECORD: Final = "before.json"
MAX_RECORD_BYTES: Final = 1 << 20
"""A hundred times what a machine with fifty network services needs."""

type Name = Literal["gnome", "kde", "macos", "windows"]

PLACES: Final[Mapping[Name, Callable[[], Place]]] = {"gnome": Gnome, "kde": Kde, "macos": MacOs, "windows": Windows}

DESKTOPS: Final[Mapping[str, tuple[Name, ...]]] = {
    "GNOME": ("gnome",),
    "Unity": ("gnome",),
    "Pantheon": ("gnome",),
    "X-Cinnamon": ("gnome",),
    "KDE": ("kde", "gnome"),
}
"""Words of XDG_CURRENT_DESKTOP, and the places that browsers read there: Firefox reads GNOME's also in KDE.

On other desktops Chromium reads none (`GetDesktopEnvironment` and net/proxy_resolution/proxy_config_service_linux.cc).
"""


class Left(Enum):
    """Whose the system's proxy settings are."""

    NOTHING = ""
    SET = "set"
    LEFT = "left"


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one place held before, and what was written there. Both have the same keys."""

    before: dict[str, str]
    ours: dict[str, str]


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be put back.

    Args:
        version: of this form.
        proxy: what the settings point to, `127.0.0.1:1080`.
        places: by their names.
    """

    version: Literal[1]
    proxy: str
    places: dict[Name, Change]


def places_here(platform: str = sys.platform, environment: Mapping[str, str] = os.environ) -> tuple[Name, ...]:
    """Name the places that the browsers of this session read.

    Raises:
        SystemProxyError: on this desktop they read none.
    """
    if platform in ("darwin", "win32"):
        return ("macos",) if platform == "darwin" else ("windows",)
    said = environment.get("XDG_CURRENT_DESKTOP", "")
    for word in said.split(":"):
        if word in DESKTOPS:
            return DESKTOPS[word]
    raise SystemProxyError(
        f"XDG_CURRENT_DESKTOP is {said or 'not set'}, and --system-proxy knows {', '.join(DESKTOPS)}: elsewhere some "
        "browsers would read the settings and others go direct. Point the browser to the proxy by hand instead."
    )


class Held:
    """The system's proxy settings while they are one node's. Implements `node.switch.SystemProxy`.

    Args:
        folder: of the record.
        host: where the proxy listens.
        port: its port.
    """

    def __init__(self, folder: Path, host: str, port: int) -> None:
        self._folder = folder
        self._host = host
        self._port = port

    def take(self) -> None:
        """Have the settings point to the proxy.

        Raises:
            SystemProxyError: they cannot be read or written; as far as they were written, they have been put back.
        """
        wanted = _write_down(self._folder, places_here(), self._host, self._port)
        try:
            for name, (values, present) in wanted.items():
                _write(name, values, present)
        except MacroVpnError:
            self.give_back()
            raise

    def give_back(self) -> None:
        """Put back what was there before, if it has not been.

        Raises:
            SystemProxyError: it cannot be put back; the record stays for the next attempt.
        """
        _put_back(self._folder)


@contextmanager
def held(host: str, port: int, *, taken: bool = True) -> Iterator[Held]:
    """Have the system's proxy settings point to a proxy, and put them back at the end.

    They are set before the proxy listens: until it does, browsers reach nothing, which is right. After an error that
    nobody foresaw they stay, as after a crash: that is no wish to go direct.

    Args:
        host: where the proxy will listen.
        port: its port.
        taken: from now on; else they become what they were, if a node that is gone had set them, until they are taken.

    Raises:
        ConfigError: the address cannot be used.
        SystemProxyError: the settings cannot be read, written or put back, or another node has set them.
    """
    _check(host, port)
    places_here()
    folder = make_home(default_home() / FOLDER)
    lock = HomeLock(folder)
    try:
        lock.acquire()
    except HomeTakenError as error:
        raise SystemProxyError(
            f"Another node (process {error.pid}) has set the system's proxy. Stop it, or start without --system-proxy."
        ) from error
    try:
        ours = Held(folder, host, port)
        if taken:
            ours.take()
        else:
            ours.give_back()
        by_mistake = False
        try:
            yield ours
        except MacroVpnError:
            raise
        except Exception:
            by_mistake = True
            raise
        finally:
            if not by_mistake:
                ours.give_back()
    finally:
        lock.release()


def put_back_left() -> str:
    """Put back what a node that is gone has changed.

    Returns:
        A sentence about it; empty when there was nothing to do, or a node runs that keeps it so.

    Raises:
        SystemProxyError: it cannot be put back; the record stays for the next attempt.
    """
    folder = default_home() / FOLDER
    if not (folder / RECORD).exists():
        return ""
    lock = HomeLock(folder)
    try:
        lock.acquire()
    except HomeTakenError:
        return ""
    try:
        newer = _put_back(folder)
    finally:
        lock.release()
    changed = ", except for what was changed since" if newer else ""
    return f"The system's proxy settings are as they were before the node set them{changed}."


def left() -> tuple[Left, str]:
    """Say whether the system's proxy settings are a node's, and in words what follows."""
    folder = default_home() / FOLDER
    if not (folder / RECORD).exists():
        return Left.NOTHING, ""
    try:
        record = _load(folder)
    except SystemProxyError as error:
        return Left.LEFT, str(error)
    where = f"the system's proxy settings point to {record.proxy}" if record else ""
    if lock_holder(folder) is not None:
        return Left.SET, where
    return Left.LEFT, (
        f"{where}, and the node that set them is gone, so browsers reach nothing. `macrovpn down` puts back what was "
        "there before; `macrovpn up --system-proxy` goes on."
    )


def _check(host: str, port: int) -> None:
    """Refuse what must not stand in settings that outlive this process."""
    if port == 0:
        raise ConfigError(
            "proxy.listen", "with --system-proxy the port is a number from 1 to 65535, and not any free one"
        )
    if not host.startswith("127."):
        raise ConfigError("proxy.listen", "with --system-proxy the address is one of 127.0.0.0/8, such as 127.0.0.1")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                "proxy.listen", f"{join_endpoint(host, port)} cannot be used; choose another port"
            ) from error


def _write_down(folder: Path, names: tuple[Name, ...], host: str, port: int) -> dict[Name, tuple[Values, Values]]:
    """Write down what is there, or would be if what an earlier node left were put back first.

    Returns:
        For each place the values that it shall have, and those that it has.
    """
    old = _load(folder)
    known = old.places if old else {}
    changes = dict(known)
    wanted: dict[Name, tuple[Values, Values]] = {}
    for name in names:
        place = PLACES[name]()
        present = place.read()
        ours = place.ours(host, port, present)
        earlier = known.get(name, Change({}, {}))
        back, _ = going_back(earlier, present, place.switch, place.bypass)
        before = {key: back.get(key, present[key]) for key in ours}
        changes[name] = Change(earlier.before | before, earlier.ours | ours)
        wanted[name] = ours, present
    record = Record(1, join_endpoint(host, port), changes)
    try:
        write_private(folder / RECORD, msgspec.json.format(msgspec.json.encode(record)).decode() + "\n")
    except OSError as error:
        raise SystemProxyError(f"{folder / RECORD} cannot be written: {error.strerror}.") from error
    return wanted


def _write(name: Name, values: Values, present: Values) -> None:
    """Write values and look whether they stay: a settings service that is not there swallows them in silence."""
    place = PLACES[name]()
    place.write({key: value for key, value in values.items() if present[key] != value})
    found = place.read()
    if any(found.get(key) != value for key, value in values.items()):
        raise SystemProxyError(
            f"The settings of {name} did not stay as they were written, so browsers would go direct. "
            "Start the node from the desktop's own session, and not as another user."
        )


def _put_back(folder: Path) -> bool:
    """Put back all that is still ours.

    Returns:
        Whether something was changed since.

    Raises:
        SystemProxyError: the first failure, after all places have been tried.
    """
    record = _load(folder)
    failed: SystemProxyError | None = None
    newer = False
    for name, change in (record.places if record else {}).items():
        try:
            newer |= _put_back_one(name, change)
        except SystemProxyError as error:
            failed = failed or error
    if failed is not None:
        raise SystemProxyError(
            f"The system's proxy settings could not be put back: {str(failed).rstrip('.')}. "
            "`macrovpn down` tries again; until then browsers reach nothing."
        ) from failed
    (folder / RECORD).unlink(missing_ok=True)
    return newer


def _put_back_one(name: Name, change: Change) -> bool:
    place = PLACES[name]()
    present = place.read()
    values, newer = going_back(change, present, place.switch, place.bypass)
    place.write(values)
    found = place.read()
    if any(found.get(key) == change.ours[key] for key in values):
        raise SystemProxyError(f"The settings of {name} did not take what was there before.")
    return newer


def going_back(change: Change, present: Mapping[str, str], switch: str, bypass: str) -> tuple[Values, bool]:
    """Choose what is put back: each value that is still ours, the switch first.

    The switch stays where somebody has entered another server meanwhile, as it now switches that one.

    Args:
        change: what was changed.
        present: what is there now.
        switch: the place's switch.
        bypass: the end of the keys that hold hosts, which say nothing about servers.

    Returns:
        The values to write, and whether something else was changed since.
    """
    shared = change.ours.keys() & present.keys()
    newer = [key for key in shared if present[key] not in (change.ours[key], change.before[key])]
    servers = [key for key in newer if key != switch and bypass not in key.split(" ")]
    values = {
        key: change.before[key]
        for key in sorted(change.ours, key=lambda key: key != switch)
        if present.get(key) == change.ours[key] != change.before[key] and not (key == switch and servers)
    }
    return values, bool(newer)


def _load(folder: Path) -> Record | None:
    path = folder / RECORD
    if not path.exists():
        return None
    try:
        with path.open("rb") as file:
            record = msgspec.json.decode(file.read(MAX_RECORD_BYTES), type=Record)
        if any(change.before.keys() != change.ours.keys() for change in record.places.values()):
            raise msgspec.ValidationError("before and ours have different keys")
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SystemProxyError(
            f"{path} is damaged, so nobody knows what the system's proxy settings were before. "
            "Set them by hand, in the system's network settings, and remove that file."
        ) from error
    return record
