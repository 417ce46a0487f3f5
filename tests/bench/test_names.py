"""The measurement of look-ups, and the server that it needs."""

from __future__ import annotations

import argparse
from ipaddress import ip_address

import dns.rdatatype

from bench import names
from bench.name_server import answer
from exits.dns_message import make_query, read_answer, read_response


def test_the_server_answers_what_it_is_asked() -> None:
    for kind, address in ((dns.rdatatype.A, "93.184.215.14"), (dns.rdatatype.AAAA, "2606:4700::1")):
        query = make_query("www.example.org", kind, None, padded=True)
        response = read_response(answer(query.to_wire()), query)
        assert response is not None
        assert read_answer(response).addresses == (ip_address(address),)


def test_every_kind_is_measured() -> None:
    parser = argparse.ArgumentParser()
    names.add_options(parser)
    result = names.run(parser.parse_args(["--lookups", "20", "--at-once", "5", "--rounds", "1"]), [])
    assert set(result["kinds"]) == {"udp", "tls", "https", "cached"}
    assert all(figures["per_s"]["median"] > 0 for figures in result["kinds"].values())
    assert 500 < result["kept_bytes"] < 10_000
