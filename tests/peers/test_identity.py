from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigError, DecodeError
from core.ids import PeerKey
from peers.identity import LINK_FILE, SIGNING_FILE, Identity, parse_peer_id, peer_id
from peers.onion import OnionKeys

if TYPE_CHECKING:
    from pathlib import Path

# The Ed25519 key of libp2p's specification "Peer Ids and Keys", section "Test vectors", and its id.
LIBP2P_KEY = PeerKey(bytes.fromhex("1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"))
LIBP2P_ID = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_peer_id_of_the_published_key() -> None:
    assert peer_id(LIBP2P_KEY) == LIBP2P_ID
    assert parse_peer_id(LIBP2P_ID) == LIBP2P_KEY


@settings(deadline=None)
@given(st.binary(min_size=32, max_size=32))
def test_every_key_has_one_name(key: bytes) -> None:
    text = peer_id(PeerKey(key))
    assert len(text) == 52
    assert text.startswith("12D3Koo")
    assert parse_peer_id(text) == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        LIBP2P_ID[:-1],
        LIBP2P_ID + "q",
        LIBP2P_ID[:-1] + " ",
        LIBP2P_ID[:-1] + "0",  # not in the alphabet
        LIBP2P_ID[:-1] + "é",
        "1" + LIBP2P_ID[:-1],
        "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",  # the id of an RSA key
        "z" * 52,
        "1" * 52,
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        parse_peer_id(text)


@settings(deadline=None)
@given(st.text(min_size=48, max_size=56) | st.text(alphabet="12D3KooWzZ", min_size=52, max_size=52))
def test_arbitrary_text_raises_only_what_is_documented(text: str) -> None:
    try:
        key = parse_peer_id(text)
    except DecodeError:
        return
    assert peer_id(key) == text


def test_keys_are_made_once_and_read_again(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "keys"
    first = Identity.load(folder)
    second = Identity.load(folder)
    assert (first.peer, first.link_key) == (second.peer, second.link_key)
    assert mode(folder) == 0o700
    assert {path.name: mode(path) for path in folder.iterdir()} == {SIGNING_FILE: 0o600, LINK_FILE: 0o600}


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Identity.load(tmp_path / "keys")
    finally:
        os.umask(before)
    assert mode(tmp_path / "keys") == 0o700
    assert mode(tmp_path / "keys" / SIGNING_FILE) == 0o600


def test_a_signature_is_made_with_the_peers_key() -> None:
    identity = Identity.ephemeral()
    Ed25519PublicKey.from_public_bytes(identity.peer).verify(identity.sign(b"text"), b"text")
    assert parse_peer_id(identity.peer_id) == identity.peer


def test_ephemeral_keys_are_all_fresh() -> None:
    one, other = Identity.ephemeral(), Identity.ephemeral()
    assert len({one.peer, one.link_key, other.peer, other.link_key}) == 4


def test_repr_shows_no_key() -> None:
    identity = Identity.ephemeral()
    assert repr(identity) == f"Identity({identity.peer[:4].hex()})"


@pytest.mark.parametrize("name", [SIGNING_FILE, LINK_FILE])
@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o601])
def test_a_key_file_open_to_others_is_refused(tmp_path: Path, name: str, bits: int) -> None:
    Identity.load(tmp_path / "keys")
    (tmp_path / "keys" / name).chmod(bits)
    with pytest.raises(ConfigError, match="chmod 600"):
        Identity.load(tmp_path / "keys")


@pytest.mark.parametrize("bits", [0o750, 0o705, 0o711])
def test_a_folder_open_to_others_is_refused(tmp_path: Path, bits: int) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    folder.chmod(bits)
    with pytest.raises(ConfigError, match="chmod 700"):
        Identity.load(folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("size", [0, 31, 33, 1000])
def test_a_key_file_of_another_length_is_refused(tmp_path: Path, size: int) -> None:
    Identity.load(tmp_path / "keys")
    (tmp_path / "keys" / LINK_FILE).write_bytes(bytes(size))
    with pytest.raises(ConfigError, match="32 bytes"):
        Identity.load(tmp_path / "keys")
    assert (tmp_path / "keys" / LINK_FILE).stat().st_size == size


def test_a_symbolic_link_or_a_pipe_is_no_key_file(tmp_path: Path) -> None:
    Identity.load(tmp_path / "keys")
    path = tmp_path / "keys" / SIGNING_FILE
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="plain file"):
        Identity.load(tmp_path / "keys")
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(ConfigError, match="plain file"):
        Identity.load(tmp_path / "keys")


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"")
    with pytest.raises(ConfigError, match="folder of keys"):
        Identity.load(tmp_path / "keys")


def test_a_new_name_never_takes_old_keys(tmp_path: Path) -> None:
    before = Identity.load(tmp_path / "keys")
    OnionKeys(tmp_path / "keys", 0, 0.0)
    (tmp_path / "keys" / SIGNING_FILE).unlink()
    after = Identity.load(tmp_path / "keys")
    assert after.peer != before.peer
    assert after.link_key != before.link_key
    assert {path.name for path in (tmp_path / "keys").iterdir()} == {SIGNING_FILE, LINK_FILE}


def test_an_old_name_gets_a_missing_key_anew(tmp_path: Path) -> None:
    before = Identity.load(tmp_path / "keys")
    (tmp_path / "keys" / LINK_FILE).unlink()
    after = Identity.load(tmp_path / "keys")
    assert after.peer == before.peer
    assert after.link_key != before.link_key
