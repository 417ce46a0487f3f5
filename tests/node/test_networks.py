"""A user's networks on disk: joined, found, damaged, and left without a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from core.errors import ConfigError, MacroVpnError
from core.ids import PeerKey
from node.config import load
from node.files import HomeLock
from node.networks import UnknownNetworkError, introduce, join, leave, membership, names, network_home, read_invite
from peers.descriptor import Descriptor
from peers.identity import Identity
from peers.invite import Introduction, Invite
from peers.networks import PUBLIC_NAME, Network
from tests.peers.build import NOW, identity, signed

if TYPE_CHECKING:
    from pathlib import Path

HOME = Network("home", bytes([1] * 32))
OTHER = Network("home", bytes([2] * 32))
PEER = Introduction(PeerKey(bytes(32)), bytes(32), ("203.0.113.7", 4433))


def test_a_network_that_was_joined_is_found(tmp_path: Path) -> None:
    base = tmp_path / "base"
    assert names(base) == []
    home = join(base, Invite(HOME, (PEER,)))
    assert home == network_home(base, "home") == base / "networks" / "home"
    assert names(base) == ["home"]
    found = membership(home, load(home).network.name)
    assert (found.network.secret, found.peers) == (HOME.secret, (PEER,))


def test_its_files_are_closed_to_others(tmp_path: Path) -> None:
    base = tmp_path / "base"
    home = join(base, Invite(HOME))
    assert [path.stat().st_mode & 0o77 for path in (base, home, *home.iterdir())] == [0] * 4
    assert (home / "network").read_text() == Invite(HOME).encode() + "\n"


def test_joining_again_renews_the_peers_and_nothing_else(tmp_path: Path) -> None:
    home = join(tmp_path, Invite(HOME))
    (home / "config.toml").write_text('[network]\nname = "home"\n[tunnel]\nhops = 1\n')
    join(tmp_path, Invite(HOME, (PEER,)))
    assert membership(home, "home").peers == (PEER,)
    assert load(home).tunnel.hops == 1


def test_another_network_does_not_take_the_place(tmp_path: Path) -> None:
    home = join(tmp_path, Invite(HOME))
    with pytest.raises(ConfigError, match="another network home already"):
        join(tmp_path, Invite(OTHER))
    assert membership(home, "home").network.secret == HOME.secret


def test_the_public_name_is_taken(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="public network"):
        join(tmp_path, Invite(Network(PUBLIC_NAME, bytes(32))))
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["nope", "", "..", "../networks/home", "/", "HOME", "a" * 300])
def test_unknown_names_lead_nowhere(tmp_path: Path, name: str) -> None:
    join(tmp_path, Invite(HOME))
    with pytest.raises(UnknownNetworkError):
        network_home(tmp_path, name)
    with pytest.raises(UnknownNetworkError):
        leave(tmp_path, name)
    assert names(tmp_path) == ["home"]


def test_a_home_without_an_invite_is_of_the_public_network(tmp_path: Path) -> None:
    assert read_invite(tmp_path) is None
    found = membership(tmp_path, PUBLIC_NAME)
    assert (found.network.name, found.network.is_private, found.peers) == ("main", False, ())


def test_a_private_home_never_becomes_public(tmp_path: Path) -> None:
    """Neither when the invite is gone, nor when the setting is."""
    home = join(tmp_path, Invite(HOME))
    (home / "config.toml").unlink()
    with pytest.raises(ConfigError, match="belongs to the network home"):
        membership(home, load(home).network.name)
    (home / "network").unlink()
    with pytest.raises(ConfigError, match="no invite to the network home"):
        membership(home, "home")


@pytest.mark.parametrize("data", [b"", b"\xff" * 40, b"macrovpn1:aaaa\n", b"x" * 5000])
def test_a_damaged_invite_is_an_error_and_not_a_crash(tmp_path: Path, data: bytes) -> None:
    home = join(tmp_path, Invite(HOME))
    (home / "network").write_bytes(data)
    with pytest.raises(ConfigError, match="this invite is damaged"):
        network_home(tmp_path, "home")
    (home / "network").unlink()
    join(tmp_path, Invite(HOME))
    assert network_home(tmp_path, "home") == home


def test_every_cut_of_the_file_is_found(tmp_path: Path) -> None:
    home = join(tmp_path, Invite(HOME, (PEER,)))
    whole = (home / "network").read_bytes()
    for size in range(len(whole) - 1):
        (home / "network").write_bytes(whole[:size])
        with pytest.raises(ConfigError):
            read_invite(home)


def test_an_invite_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    home = join(tmp_path, Invite(HOME))
    (home / "network").chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_invite(home)


def test_leaving_removes_everything(tmp_path: Path) -> None:
    home = join(tmp_path, Invite(HOME))
    Identity.load(home / "keys")
    (home / "peers").write_bytes(b"descriptors")
    leave(tmp_path, "home")
    assert not home.exists()
    assert names(tmp_path) == []


def test_secrets_are_overwritten_first(tmp_path: Path) -> None:
    home = join(tmp_path, Invite(HOME))
    Identity.load(home / "keys")
    for name in ("network", "keys/peer.key"):
        (tmp_path / name.replace("/", "-")).hardlink_to(home / name)
    leave(tmp_path, "home")
    for name in ("network", "keys-peer.key"):
        assert set((tmp_path / name).read_bytes()) == {0}


def test_a_network_in_use_is_not_left(tmp_path: Path) -> None:
    home = join(tmp_path, Invite(HOME))
    lock = HomeLock(home)
    lock.acquire()
    try:
        with pytest.raises(MacroVpnError, match="macrovpn down --network home"):
            leave(tmp_path, "home")
    finally:
        lock.release()
    assert names(tmp_path) == ["home"]


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "networks").write_text("in the way")
    with pytest.raises(MacroVpnError, match="cannot be"):
        join(tmp_path, Invite(HOME))


def test_peers_without_an_address_are_not_introduced() -> None:
    descriptors = [Descriptor.decode(signed(number), NOW) for number in range(1, 6)]
    refused = descriptors[1].addresses[0][0]
    found = introduce(descriptors, lambda host: host != refused)
    assert [one.peer for one in found] == [identity(number).peer for number in (1, 3, 4)]
    assert all(one.link_key == identity(number).link_key for one, number in zip(found, (1, 3, 4), strict=True))
    assert introduce(descriptors, lambda host: False) == ()
