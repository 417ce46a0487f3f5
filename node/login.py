"""A node that starts when its user logs in: by systemd where that runs for the user, else by the desktop's autostart.

Under systemd a node that crashes is started again. Until then its port is closed, so browsers reach nothing; what it
did to the system's proxy settings stays and points to that port.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from core.errors import MacroVpnError
from node import desktops
from node.background import program
from node.config import default_home
from node.files import write_private

if TYPE_CHECKING:
    from collections.abc import Mapping

    from node.desktops import Run

_UNIT: Final = """\
# Written by `macrovpn service install`, which writes it anew; `macrovpn service remove` removes it.
[Unit]
Description=Macro VPN: a way out for this user's browsers
{after}# A node that cannot start is not tried for ever.
StartLimitIntervalSec=300
StartLimitBurst=10

[Service]
Type=exec
WorkingDirectory={folder}
ExecStart={command}
# The journal notes when each line came. What the node says of its life would become a record of times there, so only
# warnings and errors go to it.
StandardOutput=null
StandardError=journal
Restart=on-failure
RestartSec=5s
KillSignal=SIGTERM
KillMode=mixed
TimeoutStopSec=90s
UMask=0077
NoNewPrivileges=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources @mount
SystemCallErrorNumber=EPERM
LimitNOFILE=65536
LimitCORE=0

[Install]
WantedBy={target}
"""
"""As `packaging/systemd/user-macrovpn-share.service`, which says more; `tests/node/test_login.py` holds them together.

Source: systemd.unit(5), systemd.service(5), systemd.exec(5).
"""

_ENTRY: Final = """\
[Desktop Entry]
Type=Application
Name=Macro VPN
Comment=Starts this user's node; written by `macrovpn service install`
Exec={command}
Path={folder}
Terminal=false
"""
"""Source: Desktop Entry Specification 1.5 and Desktop Application Autostart Specification 0.5, freedesktop.org."""


class AtLogin(Protocol):
    """One way to have a node started at login.

    Attributes:
        path: the file that says so.
        what: its name, for people.
    """

    path: Path
    what: str

    def install(self, *, system_proxy: bool) -> None:
        """Have the node started at each login.

        Args:
            system_proxy: whether it shall set the system's proxy settings.

        Raises:
            MacroVpnError: the file cannot be written, or what reads it refuses.
        """

    def start(self) -> bool:
        """Have it started now; returns False where only a login does that.

        Raises:
            MacroVpnError: it cannot be started.
        """

    def remove(self) -> bool:
        """Have it started no longer. A node that runs goes on.

        Returns:
            False if it was not started before either.

        Raises:
            MacroVpnError: the file cannot be removed, or what reads it refuses.
        """


def name_of(home: Path) -> str:
    """Name what starts the node of a home, so that each home has its own."""
    if home == default_home():
        return "macrovpn"
    return f"macrovpn-{blake2b(os.fsencode(home), digest_size=4).hexdigest()}"


class Systemd:
    """The user's own systemd. Implements `AtLogin`.

    Args:
        home: the node's folder.
        configuration: the user's configuration folder.
        run: runs a command.
    """

    what = "systemd"

    def __init__(self, home: Path, configuration: Path, run: Run) -> None:
        self._home = home
        self._run = run
        self._unit = f"{name_of(home)}.service"
        self.path = configuration / "systemd" / "user" / self._unit

    def install(self, *, system_proxy: bool) -> None:
        command, folder = program()
        arguments = [*command, "up", "--as-left", "--foreground", "--log-level", "warning", "--home", str(self._home)]
        # The settings of a desktop can be set as soon as there is one.
        target = "graphical-session.target" if system_proxy else "default.target"
        text = _UNIT.format(
            command=" ".join(map(_for_systemd, [*arguments, *(["--system-proxy"] if system_proxy else [])])),
            folder=str(folder).replace("%", "%%"),
            target=target,
            after=f"After={target}\nPartOf={target}\n" if system_proxy else "",
        )
        _write(self.path, text)
        self._run(["systemctl", "--user", "daemon-reload"])
        self._run(["systemctl", "--user", "enable", self._unit])

    def start(self) -> bool:
        self._run(["systemctl", "--user", "start", self._unit])
        return True

    def remove(self) -> bool:
        if not self.path.exists():
            return False
        self._run(["systemctl", "--user", "disable", self._unit])
        _remove(self.path)
        self._run(["systemctl", "--user", "daemon-reload"])
        return True


class Autostart:
    """The autostart of a desktop. Implements `AtLogin`.

    Args:
        home: the node's folder.
        configuration: the user's configuration folder.
    """

    what = "the desktop's autostart"

    def __init__(self, home: Path, configuration: Path) -> None:
        self._home = home
        self.path = configuration / "autostart" / f"{name_of(home)}.desktop"

    def install(self, *, system_proxy: bool) -> None:
        command, folder = program()
        arguments = [
            *command,
            "up",
            "--as-left",
            "--home",
            str(self._home),
            *(["--system-proxy"] if system_proxy else []),
        ]
        _write(self.path, _ENTRY.format(command=" ".join(map(_for_desktop, arguments)), folder=_escaped(str(folder))))

    def start(self) -> bool:
        return False

    def remove(self) -> bool:
        if not self.path.exists():
            return False
        _remove(self.path)
        return True


def at_login(
    home: Path, platform: str, environment: Mapping[str, str] = os.environ, run: Run = desktops.run
) -> AtLogin:
    """Find the way that there is on this machine.

    Args:
        home: the node's folder.
        platform: `sys.platform`.
        environment: of this session.
        run: runs a command.

    Raises:
        MacroVpnError: there is none.
    """
    if platform != "linux":
        raise MacroVpnError(
            "How to start a node at login is known for systemd and for desktops of Linux. Here, have the system's own "
            "settings start `macrovpn up`."
        )
    configuration = Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    if runtime and (Path(runtime) / "systemd").is_dir():
        return Systemd(home, configuration, run)
    return Autostart(home, configuration)


def _for_systemd(argument: str) -> str:
    """Quote an argument of ExecStart (systemd.service(5), "Command lines"; specifiers and variables too)."""
    escaped = argument.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{_one_line(escaped)}"'


def _for_desktop(argument: str) -> str:
    """Quote an argument of Exec (Desktop Entry Specification, "The Exec key"), then the whole as a string."""
    for character in '\\"`$':
        argument = argument.replace(character, f"\\{character}")
    return _escaped(f'"{argument}"'.replace("%", "%%"))


def _escaped(text: str) -> str:
    return _one_line(text).replace("\\", "\\\\")


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise MacroVpnError("The folder of the node, or of the program, has a name that no such file can hold.")
    return text


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, text)
    except OSError as error:
        raise MacroVpnError(f"{path} cannot be written: {error.strerror}.") from error


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise MacroVpnError(f"{path} cannot be removed: {error.strerror}.") from error
