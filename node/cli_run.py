"""`macrovpn up` and `down`: options into settings, and a node into the foreground or away from it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from core.errors import MacroVpnError
from node.cli_common import LISTEN_OPTION, Command, SettingType, browser_lines, common, for_this_node, plain, say, show

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from node.client import NodeClient
    from node.settings import Settings

BOOTSTRAP_OPTION = click.option(
    "--bootstrap",
    multiple=True,
    type=SettingType("peers.bootstrap", "MULTIADDR", many=True),
    help="A peer to begin with, instead of those in the settings. Repeatable.",
)
ALLOW_OPTION = click.option(
    "--allow-address",
    multiple=True,
    type=SettingType("peers.allow_addresses", "CIDR", many=True),
    help="A private network in which peers may be dialled. Repeatable.",
)
DHT_OPTION = click.option(
    "--dht/--no-dht",
    default=None,
    show_default="setting peers.dht",
    help="Whether peers are looked for in BitTorrent's DHT.",
)
ENGINE_OPTION = click.option(
    "--engine",
    type=click.Choice(["auto", "aiopquic", "aioquic"]),
    show_default="setting node.engine",
    help="What carries the links.",
)
LOG_LEVEL_OPTION = click.option(
    "--log-level",
    type=click.Choice(["warning", "info", "debug"]),
    show_default="setting node.log_level",
    help="How much the node says in its log.",
)
PORT = click.IntRange(0, 65535)
_NOT_PASSED_ON = frozenset({"foreground", "as_json", "home", "network"})


@click.command(cls=Command)
@common
@click.option("--foreground", is_flag=True, help="Run here until Ctrl-C.")
@click.option("--system-proxy", is_flag=True, help="Have the system's proxy settings point here while the node runs.")
@click.option(
    "--as-left", is_flag=True, help="Stay switched off if `macrovpn off` was said; for what starts by itself."
)
@BOOTSTRAP_OPTION
@DHT_OPTION
@click.option(
    "--mode",
    type=click.Choice(["speed", "balanced", "privacy"]),
    show_default="setting tunnel.mode",
    help="Number of hops, and padding.",
)
@click.option(
    "--hops",
    type=click.IntRange(0, 5),
    show_default="setting tunnel.hops",
    help="Hops of a path, 1 to 5; 0: the mode's number.",
)
@click.option(
    "--region",
    multiple=True,
    type=SettingType("tunnel.regions", "REGION", many=True),
    help="Where the exit shall be, such as NL or US-CA; the preferred first. Repeatable.",
)
@LISTEN_OPTION
@click.option(
    "--port",
    type=PORT,
    show_default="that of the setting proxy.listen, 1080",
    help="TCP port of the proxy; 0: any free one.",
)
@ENGINE_OPTION
@LOG_LEVEL_OPTION
@ALLOW_OPTION
@click.pass_context
def up(
    context: click.Context,
    /,
    home: Path,
    as_json: bool,
    foreground: bool,
    system_proxy: bool,
    as_left: bool,
    **flags: Any,
) -> None:
    """Start this machine's node, for a browser to be pointed at.

    It goes by the settings; options count more, for this run.
    """
    from node.config import load
    from node.settings import join_endpoint

    saved = load(home)
    overrides = overrides_of(flags, {"mode": "tunnel.mode", "hops": "tunnel.hops", "region": "tunnel.regions"})
    if flags["port"] is not None or flags["listen"] is not None:
        host, port = saved.proxy.endpoint
        port = port if flags["port"] is None else flags["port"]
        overrides["proxy.listen"] = join_endpoint(flags["listen"] or host, port)
    if "client" not in saved.node.roles:
        overrides["node.roles"] = ("client", *saved.node.roles)
    if not system_proxy:
        _put_back_left()
    if not as_left:
        _back_on(home)
    if not foreground and _arguments(context) == ["up"] and (status := _switched_on(home)):
        _announcer(saved, home, as_json=as_json, system_proxy=False)(status)
        return
    run_node(context, overrides, home, as_json=as_json, foreground=foreground, system_proxy=system_proxy)


def _put_back_left() -> None:
    """Undo what a node that is gone did to the system's settings; that this fails keeps no other node from starting."""
    from node.system_proxy import put_back_left

    try:
        if sentence := put_back_left():
            say(sentence)
    except MacroVpnError as error:
        say(str(error))


def _back_on(home: Path) -> None:
    """Have the next node be on, although the last one was switched off: who starts it means that. One that runs has its
    own switch."""
    from node.files import lock_holder
    from node.switch import is_left_off, keep

    if is_left_off(home) and lock_holder(home) is None:
        keep(home, on=True)
        say("It was switched off, and is switched on again.")


@click.command(cls=Command)
@common
def down(home: Path, as_json: bool) -> None:
    """Stop the running node and wait until it is gone.

    A node that others use takes nothing new and ends when nothing runs for them any more, after a minute at the latest
    (sharing.drain_s). Ask a second time, and it stops at once.
    """
    from node.background import stop
    from node.system_proxy import put_back_left

    stopped = stop(home, say)
    text = "The node has stopped." if stopped else f"No node runs in {home}."
    if sentence := put_back_left():
        text += f"\n{sentence}"
    show(as_json, {"state": "down", "stopped": stopped}, text)


@click.command(cls=Command)
@common
def off(home: Path, as_json: bool) -> None:
    """Switch off: the proxy refuses everything.

    Whatever runs ends. It stays off until `macrovpn on`, or the next `macrovpn up`, over crashes and logins. The node
    stays, and goes on to serve others if it does. Without a node nothing is sent either: see `macrovpn down`.
    """
    _switch(home, as_json, on=False)


@click.command(cls=Command)
@common
def on(home: Path, as_json: bool) -> None:
    """Switch on again what was switched off, here or in the browser."""
    _switch(home, as_json, on=True)


def _switch(home: Path, as_json: bool, *, on: bool) -> None:
    from node.cli_ask import ask

    status = ask(home).switch(on=on)
    text = "It is switched on." if on else "It is switched off: the proxy refuses everything."
    show(as_json, {key: status.get(key, "") for key in ("state", "reason", "proxy")}, text)


@click.command(cls=Command)
@common
def env(home: Path, as_json: bool) -> None:
    """Print the variables that have programs use the node.

    eval "$(macrovpn env)" sets them in a shell.
    """
    from node.cli_ask import ask

    proxy = ask(home).status()["proxy"]
    if not proxy:
        raise MacroVpnError(f"The node in {home} has no proxy: it only serves others.")
    values = {"http_proxy": f"http://{proxy}", "https_proxy": f"http://{proxy}", "all_proxy": f"socks5h://{proxy}"}
    values["no_proxy"] = "localhost,127.0.0.1,::1"
    both = values | {name.upper(): value for name, value in values.items() if name != "http_proxy"}
    show(as_json, both, "\n".join(f"export {name}={shlex.quote(value)}" for name, value in both.items()))


def overrides_of(flags: dict[str, Any], names: dict[str, str]) -> dict[str, object]:
    """Turn options into settings; `names` gives the setting of each option that is not one of the common ones."""
    names = names | {"engine": "node.engine", "bootstrap": "peers.bootstrap", "allow_address": "peers.allow_addresses"}
    names |= {"dht": "peers.dht", "log_level": "node.log_level"}
    return {name: flags[flag] for flag, name in names.items() if flags[flag] not in (None, ())}


def run_node(
    context: click.Context,
    overrides: dict[str, object],
    home: Path,
    *,
    as_json: bool,
    foreground: bool,
    watch: Callable[[dict[str, Any]], None] | None = None,
    system_proxy: bool = False,
) -> None:
    """Run a node here or away from here, by the settings and by `overrides`, those that options of the command gave;
    `watch` is told its status every second while it runs here."""
    from node import background
    from node.config import load

    settings = load(home, overrides)
    _refuse_beside_one_that_is_off(home)
    announce = _announcer(settings, home, as_json=as_json, system_proxy=system_proxy)
    if foreground:
        run = background.run_here
        context.exit(run(settings, home, announce, watch, overrides=overrides, system_proxy=system_proxy))
    try:
        status = background.start(_arguments(context), home, say)
    except KeyboardInterrupt:
        say(for_this_node("The node goes on starting away from here: see `macrovpn status`; `macrovpn down` ends it."))
        raise
    announce(status)


def _switched_on(home: Path) -> dict[str, Any]:
    """Switch on the node that runs here and is off; return its status, or nothing where there is none."""
    from node.files import lock_holder

    node = _one_that_is_off(home)
    if node is None:
        return {}
    status = node.switch(on=True) | {"pid": lock_holder(home) or 0}
    say("A node runs here already. It was switched off, and is switched on again.")
    return status


def _one_that_is_off(home: Path) -> NodeClient | None:
    """Find the node that runs here and waits for being switched on."""
    from node.cli_ask import ask
    from node.client import NoNodeError, StartingNodeError

    try:
        node = ask(home, 0)
    except (NoNodeError, StartingNodeError):
        return None
    return node if node.status().get("state") == "down" else None


def _refuse_beside_one_that_is_off(home: Path) -> None:
    """Say what to do to who starts a node, otherwise than the one that waits here for being switched on."""
    if _one_that_is_off(home) is not None:
        raise MacroVpnError(f"A node runs in {home} already, and is switched off. Switch it on with `macrovpn on`.")


def _announcer(
    settings: Settings, home: Path, *, as_json: bool, system_proxy: bool
) -> Callable[[dict[str, Any]], None]:
    def announce(status: dict[str, Any]) -> None:
        keys = ("state", "reason", "proxy", "pac", "roles", "peer_id")
        answer = {key: status.get(key, "") for key in keys} | {"home": str(home), "pid": status["pid"]}
        reason = f": {answer['reason'].rstrip('.')}" if answer["reason"] else ""
        lines = [f"The node is {answer['state']}{reason}. Home: {home}"]
        if status.get("direct_because"):
            lines.append(plain(status["direct_because"]))
        if answer["proxy"]:
            lines.append(browser_lines(answer["proxy"], answer["pac"]))
        if system_proxy and answer["state"] != "down":
            lines.append("The system's proxy settings point here until the node stops.")
        if {"relay", "exit"}.intersection(settings.node.roles):
            lines.append(f"It serves others as {' and '.join(settings.node.roles)}: {answer['peer_id']}")
        if status.get("private"):
            lines.append(f"Invite others with: macrovpn network invite {status['network']}")
        show(as_json, answer, "\n".join(lines))

    return announce


def _arguments(context: click.Context) -> list[str]:
    """Write this call of a command again, for the process that runs it in the foreground."""
    arguments = [str(context.command.name)]
    for option in context.command.params:
        value = context.params.get(str(option.name))
        if option.name in _NOT_PASSED_ON or value is None:
            continue
        if isinstance(value, bool):
            arguments += option.opts[:1] if value else option.secondary_opts[:1]
            continue
        for each in value if isinstance(value, tuple) else (value,):
            arguments += [option.opts[0], str(each)]
    return arguments
