"""`macrovpn pair` and `macrovpn dashboard`: how a browser gets to ask the running node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from core.errors import MacroVpnError
from node.cli_common import Command, common, plain, say, show
from node.cli_completing import PAIRINGS

if TYPE_CHECKING:
    from pathlib import Path

_ALL: Final = "all"


@click.command(cls=Command)
@common
@click.option("--list", "listing", is_flag=True, help="Show the paired browsers.")
@click.option(
    "--revoke",
    "revoked",
    multiple=True,
    metavar="ID",
    shell_complete=PAIRINGS,
    help='End a pairing; "all" for each. Repeatable.',
)
def pair(home: Path, as_json: bool, listing: bool, revoked: tuple[str, ...]) -> None:
    """Print a code for the browser extension. It lets one browser ask this node, until that is revoked."""
    if listing and revoked:
        raise click.UsageError("--list and --revoke are two wishes; say one.")
    if revoked:
        _revoke(home, revoked)
    if listing or revoked:
        left = _pairings(home)
        lines = [f"{paired['id']}  {plain(paired['origin'])}" for paired in left]
        show(as_json, {"pairings": left, "revoked": list(revoked)}, "\n".join(lines) or "No browser is paired.")
        return
    from node.cli_ask import ask

    client = ask(home)
    made = client.code("extension")
    code = f"{client.url.rpartition(':')[2]}-{made['code']}"
    text = (
        f"{code}\n"
        f"Type this code into the extension within {made['valid_s']} seconds. It counts once, and for one browser."
    )
    show(as_json, {"code": code, "valid_s": made["valid_s"]}, text)


def _pairings(home: Path) -> list[dict[str, Any]]:
    from node.cli_ask import ask
    from node.client import NoNodeError
    from node.control.pairing import Pairings

    try:
        return ask(home).pairings()
    except NoNodeError:
        return [{"id": paired.id, "origin": paired.origin} for paired in Pairings(home)]


def _revoke(home: Path, names: tuple[str, ...]) -> None:
    from node.cli_ask import ask
    from node.client import NoNodeError
    from node.control.pairing import Pairings

    known = [paired["id"] for paired in _pairings(home)]
    wanted = known if _ALL in names else list(dict.fromkeys(names))
    if missing := [name for name in wanted if name not in known]:
        raise MacroVpnError(f"No browser is paired under {plain(missing[0])}. `macrovpn pair --list` shows the ids.")
    for name in wanted:
        try:
            ask(home).revoke(name)
        except NoNodeError:
            Pairings(home).revoke(name)


@click.command(cls=Command)
@common
@click.option("--print", "only_print", is_flag=True, help="Print the address, and open nothing.")
def dashboard(home: Path, as_json: bool, only_print: bool) -> None:
    """Open the dashboard of the running node in a browser."""
    from node.cli_ask import ask

    client = ask(home)
    made = client.code("page")
    url = f"{client.url}/#{made['code']}"
    if not (only_print or as_json):
        if _open(home, url):
            click.echo("The dashboard opens in a browser. If it does not: macrovpn dashboard --print")
            return
        say("No browser could be started. Open this address in one:")
    show(as_json, {"url": url, "valid_s": made["valid_s"]}, url)


def _open(home: Path, url: str) -> bool:
    """Open an address that holds a secret in the user's browser.

    The browser is told of a file that only this user can read: arguments of a process are seen by all users.
    """
    import webbrowser

    from node.files import write_private

    page = home / "dashboard.html"
    try:
        write_private(
            page, f'<!doctype html><meta http-equiv="refresh" content="0;url={url}"><a href="{url}">go on</a>'
        )
    except OSError as error:
        raise MacroVpnError(f"The file {page} cannot be written: {error.strerror}.") from error
    return webbrowser.open(page.as_uri())
