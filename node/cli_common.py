"""What the commands share: the two options of each, types of options, and how answers are printed."""

from __future__ import annotations

import functools
import json
import re
import shlex
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from core.errors import MacroVpnError
from node import firefox_settings as firefox
from node.cli_completing import NETWORKS, REGIONS, Completer, values_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from click.shell_completion import CompletionItem

_COMMAND: Final = re.compile("`macrovpn ([^`]+)`")

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object, and nothing else.")


class _Folder(click.Path):
    """A folder, whose name must not be empty: `--home "$NOTHING"` is not the folder that one happens to be in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the name of a folder is missing", param, ctx)
        return super().convert(value, param, ctx)


FOLDER: Final = _Folder(file_okay=False, path_type=Path)


def home_option(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `--home`, passed as the absolute folder `home`."""
    return click.option(
        "--home",
        type=FOLDER,
        envvar="MACROVPN_HOME",
        callback=_home,
        show_default="MACROVPN_HOME, else the platform's data folder",
        help="Folder of the node.",
    )(command)


def common(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `--home`, `--json` (passed as `as_json`) and `--network`.

    The last names a private network; the command then gets the folder of that network's node as its `home`.
    """

    @functools.wraps(command)
    def in_network(*args: Any, home: Path, network: str | None, **rest: Any) -> None:
        if network is not None:
            from node.networks import network_home

            home = network_home(home, network)
        command(*args, home=home, **rest)

    option = click.option(
        "--network",
        metavar="NAME",
        show_default="the public one",
        shell_complete=NETWORKS,
        help="A private network that you are in.",
    )
    return home_option(option(json_option(in_network)))


def _home(_context: click.Context, _option: click.Parameter, value: Path | None) -> Path:
    if value is None:
        from node.config import default_home

        value = default_home()
    return value.expanduser().absolute()


def for_this_node(text: str, context: click.Context | None = None) -> str:
    """Complete the commands that a sentence names, so that they mean the node that a call means.

    Args:
        text: the sentence.
        context: of the call; None for the present one.
    """
    context = context or click.get_current_context()
    given = [
        (option, str(context.params[name]))
        for option, name in (("--home", "home"), ("--network", "network"))
        if name in context.params and context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]

    def complete(found: re.Match[str]) -> str:
        of_one_node = not found[1].startswith("network ")
        options = [f" {option} {shlex.quote(value)}" for option, value in given if of_one_node or option == "--home"]
        return f"`macrovpn {found[1]}{''.join(options)}`"

    return _COMMAND.sub(complete, text)


class Command(click.Command):
    """A command that may raise this project's errors: they end as a sentence on standard error and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MacroVpnError as error:
            raise click.ClickException(for_this_node(str(error), ctx)) from error


class Group(Command, click.Group):
    """A group of such commands."""

    command_class = Command


@contextmanager
def usage() -> Iterator[None]:
    """Have what is wrong with an argument, whatever node runs, end as wrong usage and exit code 2."""
    from core.errors import ConfigError

    try:
        yield
    except ConfigError as error:
        raise click.UsageError(str(error)) from error


class SettingType(click.ParamType[str]):
    """An option's value that must be right for a setting.

    Args:
        setting: `section.key`.
        metavar: what the help calls it.
        many: the setting is a list, and each use of the option gives one member.
    """

    def __init__(self, setting: str, metavar: str, *, many: bool = False) -> None:
        self.name = metavar
        self._setting = setting
        self._many = many

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the value unchanged, or fail as wrong usage with the sentence that says what is right."""
        from core.errors import ConfigError
        from node.config import check

        try:
            check(self._setting, [value] if self._many else value, "")
        except ConfigError as error:
            self.fail(error.problem, param, ctx)
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Offer what the setting, or a member of it, may be."""
        if self.name == "REGION":
            return REGIONS(ctx, param, incomplete)
        return Completer(lambda _home, _given: values_of(self._setting))(ctx, param, incomplete)


class AddressType(click.ParamType[str]):
    """An option's value that must be an IP address."""

    name = "ADDRESS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the address in its shortest form, or fail as wrong usage."""
        from ipaddress import ip_address

        try:
            return str(ip_address(str(value)))
        except ValueError:
            self.fail("this must be an IP address, such as 192.0.2.7, or 0.0.0.0 for all of this machine", param, ctx)


LISTEN_OPTION = click.option(
    "--listen",
    type=AddressType(),
    show_default="that of the setting proxy.listen, 127.0.0.1",
    help="Address of the proxy; one that others can reach needs the setting proxy.password.",
)


def show(as_json: bool, value: dict[str, Any], text: str) -> None:
    """Print an answer on standard output: the object as a line of JSON, in ASCII whatever the locale, or the text."""
    click.echo(json.dumps(value) if as_json else text)


def say(text: str) -> None:
    """Print a line of progress on standard error."""
    click.echo(text, err=True)


def plain(value: object) -> str:
    """Write a value that may come from another peer so that a terminal takes no orders from it."""
    return "".join(character if character.isprintable() else "�" for character in str(value))


def region_text(peer: dict[str, Any]) -> str:
    """Write where a peer says that it is, and what to think of that."""
    region = peer.get("claimed_region") or peer["region"] or "–"
    return plain(f"{region} {peer.get('region_check', '')}".rstrip())


def browser_lines(proxy: str, pac: str) -> str:
    """Say how programs are pointed at the proxy.

    Args:
        proxy: `HOST:PORT`.
        pac: URL of the PAC, or empty.
    """
    host, _, port = proxy.rpartition(":")
    lines = [
        f"The proxy is {proxy} (SOCKS5 and HTTP).",
        f"  curl      curl --proxy socks5h://{proxy} https://example.org/",
        f'  Chromium  chromium --proxy-server="socks5://{proxy}" --user-data-dir="$(mktemp -d)" \\',
        "            --webrtc-ip-handling-policy=disable_non_proxied_udp",
        f"  Firefox   {firefox.FIXED_PROXY}: SOCKS host {host}, port {port},",
        f"            SOCKS v5, and tick “Proxy DNS when using SOCKS v5”. In about:config set {firefox.WEBRTC}",
        f"            to true, and to false {firefox.HTTPS_RECORD}, {firefox.ALLOW_BYPASS} and",
        f"            {firefox.FAILOVER}. `macrovpn doctor` looks whether all is closed.",
    ]
    if pac:
        lines += [
            f"  PAC       {pac}",
            "            A browser that cannot load a PAC URL goes direct: the lines above do not have this gap.",
        ]
    return "\n".join(lines)
