"""The `macrovpn` command: what to ask and how to print it. What takes long to import is imported inside a command."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from core.fault import place
from node.cli_bypass import bypass
from node.cli_common import Group, common, for_this_node, plain, show
from node.cli_completion import completion
from node.cli_config import config
from node.cli_demo import demo
from node.cli_doctor import doctor
from node.cli_network import network
from node.cli_pair import dashboard, pair
from node.cli_route import peers, route
from node.cli_run import down, env, off, on, up
from node.cli_service import service
from node.cli_share import share
from node.cli_trust import trust
from node.cli_wallet import cost_text, wallet

if TYPE_CHECKING:
    from pathlib import Path

_NO_SPEED: Final = {"speed": {"forth_bytes_s": 0, "back_bytes_s": 0}}
_NOWHERE: Final = {"state": "off", "name": "", "confirmed": False}
_DOWN: Final[dict[str, Any]] = {
    **dict.fromkeys(("exit_region", "exit_serves", "direct_because", "mode", "not_hidden", "dht", "proxy", "pac"), ""),
    **dict.fromkeys(("peer_id", "engine", "address", "reachable", "refuses", "settings_problem", "system_proxy"), ""),
    **dict.fromkeys(("hops", "flows", "peers", "circuits", "relayed_circuits", "via", "late_ms"), 0),
    "exit_regions": [],
    "roles": [],
    "restart_to_apply": [],
    "counters": {},
    "money": {},
    "sharing": {},
    **_NO_SPEED,
    "state": "down",
    "reason": "",
    "network": "",
    "private": False,
    "trust": _NOWHERE,
    "port_mapping": "off",
}
"""The status without a node; it has the keys of one with a node."""
_DHT: Final = {
    "on": "; the DHT is asked for more",
    "missing": "; the DHT is not asked: libtorrent is not installed",
}


class _Root(Group):
    """All commands. Whatever goes wrong in one, nobody is shown a traceback, whose words may hold a destination."""

    def main(self, *args: Any, **options: Any) -> Any:
        try:
            return super().main(*args, **options)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else type(error).__name__
            _fail(f"{error.filename}: {reason}." if error.filename else f"The system refuses: {reason}.")
        except Exception as error:
            if sys.flags.dev_mode:
                raise
            _fail(f"This is a mistake in macrovpn: {place(error)}. Please report it. PYTHONDEVMODE=1 shows more.")


def _fail(sentence: str) -> NoReturn:
    click.echo(f"Error: {sentence}", err=True)
    sys.exit(1)


def _version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from importlib import metadata

        try:
            version = metadata.version("macro-vpn")
        except metadata.PackageNotFoundError:
            version = "(not installed)"
        click.echo(f"macrovpn {version}")
        context.exit()


@click.group(cls=_Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def cli() -> None:
    """A peer-to-peer VPN for browsers: traffic leaves through a chain of peers, and no one holds both ends."""


@cli.command()
@common
@click.option("--watch", is_flag=True, help="Go on showing it as it changes, until Ctrl-C.")
def status(home: Path, as_json: bool, watch: bool) -> None:
    """Show the state of the running node."""
    if watch:
        from node.cli_watch import watch as go_on

        go_on(home, as_json, lambda: _status(home)[0], _whole, lambda answer: _status_text(_whole(answer) | _NO_SPEED))
        return
    answer, text = _status(home)
    show(as_json, answer, text)


def _status(home: Path) -> tuple[dict[str, Any], str]:
    """Ask the node, and say it also in words."""
    from node.cli_ask import ask
    from node.client import NoNodeError, StartingNodeError
    from node.system_proxy import left

    _, system = left()
    known = _whole({})
    try:
        answer = known | ask(home, 0).status()
    except NoNodeError as error:
        text = f"down\n{for_this_node(str(error))}" + (f"\nsystem    {system}" if system else "")
        return known | {"reason": f"no node runs in {home}"}, text
    except StartingNodeError:
        answer = known | {"state": "connecting", "reason": "the node is starting"}
    return answer, _status_text(answer) + (f"\nsystem    {system}" if system else "")


def _whole(answer: dict[str, Any]) -> dict[str, Any]:
    """Complete what a node says, of this version or of another one."""
    from node.system_proxy import left

    return _DOWN | {"system_proxy": left()[0].value} | answer


def _status_text(answer: dict[str, Any]) -> str:
    from node.port_mapping import port_mapping_sentence
    from node.reach import sentence
    from node.sharing_view import rows
    from node.trust.watch import sentence as trust_sentence

    lines = [plain(answer["state"]) + (f": {plain(answer['reason'])}" if answer["reason"] else "")]
    if here := trust_sentence(answer["trust"]):
        lines.append(f"{'DIRECT' if answer['direct_because'] else 'here':<9} {plain(here)}")
    if answer["network"]:
        lines.append(f"network   {plain(answer['network'])}")
    lines.append(f"roles     {', '.join(map(plain, answer['roles'])) or '–'}")
    if answer["proxy"]:
        lines.append(f"proxy     {plain(answer['proxy'])}")
        regions = " and ".join(map(plain, answer["exit_regions"])) or "region unknown"
        serves = f"; serves {plain(answer['exit_serves'])}" if answer["exit_serves"] else ""
        lines.append(f"exit      {regions}, {plain(answer['hops'])} hops{serves}")
    if answer["not_hidden"]:
        lines.append(f"beware    {plain(answer['not_hidden'])}")
    if not answer["sharing"] or answer["proxy"]:
        lines.append(f"flows     {plain(answer['flows'])} in {plain(answer['circuits'])} circuits")
    if any(answer["speed"].values()):
        from node.cli_watch import rate_text

        speed = answer["speed"]
        lines.append(f"speed     {rate_text(speed['back_bytes_s'])} down, {rate_text(speed['forth_bytes_s'])} up")
    if answer["money"] and answer["proxy"]:
        lines.append(f"cost      {cost_text(answer['money'])}")
    lines.append(f"peers     {plain(answer['peers'])} known{_DHT.get(answer['dht'], '')}")
    if router := port_mapping_sentence(answer["port_mapping"]):
        lines.append(f"router    {router}")
    if answer["peer_id"]:
        lines.append(f"peer id   {plain(answer['peer_id'])}")
    if reachable := sentence(answer["reachable"], answer["via"]):
        lines.append(f"reach     {reachable}")
    if answer["restart_to_apply"]:
        lines.append(f"settings  restart to apply: {', '.join(map(plain, answer['restart_to_apply']))}")
    if answer["settings_problem"]:
        lines.append(f"settings  the file is wrong: {plain(answer['settings_problem'])}")
    if answer["sharing"]:
        lines += [f"{name:<9} {plain(text)}" for name, text in rows(answer["sharing"])]
    return "\n".join(lines)


@cli.command()
@common
def hop(home: Path, as_json: bool) -> None:
    """Change the route now. Running connections move along."""
    from node.cli_ask import ask

    show(as_json, ask(home).hop(), "The route is changing; running connections move along.")


@cli.command()
@common
@click.option("--data-url", is_flag=True, help="Print it as a data: URL, which a browser keeps.")
def pac(home: Path, as_json: bool, data_url: bool) -> None:
    """Print the PAC of the running node."""
    from node.cli_ask import ask
    from pac.pac import pac_data_url

    text = ask(home).pac()
    url = pac_data_url(text)
    show(as_json, {"pac": text, "data_url": url}, url if data_url else text.rstrip("\n"))


for _command in (
    demo,
    up,
    down,
    on,
    off,
    env,
    share,
    network,
    route,
    peers,
    bypass,
    trust,
    wallet,
    config,
    service,
    doctor,
    pair,
    dashboard,
    completion,
):
    cli.add_command(_command)


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed with a reason on standard error, 2 wrong usage."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # no character keeps an answer from a terminal that lacks it
    try:
        cli.main(prog_name="macrovpn")
    finally:
        try:
            if sys.stdout is not None:
                sys.stdout.flush()
        except OSError:
            sys.stdout = None  # what is left can be written nowhere, and Python would try again
