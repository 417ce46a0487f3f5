"""Settings: what is refused, with which sentence, and which source wins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError
from ledger.wallet_key import VARIABLE
from node.config import check, load
from node.settings import FIELDS, Settings, join_endpoint, split_endpoint

if TYPE_CHECKING:
    from pathlib import Path

PEER = "/ip4/127.20.0.1/udp/41001/quic-v1/p2p/12D3KooWAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


def write(home: Path, text: str) -> None:
    (home / "config.toml").write_text(text, encoding="utf-8")


def refused(home: Path, text: str) -> str:
    """Load a file that must be refused, and return the sentence without the folder."""
    write(home, text)
    with pytest.raises(ConfigError) as caught:
        load(home, environ={})
    return str(caught.value).replace(f"{home}/", "")


def test_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path, environ={})
    assert settings == Settings()
    assert settings.node.roles == ("client",)
    assert settings.proxy.endpoint == ("127.0.0.1", 1080)
    assert settings.tunnel.path_hops == 3
    assert settings.peers.diversity
    assert settings.bypass.presets == ("local",)


def test_every_setting_is_read(tmp_path: Path) -> None:
    write(
        tmp_path,
        f"""
        [node]
        roles = ["relay", "exit"]
        engine = "aioquic"
        region = "NL"
        [proxy]
        listen = "[::1]:0"
        [tunnel]
        mode = "speed"
        [peers]
        port = 4433
        address = "127.20.0.1"
        bootstrap = ["{PEER}"]
        allow_addresses = ["127.0.0.0/8", "fd00::/8"]
        diversity = false
        [exit]
        allow_destinations = ["127.0.0.0/8"]
        resolver = "127.0.0.1:53"
        egress_address = "127.22.0.1"
        policy = "web"
        [bypass]
        rules = [".example.org"]
        presets = []
        [control]
        port = 41081
        """,
    )
    settings = load(tmp_path, environ={})
    assert settings.node.roles == ("relay", "exit")
    assert settings.proxy.endpoint == ("::1", 0)
    assert settings.tunnel.path_hops == 2
    assert settings.peers.bootstrap == (PEER,)
    assert not settings.peers.diversity
    assert settings.exit.policy == "web"
    assert settings.bypass.presets == ()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            '[proxy]\n# a comment\nlisten = "1.2.3.4"\n',
            'config.toml, line 3: proxy.listen must be an IP address and a port, such as "127.0.0.1:1080".',
        ),
        (
            "[tunnel]\nhops = 3\nmod = 1\n",
            "config.toml, line 3: there is no setting tunnel.mod; tunnel.mode is the nearest.",
        ),
        (
            "[node]\n\n[tunel]\nhops = 3\n",
            "config.toml, line 3: tunel is not one of the sections node, network, proxy, tunnel, peers, exit, sharing, "
            "bypass, trust, payments, control.",
        ),
        ("hops = 3\n", "config.toml, line 1: hops is not one of the sections"),
        (
            "[payments]\ntariff = 2\n",
            'config.toml, line 2: nobody can pay it while payments.settlement is "off"; set that to "local" or "evm"',
        ),
        (
            '[payments]\nsettlement = "evm"\nrpc = "http://127.0.0.1:8545"\n',
            'payments.contract: it must be set while payments.settlement is "evm"',
        ),
        ('[payments]\nrpc = "ftp://127.0.0.1"\n', "config.toml, line 2: payments.rpc must be the address of a node"),
        ('[payments]\ncontract = "0x12"\n', "config.toml, line 2: payments.contract must be the address of the"),
        ("[payments]\ndeposit = 0.0\n", "config.toml, line 2: payments.deposit must be an amount in coins"),
        ('[tunnel]\nhops = "3"\n', "config.toml, line 2: tunnel.hops must be a number of hops, 1 to 5, or 0"),
        ("[tunnel]\nhops = 6\n", "config.toml, line 2: tunnel.hops must be"),
        ("[tunnel]\nhops = true\n", "config.toml, line 2: tunnel.hops must be"),
        ('[node]\nroles = ["client", "client"]\n', "config.toml, line 2: node.roles must be a list of different roles"),
        ("[node]\nroles = []\n", "config.toml, line 2: node.roles must be"),
        ('[node]\nroles = ["boss"]\n', "config.toml, line 2: node.roles must be"),
        ('[node]\nregion = "nl"\n', 'config.toml, line 2: node.region must be a country code, such as "NL"'),
        ('[node]\noperator = "a\\nb"\n', "config.toml, line 2: node.operator must be a name of at most 32 bytes"),
        (
            '[tunnel]\nregions = ["NL", "NL"]\n',
            "config.toml, line 2: tunnel.regions must be a list of different country",
        ),
        ('[tunnel]\nexcluded_regions = ["x"]\n', "config.toml, line 2: tunnel.excluded_regions must be a list of"),
        ("[tunnel]\nmax_tariff = 8\n", "config.toml, line 2: tunnel.max_tariff must be a tariff step, 0 to 7"),
        (
            "[tunnel]\nmax_tariff = 2\nmin_tariff = 3\n",
            "config.toml, line 3: it is above tunnel.max_tariff, 2, so nobody would do",
        ),
        (
            "[tunnel]\nmin_tariff = 1\n",
            "config.toml, line 2: only peers that ask for money would do, and payments are off",
        ),
        ("[tunnel]\nspread = 0\n", "config.toml, line 2: tunnel.spread must be a number of circuits"),
        ("[tunnel]\nspread = 5\n", "config.toml, line 2: tunnel.spread must be a number of circuits"),
        ("[peers]\nport = 65536\n", "config.toml, line 2: peers.port must be a port number, 0 to 65535"),
        ('[peers]\nallow_addresses = ["127.0.0.1/8"]\n', "config.toml, line 2: peers.allow_addresses must be a list"),
        ('[peers]\nbootstrap = ["/ip4/1.2.3.4/udp/1/quic-v1"]\n', "config.toml, line 2: peers.bootstrap must be"),
        ('[peers]\ndiversity = "yes"\n', "config.toml, line 2: peers.diversity must be true or false."),
        ('[exit]\nresolver = "dns.example:53"\n', "config.toml, line 2: exit.resolver must be the IP address and port"),
        (
            '[exit]\nresolver = "tls://dns.example"\n',
            "config.toml, line 2: exit.resolver must be the IP address and port",
        ),
        ('[bypass]\npresets = ["x"]\n', "config.toml, line 2: bypass.presets must be a list of presets"),
        (
            '[trust]\nnetworks = ["home: security=wpa"]\n',
            "config.toml, line 2: trust.networks must be a list of networks",
        ),
        ('[bypass]\nrules = ["a b"]\n', "config.toml, line 2: bypass.rules must be a list of rules"),
        ("[node]\nengine = \n", "config.toml, line 2: this is not TOML: Invalid value."),
        ("[node]\nengine = [\n", "config.toml, line 2: this is not TOML"),
        ('[proxy]\nearly = "maybe"\n', 'config.toml, line 2: proxy.early must be one of "auto", "always" and "never"'),
        ('[proxy]\nlisten = "0.0.0.0:1080"\n', "config.toml, line 2: proxy.listen is not a loopback address"),
        ("tunnel.hops = 9\n", "config.toml, line 1: tunnel.hops must be"),
    ],
)
def test_what_is_wrong_is_refused_with_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    assert sentence in refused(tmp_path, text)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="this is not UTF-8 text"):
        load(tmp_path, environ={})
    (tmp_path / "config.toml").unlink()
    (tmp_path / "config.toml").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path, environ={})


def test_an_address_for_others_needs_a_password(tmp_path: Path) -> None:
    write(tmp_path, '[proxy]\nlisten = "0.0.0.0:1080"\npassword = "long and secret"\n')
    assert load(tmp_path, environ={}).proxy.endpoint == ("0.0.0.0", 1080)
    with pytest.raises(ConfigError, match=r"MACROVPN_PROXY_PASSWORD|proxy\.listen"):
        load(tmp_path, environ={"MACROVPN_PROXY_PASSWORD": ""})


def test_file_then_environment_then_flags(tmp_path: Path) -> None:
    write(tmp_path, '[tunnel]\nmode = "speed"\nhops = 1\n[peers]\nport = 1\n')
    environ = {"MACROVPN_TUNNEL_HOPS": "2", "MACROVPN_PEERS_PORT": "2", "PATH": "/bin"}
    settings = load(tmp_path, {"peers.port": 3}, environ)
    assert (settings.tunnel.mode, settings.tunnel.hops, settings.peers.port) == ("speed", 2, 3)


def test_the_environment_has_lists_numbers_and_switches(tmp_path: Path) -> None:
    environ = {
        "MACROVPN_NODE_ROLES": "relay, exit",
        "MACROVPN_PEERS_ALLOW_ADDRESSES": '["127.0.0.0/8"]',
        "MACROVPN_PEERS_BOOTSTRAP": "",
        "MACROVPN_PEERS_DIVERSITY": "false",
        "MACROVPN_PROXY_PASSWORD": "a,b",
    }
    settings = load(tmp_path, environ=environ)
    assert settings.node.roles == ("relay", "exit")
    assert settings.peers.allow_addresses == ("127.0.0.0/8",)
    assert settings.peers.bootstrap == ()
    assert not settings.peers.diversity
    assert settings.proxy.password == "a,b"


@pytest.mark.parametrize(
    ("variable", "text", "sentence"),
    [
        ("MACROVPN_TUNNEL_HOPS", "many", "MACROVPN_TUNNEL_HOPS: tunnel.hops must be a number of hops"),
        ("MACROVPN_TUNNEL_HOP", "3", "MACROVPN_TUNNEL_HOP: there is no setting tunnel.hop; tunnel.hops is the nearest"),
        ("MACROVPN_PEERS_BOOTSTRAP", "[", "MACROVPN_PEERS_BOOTSTRAP: peers.bootstrap must be a list"),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, variable: str, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, environ={variable: text})
    assert sentence in str(caught.value)


def test_reserved_variables_are_no_settings(tmp_path: Path) -> None:
    assert load(tmp_path, environ={"MACROVPN_PARENT_FD": "5", "MACROVPN_HOME": "/x"}) == Settings()


def test_a_wrong_file_is_refused_although_a_flag_would_replace_it(tmp_path: Path) -> None:
    write(tmp_path, "[tunnel]\nhops = 9\n")
    with pytest.raises(ConfigError):
        load(tmp_path, {"tunnel.hops": 3}, {})


def test_flags_are_checked_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tunnel\.hops: it must be a number of hops"):
        load(tmp_path, {"tunnel.hops": 6}, {})


@given(name=st.sampled_from(sorted(FIELDS)), text=st.text(max_size=40))
def test_any_text_is_a_right_value_or_a_config_error(name: str, text: str) -> None:
    try:
        value = check(name, text, "here", text=True)
    except ConfigError:
        return
    assert check(name, value, "here") == value


@given(st.ip_addresses(), st.integers(0, 65535))
def test_endpoints_round_trip(address: object, port: int) -> None:
    text = join_endpoint(str(address), port)
    assert join_endpoint(*split_endpoint(text)) == text


@pytest.mark.parametrize("text", ["", ":", "1080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "::1:80", "[::1]", "h:1"])
def test_what_is_no_endpoint(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        split_endpoint(text)


def test_a_wallets_key_in_the_environment_is_no_setting(tmp_path: Path) -> None:
    assert load(tmp_path, environ={VARIABLE: "11" * 32}) == load(tmp_path, environ={})
