"""Where Linux desktops and macOS keep the proxy that programs use, and the commands that read and write it.

Every place is a table of texts. What its values look like, and in which order they are written, only the place knows.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from core.errors import MacroVpnError
from core.processes import environment_without_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

COMMAND_LIMIT_S: Final = 10.0
"""The commands answer within some hundredths of a second; a settings service that hangs shall not hang the node."""

type Values = dict[str, str]
type Run = Callable[[Sequence[str]], str]
"""Runs a command and returns what it printed; raises SystemProxyError."""


class SystemProxyError(MacroVpnError):
    """The system's proxy settings cannot be read, written or put back."""


class Place(Protocol):
    """One place of settings.

    Attributes:
        name: what the record calls it.
        switch: the key that says whether the other values count; empty when each value has its own.
        bypass: the end of the keys that hold the list of hosts which are connected to directly.
    """

    name: ClassVar[str]
    switch: ClassVar[str]
    bypass: ClassVar[str]

    def read(self) -> Values:
        """Read all values that `ours` may change.

        Raises:
            SystemProxyError: with what happened and what to do.
        """

    def ours(self, host: str, port: int, present: Mapping[str, str]) -> Values:
        """Give the values that point to a proxy, in the order in which they have to be written: the switch last.

        Args:
            host: an IPv4 address of this machine.
            port: 1 to 65535.
            present: what `read` gave.
        """

    def write(self, values: Mapping[str, str]) -> None:
        """Write values, in their order.

        Raises:
            SystemProxyError: some may have been written.
        """


def run(arguments: Sequence[str]) -> str:
    """Run a command without a shell and without input.

    Raises:
        SystemProxyError: it is not installed, failed, or took longer than `COMMAND_LIMIT_S`.
    """
    try:
        done = subprocess.run(
            arguments,
            env=environment_without_settings(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_LIMIT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise SystemProxyError(f"The program {arguments[0]} is not installed.") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SystemProxyError(f"`{shlex.join(arguments)}` does not answer.") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "it gave no reason").splitlines()[-1]
        raise SystemProxyError(f"`{shlex.join(arguments)}` failed: {said}")
    return done.stdout


class Gnome:
    """GSettings, which GNOME, Cinnamon, Pantheon and Unity use; on every desktop Firefox and what is built on GLib.

    The proxy stands there as one of HTTP for HTTP, HTTPS and FTP, so that browsers hand names over and look none up.
    SOCKS stays empty: Firefox would use version 4a of it for web sockets, which this proxy does not speak, and without
    it takes CONNECT. A value is GVariant's text form, as the command prints it.

    Source: the schema `org.gnome.system.proxy` of gsettings-desktop-schemas; gsettings(1).
    """

    name: ClassVar = "gnome"
    switch: ClassVar = "org.gnome.system.proxy mode"
    bypass: ClassVar = "ignore-hosts"

    def __init__(self, run: Run = run) -> None:
        self._run = run

    def read(self) -> Values:
        """Read the schema and those below it."""
        try:
            lines = self._run(["gsettings", "list-recursively", "org.gnome.system.proxy"]).splitlines()
        except SystemProxyError as error:
            raise SystemProxyError(f"{error} It is in {_GNOME_PACKAGES}.") from error
        found = {f"{fields[0]} {fields[1]}": fields[2] for line in lines if len(fields := line.split(" ", 2)) == 3}
        if missing := _GNOME_KEYS - found.keys():
            raise SystemProxyError(f"GNOME's settings have no {min(missing)}. It is in {_GNOME_PACKAGES}.")
        return {key: found[key] for key in found if key in _GNOME_KEYS}

    def ours(self, host: str, port: int, present: Mapping[str, str]) -> Values:
        """Give the values. A password that may be there is another proxy's."""
        values = {}
        for scheme in ("http", "https", "ftp"):
            values[f"org.gnome.system.proxy.{scheme} host"] = f"'{host}'"
            values[f"org.gnome.system.proxy.{scheme} port"] = f"{port}"
        values["org.gnome.system.proxy.socks host"] = "''"
        values["org.gnome.system.proxy.http use-authentication"] = "false"
        values["org.gnome.system.proxy ignore-hosts"] = "['localhost', '127.0.0.0/8', '::1']"
        values[self.switch] = "'manual'"
        return values

    def write(self, values: Mapping[str, str]) -> None:
        """Write one key after the other."""
        for key, value in values.items():
            self._run(["gsettings", "set", *key.split(" "), value])


_GNOME_PACKAGES: Final = "Debian's packages libglib2.0-bin and gsettings-desktop-schemas"
_GNOME_KEYS: Final = frozenset(Gnome().ours("", 0, {}))


class Kde:
    """The file `kioslaverc`, which KDE's programs and, in a KDE session, Chromium use.

    An empty value is a key that is not there.

    Source: KIO's `KProtocolManager` and the kioslaverc entries of its `ksaveioconfig`: a proxy is an address, a space
    and a port, ProxyType 1 means that these are used; `kwriteconfig6 --help`; the signal is that of KIO's Scheduler.
    """

    name: ClassVar = "kde"
    switch: ClassVar = "ProxyType"
    bypass: ClassVar = "NoProxyFor"

    def __init__(self, run: Run = run, which: Callable[[str], str | None] = shutil.which) -> None:
        self._run = run
        self._which = which

    def read(self) -> Values:
        """Read each key, also those that come from the administrator's files."""
        return {key: self.get(key) for key in _KDE_KEYS}

    def get(self, key: str) -> str:
        """Read one key. Raises as `read`."""
        return self._run(self._command("kreadconfig", key)).removesuffix("\n")

    def ours(self, host: str, port: int, present: Mapping[str, str]) -> Values:
        """Give the values, of the same kinds as GNOME's.

        The exceptions must be some: reversed, they are what alone goes through the proxy. No name is among them, as
        Chromium takes each for an end: with `localhost`, it looks `xlocalhost` up.
        """
        return {
            "httpProxy": f"http://{host} {port}",
            "httpsProxy": f"http://{host} {port}",
            "ftpProxy": f"http://{host} {port}",
            "socksProxy": "",
            "NoProxyFor": "127.0.0.0/8",
            "ReversedException": "false",
            self.switch: "1",
        }

    def write(self, values: Mapping[str, str]) -> None:
        """Write or remove each key, and tell programs that run."""
        for key, value in values.items():
            self._run([*self._command("kwriteconfig", key), *([value] if value else ["--delete", ""])])
        if values:
            signal = "org.kde.KIO.Scheduler.reparseSlaveConfiguration"
            self._run(["dbus-send", "--type=signal", "/KIO/Scheduler", signal, "string:"])

    def _command(self, tool: str, key: str) -> list[str]:
        for version in ("6", "5"):
            if self._which(tool + version):
                return [tool + version, "--file", "kioslaverc", "--group", "Proxy Settings", "--key", key]
        raise SystemProxyError(
            f"KDE's program {tool}6 (or {tool}5) is not installed. "
            "It is in Debian's package libkf6config-bin (or libkf5config-bin)."
        )


_KDE_KEYS: Final = tuple(Kde().ours("", 0, {}))


class MacOs:
    """Every network service that is not switched off. A key is the setting and the service, `webproxy Wi-Fi`.

    A PAC and its discovery come before fixed servers, so both are switched off, and SOCKS for the reason given above.

    Source: networksetup(8). Most of it needs an administrator.
    """

    name: ClassVar = "macos"
    switch: ClassVar = ""
    bypass: ClassVar = "proxybypassdomains"

    def __init__(self, run: Run = run) -> None:
        self._run = run

    def read(self) -> Values:
        """Read what each service has."""
        values = {}
        # The first line explains what the asterisk of a line means: that the service is off.
        for service in self._ask("-listallnetworkservices").splitlines()[1:]:
            if service.startswith("*"):
                continue
            for kind in (*_MAC_SERVERS, "socksfirewallproxy"):
                values[f"{kind} {service}"] = self._proxy(kind, service)
            auto = _fields(self._ask("-getautoproxyurl", service))
            url = auto.get("URL", "").replace("(null)", "")
            values[f"autoproxyurl {service}"] = f"{_on(auto.get('Enabled'))} {url}"
            found = _fields(self._ask("-getproxyautodiscovery", service))
            values[f"proxyautodiscovery {service}"] = _on(found.get("Auto Proxy Discovery"))
            domains = self._ask("-getproxybypassdomains", service)
            domains = "" if domains.startswith("There aren't any") else domains
            values[f"{self.bypass} {service}"] = " ".join(domains.split())
        return values

    def ours(self, host: str, port: int, present: Mapping[str, str]) -> Values:
        """Give the values for the services that are among the present ones."""
        values = {}
        for key, value in present.items():
            kind = key.partition(" ")[0]
            if kind in _MAC_SERVERS:
                values[key] = f"on {host} {port}"
            elif kind == self.bypass:
                values[key] = "localhost 127.0.0.1 ::1"
            else:
                values[key] = " ".join(["off", *value.split(" ")[1:]])
        return values

    def write(self, values: Mapping[str, str]) -> None:
        """Write each setting, and then whether it counts: setting a server or a URL switches it on."""
        for key, value in values.items():
            kind, _, service = key.partition(" ")
            state, *rest = value.split(" ")
            if kind == self.bypass:
                self._ask(f"-set{kind}", service, *(value.split() or ["Empty"]))
            elif kind == "proxyautodiscovery":
                self._ask(f"-set{kind}", service, state)
            else:
                if rest[0] and (state == "on" or kind in _MAC_SERVERS):
                    self._ask(f"-set{kind}", service, *rest)
                self._ask(f"-set{kind.removesuffix('url')}state", service, state)

    def _proxy(self, kind: str, service: str) -> str:
        found = _fields(self._ask(f"-get{kind}", service))
        state = _on(found.get("Enabled"))
        if state == "on" and found.get("Authenticated Proxy Enabled") == "1":
            raise SystemProxyError(
                f"The network service {service} uses a proxy with a password, which cannot be read and put back. "
                "Switch that proxy off in the system's settings first."
            )
        return f"{state} {found.get('Server', '')} {found.get('Port', '0')}"

    def _ask(self, *arguments: str) -> str:
        return self._run(["/usr/sbin/networksetup", *arguments])


_MAC_SERVERS: Final = ("webproxy", "securewebproxy")


def _fields(text: str) -> dict[str, str]:
    return {name: value.strip() for name, colon, value in (line.partition(":") for line in text.splitlines()) if colon}


def _on(word: str | None) -> str:
    """Turn networksetup's words into `on` and `off`; another answer is no answer."""
    if word in ("Yes", "On"):
        return "on"
    if word in ("No", "Off"):
        return "off"
    raise SystemProxyError("networksetup gave an answer that this version does not know.")
