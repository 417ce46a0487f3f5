"""`macrovpn trust`: the networks on which what no rule names goes direct."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from core.errors import MacroVpnError
from node.cli_common import Group, common, plain, show, usage
from node.cli_completing import TRUSTED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pac.trusted import Attachment, TrustedNetwork


class NoNetworkError(MacroVpnError):
    """It cannot be told which network this machine is on."""

    def __init__(self) -> None:
        super().__init__(
            "It cannot be told which network this is: this machine is on none, on two, or on one without a router."
        )


@click.group(cls=Group)
def trust() -> None:
    """Trusted networks, where sites are reached directly.

    What anybody can imitate, such as a gateway's address or the name of a Wi-Fi, only asks: `macrovpn trust confirm`. A
    network is trusted by itself when the system had it prove the password or the certificate of its profile.
    """


@trust.command("list")
@common
def list_command(home: Path, as_json: bool) -> None:
    """Show the trusted networks."""
    networks = _saved(home)
    lines = [f"{network}{'' if _proves(network) else '   (asks)'}" for network in networks]
    show(as_json, {"networks": [_row(network) for network in networks]}, "\n".join(lines) or "No network is trusted.")


@trust.command()
@common
@click.argument("name")
def add(name: str, home: Path, as_json: bool) -> None:
    """Trust the network that this machine is on, and call it NAME."""
    from node.config_edit import locked
    from pac.trusted import TrustedNetwork, check_name

    with usage():
        check_name(name, "NAME")
    here = _here()
    if here is None:
        raise NoNetworkError
    network = TrustedNetwork.of(name, here)
    with locked(home):
        _save(home, [*_saved(home), network])
    _tell(home)
    text = f"Trusted: {network}"
    if not _proves(network):
        text += "\nAnybody can imitate these signs, so each time you are asked: macrovpn trust confirm"
    show(as_json, _row(network), text)


@trust.command()
@common
@click.argument("name", shell_complete=TRUSTED)
def remove(name: str, home: Path, as_json: bool) -> None:
    """Trust a network no longer."""
    from node.config_edit import locked

    with locked(home):
        saved = _saved(home)
        left = [network for network in saved if network.name != name]
        if len(left) == len(saved):
            raise MacroVpnError(f"No trusted network is called {plain(name)}. `macrovpn trust list` shows all.")
        _save(home, left)
    _tell(home)
    show(as_json, {"name": name}, f"{name} is trusted no longer.")


@trust.command()
@common
def confirm(home: Path, as_json: bool) -> None:
    """Say that the present network is what it looks like. It counts until this machine leaves it, or the node stops."""
    from node.cli_ask import ask
    from node.trust.watch import sentence

    status = ask(home).confirm_trust()
    show(as_json, status, plain(sentence(status)))


@trust.command()
@common
def here(home: Path, as_json: bool) -> None:
    """Show the network that this machine is on."""
    from pac.trusted import Standing, judge

    found = _here()
    saved = _saved(home)
    standing, name = (Standing.UNKNOWN, "") if found is None else judge(saved, found)
    answer: dict[str, Any] = {"looks_like": name, "proved": standing is Standing.TRUSTED, "network": None}
    if found is None:
        show(as_json, answer, str(NoNetworkError()))
        return
    network = {
        "interface": found.interface,
        "gateway": found.gateway,
        "mac": found.mac,
        "ssid": found.ssid.decode("utf-8", "replace"),
        "security": found.security.value,
        "profile": found.profile,
    }
    lines = [f"{sign:<10} {plain(value)}" for sign, value in network.items() if value]
    if name:
        lines.append(f"This {'is' if answer['proved'] else 'looks like'} {plain(name)}.")
    show(as_json, answer | {"network": network}, "\n".join(lines))


def _here() -> Attachment | None:
    import asyncio

    from node.trust.reader import read_once

    return asyncio.run(read_once())


def _saved(home: Path) -> Sequence[TrustedNetwork]:
    from node.config import load
    from pac.trusted import parse_networks

    return parse_networks(load(home).trust.networks)


def _save(home: Path, networks: Sequence[TrustedNetwork]) -> None:
    """Write the networks into the settings."""
    from node.config_edit import write_value

    write_value(home, "trust.networks", tuple(str(network) for network in networks))


def _tell(home: Path) -> None:
    """Have a running node take them."""
    from node.cli_ask import told

    told(home, "trusted networks", lambda node: node.reload_trust())


def _proves(network: TrustedNetwork) -> bool:
    from pac.trusted import Security

    return network.security is not Security.NONE


def _row(network: TrustedNetwork) -> dict[str, Any]:
    return {"name": network.name, "text": str(network), "asks": not _proves(network)}
