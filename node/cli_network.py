"""`macrovpn network`: private networks, made, joined by an invite, and left."""

from __future__ import annotations

import io
import secrets
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from core.errors import MacroVpnError
from node.cli_common import Group, SettingType, home_option, json_option, say, show
from node.cli_completing import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from peers.invite import Invite

_LEAVING: Final = "This removes the network's secret and all keys of its node here. Go on?"
_NAME: Final = SettingType("network.name", "NAME")
_QUIET_ZONE: Final = 2
"""Squares around a QR code: half of what the standard asks for, and all that readers need on a terminal."""


def _options(command: Callable[..., None]) -> Callable[..., None]:
    return home_option(json_option(command))


@click.group(cls=Group)
def network() -> None:
    """Private networks: a name and a secret, shared by an invite."""


@network.command()
@click.argument("name", type=_NAME)
@_options
def create(name: str, home: Path, as_json: bool) -> None:
    """Make a private network and print its invite. Who has the invite is in."""
    from node.networks import UnknownNetworkError, join, network_home
    from peers.invite import Invite
    from peers.networks import SECRET_BYTES, Network

    try:
        network_home(home, name)
    except UnknownNetworkError:
        pass
    else:
        raise MacroVpnError(f"You are in a network {name} already; `macrovpn network invite {name}` invites.")
    invite = Invite(Network(name, secrets.token_bytes(SECRET_BYTES)))
    join(home, invite)
    _show_invite(as_json, invite)
    say(f"Serve here:     macrovpn share --network {name} --role exit --address IP --port 4433 --background")
    say(f"Invite others:  macrovpn network invite {name}")


@network.command(name="join")
@click.argument("invite")
@click.option("--as", "name", type=_NAME, show_default="the invite's", help="Name of the network on this machine.")
@_options
def join_command(invite: str, name: str | None, home: Path, as_json: bool) -> None:
    """Come into a private network. INVITE is its line, or - to read it from standard input."""
    from node.networks import join
    from peers.invite import MAX_TEXT_CHARS, Invite, InviteError
    from peers.networks import Network

    try:
        found = Invite.decode(sys.stdin.read(MAX_TEXT_CHARS + 1) if invite == "-" else invite)
    except InviteError as error:
        raise click.UsageError(str(error)) from error
    if name is not None:
        found = found._replace(network=Network(name, found.network.secret))
    name = found.network.name
    where = join(home, found)
    show(
        as_json,
        {"name": name, "home": str(where), "peers": len(found.peers)},
        f"You are in the network {name}. Use it with:  macrovpn up --network {name}",
    )


@network.command(name="invite")
@click.argument("name", type=_NAME, shell_complete=NETWORKS)
@_options
def invite_command(name: str, home: Path, as_json: bool) -> None:
    """Print a network's invite.

    It names peers that are there now, if a node of the network runs here.
    """
    from node.cli_ask import ask
    from node.client import NoNodeError
    from node.networks import network_home, read_invite
    from peers.invite import Invite

    where = network_home(home, name)
    try:
        invite = Invite.decode(ask(where).invite())
    except NoNodeError:
        kept = read_invite(where)
        assert kept is not None
        invite = kept
        say(f"No node of {name} runs here, so this machine is not in the invite.")
    if not invite.peers:
        say("The invite names no peer. A node that serves with --address IP is in its own invites.")
    _show_invite(as_json, invite)


def _show_invite(as_json: bool, invite: Invite) -> None:
    text = invite.encode()
    code = "" if as_json or not sys.stdout.isatty() else "\n" + _qr_code(text)
    show(as_json, {"name": invite.network.name, "invite": text, "peers": len(invite.peers)}, text + code)


def _qr_code(text: str) -> str:
    """Draw an invite. In capitals it takes a third fewer squares."""
    import segno

    drawn = io.StringIO()
    segno.make_qr(text.upper(), error="l").terminal(drawn, compact=True, border=_QUIET_ZONE)
    return drawn.getvalue()


@network.command(name="list")
@_options
def list_command(home: Path, as_json: bool) -> None:
    """Show the networks that this user is in."""
    from node.files import lock_holder
    from node.networks import FOLDER_NAME, names
    from peers.networks import PUBLIC_NAME

    homes = {PUBLIC_NAME: home} | {name: home / FOLDER_NAME / name for name in names(home)}
    found: list[dict[str, Any]] = [
        {
            "name": name,
            "private": name != PUBLIC_NAME,
            "running": lock_holder(where) is not None,
            "home": str(where),
        }
        for name, where in homes.items()
    ]
    lines = [
        f"{one['name']:<31} {'private' if one['private'] else 'public':<7} {'running' if one['running'] else 'down'}"
        for one in found
    ]
    show(as_json, {"networks": found}, "\n".join(lines))


@network.command(name="leave")
@click.argument("name", type=_NAME, shell_complete=NETWORKS)
@click.option("--yes", is_flag=True, help="Do not ask whether to go on.")
@_options
def leave_command(name: str, yes: bool, home: Path, as_json: bool) -> None:
    """Leave a network.

    Its secret, its node's keys, peers and settings are removed.
    """
    from node.networks import UnknownNetworkError, leave, names

    if name not in names(home):
        raise UnknownNetworkError(name)
    if not yes:
        try:
            click.confirm(_LEAVING, abort=True, err=True)
        except click.Abort as error:
            raise MacroVpnError("Nothing was removed. With --yes nothing is asked.") from error
    leave(home, name)
    show(as_json, {"name": name}, f"You have left the network {name}.")
