"""Rules and hosts that meet often: few labels, few networks."""

from __future__ import annotations

import re

from hypothesis import strategies as st

labels = st.sampled_from(["a", "b", "ab", "corp", "x-1", "_s", "constructor", "__proto__", "xn--bcher-kva"])
names = st.lists(labels, min_size=1, max_size=4).map(".".join)
octets = st.sampled_from([0, 1, 10, 127, 128, 192, 255])
ipv4 = st.tuples(octets, octets, octets, octets).map(lambda parts: ".".join(map(str, parts)))
groups = st.sampled_from([0, 1, 0xFC00, 0xFE80, 0x2001, 0xDB8, 0x8000, 0xFFFF])
ipv6_numbers = st.lists(groups, min_size=8, max_size=8)
ipv6 = ipv6_numbers.map(lambda parts: ":".join(f"{part:x}" for part in parts))


def _network4(parts: tuple[list[int], int]) -> str:
    numbers, prefix = parts
    value = int.from_bytes(bytes(numbers), "big") >> (32 - prefix) << (32 - prefix)
    return ".".join(str(octet) for octet in value.to_bytes(4, "big")) + f"/{prefix}"


def _network6(parts: tuple[list[int], int]) -> str:
    numbers, prefix = parts
    value = int("".join(f"{number:04x}" for number in numbers), 16) >> (128 - prefix) << (128 - prefix)
    text = f"{value:032x}"
    return "[" + ":".join(text[at : at + 4] for at in range(0, 32, 4)) + f"/{prefix}]"


networks = st.one_of(
    st.tuples(st.lists(octets, min_size=4, max_size=4), st.integers(1, 32)).map(_network4),
    st.tuples(ipv6_numbers, st.integers(1, 128)).map(_network6),
)
wildcards = st.tuples(st.text("ab*.-", min_size=1, max_size=6), labels).map(
    lambda parts: re.sub(r"\.+", ".", f"*{parts[0]}.{parts[1]}")
)
bodies = st.one_of(names, names.map(lambda name: "." + name), wildcards, networks, ipv4, ipv6.map("[{}]".format))
ports = st.sampled_from([1, 80, 443, 8443])
actions = st.sampled_from(["", "", "bypass ", "tunnel ", "block "])
options = st.sampled_from([" region=NL,DE", " mode=speed", " max_tariff=0 isolated"])
targets = st.tuples(
    st.sampled_from(["", "", "http://", "https://"]), bodies, st.one_of(st.just(""), ports.map(":{}".format))
).map("".join)
rule_texts = st.one_of(
    st.tuples(actions, targets).map("".join),
    st.tuples(st.sampled_from(["", "tunnel "]), targets, options).map("".join),
)

hostile = st.text(
    st.one_of(
        st.characters(), st.sampled_from("\"'\\</script>\u2028\u2029\n.:[]*%@0x"), st.characters(max_codepoint=127)
    )
)
hosts = st.one_of(
    names,
    names.map(lambda name: name.upper() + "."),
    ipv4,
    ipv6,
    ipv6.map("[{}]".format),
    ipv4.map("::ffff:{}".format),
    st.sampled_from(
        [
            "::",
            "::1",
            "1::",
            "fc00::1",
            "127.1",
            "0x7f.1",
            "010.0.0.1",
            "1.2.3",
            "a..b",
            "[::1",
            "1:2:3:4::5:6:7:8",
            "fe80::1%a",
        ]
    ),
    st.text("0123456789abcdef:.[]", max_size=20),
    hostile,
)
