"""Read the settings: one TOML file, then the environment, then flags; the later one wins.

A value that breaks its rule is refused with the place it came from, also when a later source would have replaced it.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, get_args

import msgspec

from core.errors import ConfigError
from core.processes import SETTING_PREFIX
from node.settings import FIELDS, SECTIONS, Settings

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from node.settings import PaymentsSettings

__all__ = [
    "CONFIG_NAME",
    "HOME_ENV",
    "PARENT_FD_ENV",
    "Loaded",
    "Settings",
    "check",
    "default_home",
    "load",
    "load_from",
    "parse",
    "read_text",
]

CONFIG_NAME: Final = "config.toml"
ENVIRONMENT_PREFIX: Final = SETTING_PREFIX
PARENT_FD_ENV: Final = "MACROVPN_PARENT_FD"
"""Number of an inherited pipe's reading end. Its end of file says that the process which started the node is gone."""
HOME_ENV: Final = "MACROVPN_HOME"
"""The folder of the node, where no `--home` names one."""
PASSWORD_ENV: Final = "MACROVPN_PROXY_PASSWORD"
"""Sets the proxy's password where no file shall hold it."""
_RESERVED: Final = frozenset({PARENT_FD_ENV, HOME_ENV, "MACROVPN_WALLET_KEY"})
FROM_FILE: Final = "file"
FROM_FLAG: Final = "flag"
DEFAULT: Final = "default"


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and where each comes from.

    Args:
        settings: checked.
        sources: `file`, `flag` or the name of an environment variable, by `section.key`; what has its default is left
            out.
    """

    settings: Settings
    sources: Mapping[str, str]

    def source(self, name: str) -> str:
        """Where a setting comes from, `default` included."""
        return self.sources.get(name, DEFAULT)


def default_home() -> Path:
    """Name the folder of this user's own node, in the place that the platform has for it."""
    import platformdirs

    return platformdirs.user_data_path("macrovpn")


def check(name: str, value: object, where: str, *, text: bool = False) -> Any:
    """Check one value.

    Args:
        name: `section.key`.
        value: what was given.
        where: the place it came from, for the error.
        text: the value is text from outside TOML: numbers and truth values are read out of it, and lists are
            separated by commas or written as in TOML.

    Returns:
        The value, of the setting's type.

    Raises:
        ConfigError: there is no such setting, or the value breaks its rule.
    """
    if name not in FIELDS:
        raise ConfigError(where, _unknown(name))
    kind = FIELDS[name]
    rule = get_args(kind)[1]
    must = f"{'it' if where == name else name} must be {rule.text}"
    try:
        if text:
            value = _from_text(kind, str(value))
        checked = msgspec.convert(value, kind, strict=not text)
        right = rule.check(checked)
    except ConfigError as error:
        raise ConfigError(where, f"{must}: {error.problem}") from error
    except (ValueError, RecursionError, msgspec.ValidationError):
        right = False
    if not right:
        raise ConfigError(where, must)
    return checked


def check_listen(host: str, password: str, where: str) -> None:
    """Check that nobody else can use the proxy without a password.

    Args:
        host: the IP literal that it listens on.
        password: what it asks for; may be empty.
        where: the place that the address came from, for the error.

    Raises:
        ConfigError: others could.
    """
    if not ipaddress.ip_address(host).is_loopback and not password:
        raise ConfigError(
            where,
            "proxy.listen is not a loopback address, so others could use this port; set a password as well, with "
            f"`macrovpn config set proxy.password -` or in {PASSWORD_ENV}",
        )


def _from_text(kind: Any, text: str) -> Any:
    if not isinstance(msgspec.inspect.type_info(kind), msgspec.inspect.VarTupleType):
        return text
    if text.lstrip().startswith("["):
        return tomllib.loads(f"value = {text}")["value"]
    parts = re.split(get_args(kind)[1].separator, text)
    return [part.strip() for part in parts if part.strip()]


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, FIELDS, n=1)
    return f"there is no setting {name}" + (f"; {near[0]} is the nearest" if near else "")


def load(
    home: Path, overrides: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Read the settings of a home.

    Args:
        home: the node's folder; a missing file means all defaults.
        overrides: flags, as `section.key` and value of the right type.
        environ: the environment; None for this process's own. `MACROVPN_PROXY_LISTEN` sets `proxy.listen`.

    Raises:
        ConfigError: something is wrong; it says where, and what would be right.
    """
    path = home / CONFIG_NAME
    return load_from(read_text(path), path, overrides, environ).settings


def load_from(
    text: str,
    path: Path,
    overrides: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    changed: Collection[str] = (),
) -> Loaded:
    """Read settings as `load` does, from the text of a file.

    Args:
        text: TOML.
        path: its name, for errors.
        overrides: as for `load`.
        environ: as for `load`.
        changed: settings that an error names by themselves and not by their lines.

    Raises:
        ConfigError: as for `load`.
    """
    values, places = parse(text, path)
    sources = dict.fromkeys(values, FROM_FILE)
    places |= {name: name for name in changed}
    for variable, value in sorted((os.environ if environ is None else environ).items()):
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in _RESERVED:
            name = _variable_name(variable)
            values[name] = check(name, value, variable, text=True)
            places[name] = sources[name] = variable
    for name, given in (overrides or {}).items():
        values[name] = check(name, given, name)
        places[name], sources[name] = name, FROM_FLAG
    settings = _build(values)
    _check_together(settings, places)
    return Loaded(settings, sources)


def parse(text: str, path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Read the text of a settings file.

    Args:
        text: TOML.
        path: its name, for errors.

    Returns:
        The checked values and, for each, the file and line it stands in; both by `section.key`.

    Raises:
        ConfigError: it is not TOML, names an unknown setting, or has a value that breaks its rule.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _not_toml(error, text, path) from error
    except RecursionError as error:
        raise ConfigError(str(path), "this is not TOML for settings: brackets in brackets, too many") from error
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    for section, table in document.items():
        where = f"{path}, line {line_of(text, section)}"
        if section not in SECTIONS or not isinstance(table, dict):
            raise ConfigError(where, f"{section} is not one of the sections {', '.join(SECTIONS)}")
        for key, value in table.items():
            name = f"{section}.{key}"
            places[name] = f"{path}, line {line_of(text, section, key)}"
            values[name] = check(name, value, places[name])
    return values, places


def line_of(text: str, section: str, key: str | None = None) -> int:
    """Find the line, counted from 1, of a section's header or of a key in it.

    Returns:
        Where the section has no header, the first line with the word; 1 without any.
    """
    header = re.compile(rf"\s*\[\s*[\"']?{re.escape(section)}[\"']?\s*\]")
    wanted = re.compile(rf"\s*[\"']?{re.escape(key or '')}[\"']?\s*=")
    lines = text.splitlines()
    inside = False
    for number, line in enumerate(lines, start=1):
        if line.lstrip().startswith("["):
            inside = header.match(line) is not None
            if inside and key is None:
                return number
        elif key is not None and inside and wanted.match(line):
            return number
    word = re.compile(rf"\b{re.escape(key or section)}\b")
    return next((number for number, line in enumerate(lines, start=1) if word.search(line)), 1)


def read_text(path: Path) -> str:
    """Read a settings file; empty when there is none.

    Raises:
        ConfigError: it cannot be read, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), "this is not UTF-8 text") from error
    except OSError as error:
        raise ConfigError(str(path), f"the file cannot be read: {error.strerror}") from error


def _not_toml(error: tomllib.TOMLDecodeError, text: str, path: Path) -> ConfigError:
    message = str(error)
    found = re.search(r"\(at line (\d+), column \d+\)", message)
    line = int(found[1]) if found else max(1, text.count("\n") + (not text.endswith("\n")))
    return ConfigError(f"{path}, line {line}", f"this is not TOML: {message.partition(' (at ')[0]}")


def _variable_name(variable: str) -> str:
    section, _, key = variable.removeprefix(ENVIRONMENT_PREFIX).lower().partition("_")
    name = f"{section}.{key}"
    if name not in FIELDS:
        raise ConfigError(variable, f"{_unknown(name)}. Unset this environment variable")
    return name


def _build(values: Mapping[str, Any]) -> Settings:
    tables: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for name, value in values.items():
        section, _, key = name.partition(".")
        tables[section][key] = value
    return msgspec.convert(tables, Settings, strict=True)


def _check_together(settings: Settings, places: Mapping[str, str]) -> None:
    check_listen(settings.proxy.endpoint[0], settings.proxy.password, places.get("proxy.listen", "proxy.listen"))
    if not settings.peers.gossip and not settings.peers.dht:
        raise ConfigError(places["peers.gossip"], "gossip and the DHT are both off, so no peer would be found")
    _check_payments(settings.payments, places)
    least, most = settings.tunnel.min_tariff, settings.tunnel.max_tariff
    if least > most:
        raise ConfigError(places["tunnel.min_tariff"], f"it is above tunnel.max_tariff, {most}, so nobody would do")
    if least and settings.payments.settlement == "off":
        problem = "only peers that ask for money would do, and payments are off; set payments.settlement, or this to 0"
        raise ConfigError(places["tunnel.min_tariff"], problem)


def _check_payments(payments: PaymentsSettings, places: Mapping[str, str]) -> None:
    if payments.settlement == "off" and payments.tariff:
        problem = 'nobody can pay it while payments.settlement is "off"; set that to "local" or "evm", or this to 0'
        raise ConfigError(places["payments.tariff"], problem)
    if payments.settlement == "evm":
        for name in ("rpc", "contract", "chain_id"):
            if not getattr(payments, name):
                where = places.get(f"payments.{name}", f"payments.{name}")
                raise ConfigError(where, 'it must be set while payments.settlement is "evm"')
