"""Rules and presets."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError
from core.ports import MAX_SUMMARY_BYTES, ServedPorts
from exits.policy import MAX_RULES, PRESETS, Policy

WEB = ip_address("93.184.215.14")
V6 = ip_address("2606:4700::1111")

port_numbers = st.integers(1, 65535)
general_rules = st.lists(
    st.builds(
        lambda verb, low, high: f"{verb} *:{min(low, high)}-{max(low, high)}",
        st.sampled_from(["accept", "reject"]),
        port_numbers,
        port_numbers,
    )
    | st.builds(lambda verb, port: f"{verb} *:{port}", st.sampled_from(["accept", "reject"]), port_numbers),
    max_size=60,
).map("\n".join)


def says_yes(summary: str, port: int) -> bool:
    """Read a summary, and check that clients read the same."""
    sign, text = summary[0], summary[1:]
    ranges = [part.partition("-") for part in text.split(",")]
    listed = any(int(low) <= port <= int(high or low) for low, _, high in ranges)
    served = listed is (sign == "+")
    assert (port in ServedPorts.read(summary.encode())) is served
    return served


def test_first_match_decides() -> None:
    policy = Policy.parse("reject *:25\naccept *:20-30\nreject *:26\naccept 93.184.215.14:*")
    assert not policy.allows(WEB, 25)
    assert policy.allows(WEB, 26)
    assert policy.allows(V6, 30)
    assert policy.allows(WEB, 31)
    assert not policy.allows(V6, 31)


def test_what_no_rule_matches_is_rejected() -> None:
    assert not Policy(()).allows(WEB, 443)
    assert not Policy(()).may_allow("example.com", 443)
    assert not Policy.parse("accept *:443").allows(WEB, 80)


def test_networks() -> None:
    policy = Policy.parse("accept 203.0.113.0/24:8000-9000\naccept [2606:4700::/32]:443,8443\naccept [::1]:1")
    assert policy.allows(ip_address("203.0.113.255"), 8000)
    assert policy.allows(ip_address("::ffff:203.0.113.7"), 9000)
    assert policy.allows(V6, 8443)
    assert policy.allows(ip_address("::1"), 1)
    for address, port in (
        ("203.0.113.1", 7999),
        ("203.0.113.1", 9001),
        ("203.0.114.1", 8000),
        ("2606:4701::", 443),
        ("::2", 1),
    ):
        assert not policy.allows(ip_address(address), port)


def test_names() -> None:
    policy = Policy.parse("reject bad.example.com:*\nreject *.ads.example:*  # below only\naccept *:443")
    assert not policy.allows(WEB, 443, "bad.example.com")
    assert not policy.allows(WEB, 443, "a.b.ads.example")
    assert policy.allows(WEB, 443, "ads.example")
    assert policy.allows(WEB, 443, "badads.example")
    assert policy.allows(WEB, 443, "verybad.example.com")
    assert policy.allows(WEB, 443)


def test_a_name_is_refused_early_only_if_no_address_could_pass() -> None:
    policy = Policy.parse(
        "reject no.example:*\nreject 10.0.0.0/8:80\naccept 203.0.113.0/24:8000\nreject *:8000\naccept *:80"
    )
    assert not policy.may_allow("no.example", 80)
    assert policy.may_allow("yes.example", 80)
    assert policy.may_allow("yes.example", 8000)
    assert not policy.may_allow("yes.example", 8001)
    assert policy.allows(ip_address("203.0.113.1"), 8000, "yes.example")
    assert not policy.allows(WEB, 8000, "yes.example")


@given(general_rules, port_numbers)
def test_early_answer_is_the_answer_when_no_rule_names_a_network(text: str, port: int) -> None:
    policy = Policy.parse(text)
    assert policy.may_allow("example.com", port) is policy.allows(WEB, port, "example.com")


def test_default_preset() -> None:
    policy = Policy.preset("default")
    for port in (1, 22, 53, 80, 443, 465, 587, 993, 6697, 8080, 51413, 65535):
        assert policy.allows(WEB, port)
    for port in (23, 25, 119, 135, 139, 445, 563, 2323, 3389, 5060, 5061, 5555, 6881, 6999):
        assert not policy.allows(WEB, port)
        assert not policy.may_allow("example.com", port)
    assert policy.summary() == "-23,25,119,135-139,445,563,2323,3389,5060-5061,5555,6881-6999"


def test_web_preset() -> None:
    policy = Policy.preset("web")
    assert policy.allows(WEB, 80)
    assert policy.allows(V6, 443)
    for port in (22, 25, 53, 79, 81, 444, 65535):
        assert not policy.allows(WEB, port)
    assert policy.summary() == "+80,443,2052-2053,2082-2083,2086-2087,2095-2096,8080,8443,8880"


@pytest.mark.parametrize("name", PRESETS)
def test_summary_of_a_preset_is_exact(name: str) -> None:
    policy = Policy.preset(name)
    for port in range(1, 65536):
        assert says_yes(policy.summary(), port) is policy.allows(WEB, port)


@given(general_rules, st.lists(port_numbers, min_size=1))
def test_summary_is_short_and_promises_nothing_that_is_refused(text: str, ports: list[int]) -> None:
    policy = Policy.parse(text)
    summary = policy.summary()
    assert len(summary.encode("ascii")) <= MAX_SUMMARY_BYTES
    for port in (*ports, 1, 80, 443, 65535):
        if says_yes(summary, port):
            assert policy.allows(WEB, port)


def test_summary_that_does_not_fit_keeps_the_web() -> None:
    scattered = ",".join(str(port) for port in range(2000, 60000, 97))
    summary = Policy.parse(f"accept *:80,443,{scattered}").summary()
    assert len(summary) <= MAX_SUMMARY_BYTES
    assert says_yes(summary, 80)
    assert says_yes(summary, 443)


def test_summary_leaves_out_what_holds_for_some_networks_only() -> None:
    assert (
        Policy.parse("reject 10.0.0.0/8:*\nreject a.example:443\naccept *:443\naccept 9.9.9.9:53").summary() == "+443"
    )
    assert Policy(()).summary() == "-1-65535"
    assert Policy.parse("accept *:*").summary() == "+1-65535"


@pytest.mark.parametrize(
    "line",
    [
        "allow *:80",
        "accept",
        "accept *",
        "accept *:",
        "accept *:0",
        "accept *:65536",
        "accept *:80-",
        "accept *:-80",
        "accept *:90-80",
        "accept *:80,,443",
        "accept *:+80",
        "accept *:٨٠",
        "accept *:80 443",
        "accept 2001:db8::1:80",
        "accept [2001:db8::1:80",
        "accept 10.0.0.1/8:80",
        "accept 10.0.0.0/33:80",
        "accept 127.1:80",
        "accept exa mple:80",
        "accept *.*.example:80",
        "accept ex*mple.com:80",
        "accept bücher.example:80",
        "ACCEPT *:80",
    ],
)
def test_a_line_that_is_no_rule_is_named(line: str) -> None:
    with pytest.raises(ConfigError, match="exit policy, line 2"):
        Policy.parse(f"# comment\n{line}")


def test_too_many_rules() -> None:
    Policy.parse("accept *:80\n" * MAX_RULES)
    with pytest.raises(ConfigError, match="more than"):
        Policy.parse("accept *:80\n" * (MAX_RULES + 1))


def test_unknown_preset() -> None:
    with pytest.raises(ConfigError, match="default, web"):
        Policy.preset("everything")


@given(st.text(max_size=80))
def test_any_text_gives_rules_or_a_config_error(text: str) -> None:
    try:
        policy = Policy.parse(text)
    except ConfigError:
        return
    assert len(policy.rules) <= len(text.splitlines())
