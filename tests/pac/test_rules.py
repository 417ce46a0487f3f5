"""Rules as people write them, and what they decide."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError
from core.flow import NO_OPTIONS, SiteOptions
from pac import rules as rules_module
from pac.rules import MAX_WILDCARDS, Action, Decision, Kind, Rule, RuleSet, parse_rules
from tests.pac.strategies import rule_texts


def rule_set(*texts: str) -> RuleSet:
    return RuleSet(Rule.parse(text) for text in texts)


def bypassed(rules: RuleSet, host: str, port: int = 443, scheme: str | None = None) -> bool:
    return rules.decide(host, port, scheme).action is Action.BYPASS


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Example.com", Rule(Kind.EXACT, "example.com")),
        ("example.com.", Rule(Kind.EXACT, "example.com")),
        (" .example.com ", Rule(Kind.DOMAIN, ".example.com")),
        ("*.corp.example", Rule(Kind.WILDCARD, "*.corp.example")),
        ("intra-*.example", Rule(Kind.WILDCARD, "intra-*.example")),
        ("10.0.0.0/8", Rule(Kind.NETWORK, "10.0.0.0/8")),
        ("192.168.1.7", Rule(Kind.NETWORK, "192.168.1.7")),
        ("192.168.1.7/32", Rule(Kind.NETWORK, "192.168.1.7")),
        ("[::1]", Rule(Kind.NETWORK, "::1")),
        ("::1", Rule(Kind.NETWORK, "::1")),
        ("FC00::/7", Rule(Kind.NETWORK, "fc00::/7")),
        ("[fc00::/7]:443", Rule(Kind.NETWORK, "fc00::/7", 443)),
        ("[::1]:8080", Rule(Kind.NETWORK, "::1", 8080)),
        ("example.com:8443", Rule(Kind.EXACT, "example.com", 8443)),
        ("HTTPS://.example.com", Rule(Kind.DOMAIN, ".example.com", None, "https")),
        ("http://10.0.0.0/8:80", Rule(Kind.NETWORK, "10.0.0.0/8", 80, "http")),
        ("bücher.example", Rule(Kind.EXACT, "xn--bcher-kva.example")),
        ("bypass example.com", Rule(Kind.EXACT, "example.com")),
        ("BLOCK  *.ads.example", Rule(Kind.WILDCARD, "*.ads.example", action=Action.BLOCK)),
        ("tunnel https://.bank.example:443", Rule(Kind.DOMAIN, ".bank.example", 443, "https", Action.TUNNEL)),
        ("block", Rule(Kind.EXACT, "block")),
        ("block tunnel", Rule(Kind.EXACT, "tunnel", action=Action.BLOCK)),
        ("tunnel isolated", Rule(Kind.EXACT, "isolated", action=Action.TUNNEL)),
        ("a region=NL", Rule(Kind.EXACT, "a", None, None, Action.TUNNEL, SiteOptions(("NL",)))),
        ("tunnel block isolated", Rule(Kind.EXACT, "block", None, None, Action.TUNNEL, SiteOptions(isolated=True))),
        (
            ".example.nl region=NL,DE-BE mode=privacy isolated max_tariff=0",
            Rule(
                Kind.DOMAIN, ".example.nl", None, None, Action.TUNNEL, SiteOptions(("NL", "DE-BE"), "privacy", 0, True)
            ),
        ),
    ],
)
def test_rule_is_parsed(text: str, rule: Rule) -> None:
    assert Rule.parse(text) == rule
    assert Rule.parse(str(rule)) == rule


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "1 to 300 characters"),
        ("a" * 301, "1 to 300 characters"),
        (f"{'例日本語漢字'}.example region={','.join(f'NL-{n}' for n in range(46))}", "in their xn-- form"),
        ("*", "wildcard"),
        ("*.*", "wildcard"),
        ("example.*", "wildcard"),
        ("*.1", "wildcard"),
        ("*.bücher.example", "wildcard"),
        (".", "no host name"),
        ("..example.com", "no host name"),
        ("exa mple.com", "after the host come"),
        ("drop example.com", "after the host come"),
        ("bypass example.com region=NL", "this rule says bypass"),
        ("block example.com isolated", "this rule says block"),
        ("example.com region=", "country codes"),
        ("example.com region=nl", "country codes"),
        ("example.com region=NL,NL", "country codes"),
        ("example.com region=NL,", "country codes"),
        ("example.com mode=fast", "one of speed, balanced, privacy"),
        ("example.com max_tariff=8", "0 to 7"),
        ("example.com max_tariff=-1", "0 to 7"),
        ("example.com max_tariff=٣", "0 to 7"),
        ("example.com isolated=yes", "after the host come"),
        ("example.com price=3", "after the host come"),
        ("example.com mode=speed mode=speed", "stands twice"),
        ("example.com isolated isolated", "stands twice"),
        ("straße.example", "xn--"),
        ("127.1", "no host name"),
        ("0x7f.1", "no host name"),
        ("256.1.1.1", "no host name"),
        (".10.0.0.1", "no host name"),
        ('a";alert(1)//', "no address"),
        ("user@example.com", "no host name"),
        ("example.com/path", "no path"),
        ("https://example.com/", "no path"),
        ("ftp://example.com", "http or https"),
        ("example.com:0", "1 to 65535"),
        ("example.com:65536", "1 to 65535"),
        ("example.com:", "1 to 65535"),
        ("example.com:٣", "1 to 65535"),
        ("[::1", "comes an IPv6 address"),
        ("[::1]80", "comes an IPv6 address"),
        ("[::1]:", "1 to 65535"),
        ("[10.0.0.1]", "length of the network"),
        ("[example.com]", "no address"),
        ("fe80::1%eth0", "no address"),
        ("10.0.0.1/8", "bits after it"),
        ("10.0.0.0/33", "length of the network"),
        ("10.0.0.0/255.0.0.0", "no address"),
        ("0.0.0.0/0", "every address"),
        ("::/0", "every address"),
    ],
)
def test_rule_is_refused_with_a_sentence(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Rule.parse(text)


def test_list_names_the_line_that_is_wrong() -> None:
    assert parse_rules(["# mine", "", "a.example  # work", "a.example"]) == (Rule(Kind.EXACT, "a.example"),)
    with pytest.raises(ConfigError, match=r"^bypass\.txt, line 3: a port"):
        parse_rules(["a.example", "", "b.example:x"], "bypass.txt")


@given(rule_texts)
def test_rule_survives_its_own_text(text: str) -> None:
    rule = Rule.parse(text)
    assert Rule.parse(str(rule)) == rule


@given(st.text())
def test_any_text_is_a_rule_or_a_config_error(text: str) -> None:
    try:
        rule = Rule.parse(text)
    except ConfigError:
        return
    assert Rule.parse(str(rule)) == rule


def test_nothing_is_bypassed_without_a_rule() -> None:
    assert RuleSet().decide("example.com", 443) == Decision()
    assert Decision().action is Action.TUNNEL


def test_exact_name_means_itself_alone() -> None:
    rules = rule_set("example.com")
    assert bypassed(rules, "EXAMPLE.com.")
    assert not bypassed(rules, "www.example.com")
    assert not bypassed(rules, "example.com.evil.example")
    assert not bypassed(rules, "notexample.com")


def test_domain_means_itself_and_what_is_below() -> None:
    rules = rule_set(".example.com")
    assert bypassed(rules, "example.com")
    assert bypassed(rules, "a.b.example.com")
    assert not bypassed(rules, "badexample.com")
    assert not bypassed(rules, "com")


@pytest.mark.parametrize(
    ("rule", "host", "hit"),
    [
        ("*.corp.example", "a.corp.example", True),
        ("*.corp.example", "a.b.corp.example", True),
        ("*.corp.example", "corp.example", False),
        ("*.corp.example", "acorp.example", False),
        ("intra-*.example", "intra-7.example", True),
        ("intra-*.example", "intra-.example", True),
        ("intra-*.example", "intra.example", False),
        ("intra-*.example", "xintra-7.example", False),
        ("intra-*.example", "intra-7.example.org", False),
        ("a*b*c.example", "aXbYc.example", True),
        ("a*b*c.example", "abc.example", True),
        ("a*b*c.example", "ac.example", False),
        ("a*a.example", "a.example", False),
        ("a*bc*c.example", "abc.example", False),
        ("w*.a.example", "w.b.a.example", True),
    ],
)
def test_wildcard(rule: str, host: str, *, hit: bool) -> None:
    assert bypassed(rule_set(rule), host) is hit


def test_network_means_literals_alone() -> None:
    rules = rule_set("10.0.0.0/8", "192.168.1.7", "[::1]", "fc00::/7", "2001:db8:8000::/33")
    for inside in ("10.255.0.1", "192.168.1.7", "[::1]", "0:0:0:0:0:0:0:1", "fdff::1", "2001:db8:8000::"):
        assert bypassed(rules, inside), inside
    for outside in ("11.0.0.1", "192.168.1.8", "::2", "fe00::", "2001:db8:7fff::", "10.example", "10.1", "127.1"):
        assert not bypassed(rules, outside), outside
    assert not bypassed(rules, "::ffff:10.0.0.1")


def test_names_never_match_literals() -> None:
    rules = rule_set("*.0.0.x1", "1*.example", ".example")
    assert not bypassed(rules, "10.0.0.1")


def test_port_and_scheme_must_fit() -> None:
    rules = rule_set("a.example:8443", "https://b.example", "http://c.example:8080", "c.example:1")
    assert bypassed(rules, "a.example", 8443)
    assert not bypassed(rules, "a.example", 443)
    assert bypassed(rules, "b.example", 9, "https")
    assert bypassed(rules, "b.example", 9, "WSS")
    assert not bypassed(rules, "b.example", 443, "http")
    assert not bypassed(rules, "b.example", 443)
    assert bypassed(rules, "c.example", 8080, "ws")
    assert bypassed(rules, "c.example", 1, "gopher")
    assert not bypassed(rules, "c.example", 8080, "https")


def test_where_the_scheme_is_not_known_nothing_is_bypassed_for_it() -> None:
    rules = rule_set(
        ".a.example", "tunnel https://b.a.example mode=privacy", "block http://c.a.example", "http://d.example"
    )
    assert rules.decide("b.a.example", 8443).options == SiteOptions(mode="privacy")
    assert rules.decide("c.a.example", 8443).action is Action.BLOCK
    assert rules.decide("b.a.example", 8443, "http").action is Action.BYPASS
    assert rules.decide("d.example", 8443).action is Action.TUNNEL


@pytest.mark.parametrize(
    ("texts", "host", "wins"),
    [
        ((".a.example", "tunnel .b.a.example"), "c.b.a.example", 1),
        ((".a.example", "block a.example"), "a.example", 1),
        (("a.example", "block .a.example"), "a.example", 0),
        ((".a.example", "block *.a.example"), "b.a.example", 1),
        ((".a.example", "block *.a.example"), "a.example", 0),
        (("*.a.example", "block b*.a.example"), "bc.a.example", 1),
        (("b*a.example", "block .a.example"), "b.a.example", 0),
        (("b*.example", "block .c.example"), "b.c.example", 1),
        (("bx*.example", "block .c.example"), "bx.c.example", 0),
        (("block .a.example", "ab*.example"), "ab.a.example", 1),
        (("*.a.example", "block ab*.example"), "ab.a.example", 1),
        (("*b.example", "block .d.b.example"), "d.b.example", 1),
        (("a.example:443", "block a.example"), "a.example", 0),
        (("a.example", "block https://a.example:443", "tunnel a.example:443"), "a.example", 1),
        (("https://a.example", "block a.example:443"), "a.example", 1),
        ((".a.example:443", "block b.a.example"), "b.a.example", 1),
        (("a.example", "block a.example"), "a.example", 0),
        (("block a.example", "a.example"), "a.example", 0),
        (("10.0.0.0/8", "block 10.1.0.0/16", "tunnel 10.1.1.1"), "10.1.1.1", 2),
        (("10.0.0.0/8", "block 10.1.0.0/16", "tunnel 10.1.1.1"), "10.1.1.2", 1),
        (("fc00::/7", "block [fd00::1]"), "fd00::1", 1),
        (("c*.example", "block *d.example:443"), "cd.example", 1),
    ],
)
def test_the_closest_rule_decides(texts: tuple[str, ...], host: str, wins: int) -> None:
    decision = rule_set(*texts).decide(host, 443, "https")
    assert decision.rule == Rule.parse(texts[wins])
    assert decision.action is Rule.parse(texts[wins]).action


def test_a_decision_brings_the_options_of_its_rule() -> None:
    rules = rule_set(".a.example region=NL", "tunnel b.a.example", ".c.example")
    assert rules.decide("x.a.example", 443).options == SiteOptions(("NL",))
    for host in ("b.a.example", "c.example", "d.example"):
        assert rules.decide(host, 443).options == NO_OPTIONS


def test_there_is_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules_module, "MAX_RULES", 2)
    with pytest.raises(ConfigError, match="there are 3; at most 2"):
        rule_set("a", "b", "c")
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="at most 1000"):
        RuleSet(Rule(Kind.WILDCARD, f"a*{n}.example") for n in range(MAX_WILDCARDS + 1))


def test_a_rule_for_one_port_leaves_the_others_to_the_rule_for_all() -> None:
    for texts in (("a.example:1", "a.example"), ("a.example", "a.example:1")):
        assert bypassed(rule_set(*texts), "a.example", 2)


def test_unicode_host_is_compared_by_its_a_label() -> None:
    assert bypassed(rule_set("xn--bcher-kva.example"), "BÜCHER.example")
    assert not bypassed(rule_set("strasse.example"), "straße.example")


def test_fifty_thousand_hosts_stay_fast() -> None:
    rules = RuleSet(Rule(Kind.EXACT, f"host{n}.example") for n in range(25_000))
    rules = RuleSet([*rules.rules, *(Rule(Kind.WILDCARD, f"*.d{n}.example") for n in range(25_000))])
    assert len(rules) == 50_000
    began = time.process_time()
    for n in range(1_000):
        assert bypassed(rules, f"a.b.d{n}.example")
        assert not bypassed(rules, f"a.b.c{n}.example")
    assert time.process_time() - began < 1


def test_wildcard_cannot_be_made_slow() -> None:
    rules = rule_set("*".join(["a"] * 60) + "b.example")
    began = time.process_time()
    for _ in range(100):
        assert not bypassed(rules, ".".join(["a" * 60] * 4) + ".e")
    assert time.process_time() - began < 0.5
