"""Lists of hosts that others wrote."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pac.lists import LeftOut, read_list
from pac.rules import Action, parse_rules

LIST = """\
\ufeff# hosts, one a line
a.example
.b.example   # with all below
tunnel c.example region=NL
127.0.0.1 localhost localhost.localdomain
::1 ip6-localhost
0.0.0.0 ads.example tracker.example # twice
0.0.0.0 ads.example
192.168.1.7 nas.example
! a comment of a filter list
[Adblock Plus 2.0]
||filter.example^
||third.example^$third-party
||path.example/x
@@||allowed.example^
example.com##.banner
no host
0.0.0.0 *.ads.example
10.0.0.0/8
[::1]
"""


def test_each_form_means_what_it_means_elsewhere() -> None:
    read = read_list(LIST)
    assert list(map(str, read.rules)) == [
        "a.example",
        ".b.example",
        "c.example region=NL",
        "block ads.example",
        "block tracker.example",
        "block .filter.example",
        "10.0.0.0/8",
        "[::1]",
    ]
    assert [one.line for one in read.left_out] == [9, 13, 14, 15, 16, 17, 18]
    assert read.left_out[0] == LeftOut(9, "this gives a host an address, which no rule can do")


def test_hosts_get_the_action_that_is_asked_for_unless_their_line_says_one() -> None:
    text = "a.example\n0.0.0.0 ads.example\n||filter.example^\nblock c.example\nd.example mode=speed\n"
    assert list(map(str, read_list(text, Action.TUNNEL).rules)) == [
        "tunnel a.example",
        "tunnel ads.example",
        "tunnel .filter.example",
        "block c.example",
        "d.example mode=speed",
    ]


@given(st.text())
def test_any_text_is_read_and_what_is_taken_can_be_written(text: str) -> None:
    read = read_list(text)
    assert parse_rules(map(str, read.rules)) == read.rules
