"""The networks of one user. The public one lives in the user's home, each private one in a home of its own below it.

So everything that a node keeps or is set to is a network's own: its keys, its peers, its guards, its port, what it
shares. A file in the home says which network it belongs to: an invite, as `peers.invite` writes it.
"""

from __future__ import annotations

import shutil
import stat
from typing import TYPE_CHECKING, Final

from core.errors import ConfigError, MacroVpnError
from node.config import CONFIG_NAME
from node.config_edit import format_file
from node.files import KEYS_NAME, lock_holder, make_home
from peers.files import OTHERS, read_bounded, write_private
from peers.invite import MAX_PEERS, MAX_TEXT_CHARS, Introduction, Invite, InviteError
from peers.key_files import erase
from peers.networks import PUBLIC_NAME, Network, is_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from core.ids import PeerKey
    from peers.descriptor import Descriptor

FOLDER_NAME: Final = "networks"
INVITE_NAME: Final = "network"


class UnknownNetworkError(MacroVpnError):
    """A network that this user has not joined.

    Args:
        name: how it was called.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            f"You are in no private network {name!r}. `macrovpn network list` shows those that you are in."
        )


def network_home(base: Path, name: str) -> Path:
    """The home of a private network that was joined.

    Args:
        base: the user's home.
        name: the network's.

    Raises:
        UnknownNetworkError: it was not joined here.
        ConfigError: its invite cannot be used.
    """
    home = base / FOLDER_NAME / name
    if not is_name(name) or read_invite(home) is None:
        raise UnknownNetworkError(name)
    return home


def names(base: Path) -> list[str]:
    """The private networks that were joined, in alphabetical order."""
    return sorted(path.parent.name for path in (base / FOLDER_NAME).glob(f"*/{INVITE_NAME}"))


def join(base: Path, invite: Invite) -> Path:
    """Make the home of a private network, or renew the peers to begin with in one that was made before.

    Args:
        base: the user's home.
        invite: what to keep.

    Returns:
        The network's home.

    Raises:
        ConfigError: there is another network of this name.
        MacroVpnError: the folder cannot be made.
    """
    name = invite.network.name
    if name == PUBLIC_NAME:
        raise ConfigError("network", f"{PUBLIC_NAME} is the public network; choose another name")
    home = base / FOLDER_NAME / name
    kept = read_invite(home)
    if kept is not None and kept.network.secret != invite.network.secret:
        raise ConfigError("network", f"you are in another network {name} already; choose another name")
    for folder in (base, home.parent, home):  # each closed to others, whatever the umask
        home = make_home(folder)
    try:
        if not (home / CONFIG_NAME).exists():
            write_private(home / CONFIG_NAME, format_file({"network": {"name": name}}).encode())
        write_private(home / INVITE_NAME, f"{invite.encode()}\n".encode("ascii"))
    except OSError as error:
        raise MacroVpnError(f"The network cannot be kept in {home}: {error.strerror}.") from error
    return home


def leave(base: Path, name: str) -> None:
    """Remove a private network with all that its node kept.

    Args:
        base: the user's home.
        name: the network's.

    Raises:
        UnknownNetworkError: it was not joined here.
        MacroVpnError: its node runs, or a file cannot be removed.
    """
    home = base / FOLDER_NAME / name
    if not is_name(name) or not (home / INVITE_NAME).exists():
        raise UnknownNetworkError(name)
    if lock_holder(home) is not None:
        raise MacroVpnError(f"The network's node runs. Stop it with `macrovpn down --network {name}`.")
    try:
        for secret in (*(home / KEYS_NAME).glob("*.key"), home / INVITE_NAME):
            erase(secret)
        shutil.rmtree(home)
    except OSError as error:
        raise MacroVpnError(f"{home} cannot be removed: {error.strerror}.") from error


def read_invite(home: Path) -> Invite | None:
    """Read which private network a home belongs to.

    Returns:
        Its invite; None if the home belongs to none.

    Raises:
        ConfigError: the file is damaged, open to others, or no plain file.
    """
    path = home / INVITE_NAME
    try:
        data, mode = read_bounded(path, MAX_TEXT_CHARS)
        if stat.S_IMODE(mode) & OTHERS:
            raise ConfigError(str(path), "this file is as good as a key and open to others; run chmod 600 on it")
        return Invite.decode(data.decode("ascii"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(str(path), "this file cannot be read; it must be a plain file of yours") from error
    except (UnicodeDecodeError, InviteError) as error:
        raise ConfigError(str(path), "this invite is damaged; remove the file, and join with a new one") from error


def membership(home: Path, name: str) -> Invite:
    """The network of a node, and peers to begin with.

    A home that has lost its invite must not become one of the public network in silence, nor the other way round.

    Args:
        home: the node's folder.
        name: the setting `network.name`.

    Raises:
        ConfigError: setting and invite do not name the same network, or the invite cannot be used.
    """
    invite = read_invite(home)
    if invite is None and name == PUBLIC_NAME:
        return Invite(Network(PUBLIC_NAME))
    if invite is None:
        raise ConfigError("network.name", f"there is no invite to the network {name} in {home}")
    if invite.network.name != name:
        raise ConfigError("network.name", f"{home} belongs to the network {invite.network.name}, so it must be that")
    return invite


def introduce(descriptors: Iterable[Descriptor], address_ok: Callable[[str], bool]) -> tuple[Introduction, ...]:
    """Pick peers for an invite.

    Args:
        descriptors: the preferred first.
        address_ok: whether a peer may be dialled at an IP literal.

    Returns:
        The first few that have an address.
    """
    found: dict[PeerKey, Introduction] = {}
    for one in descriptors:
        address = next((pair for pair in one.addresses if address_ok(pair[0])), None)
        if address is not None and len(found) < MAX_PEERS:
            found.setdefault(one.peer, Introduction(one.peer, one.link_key, address))
    return tuple(found.values())
