"""The name server of a router in a house, as a process: it knows names of the house, and others.

    python -m tests.harness.lan_names ADDRESS LOG NAMES

`NAMES` is JSON, a list of addresses for each name. It writes each name that is asked for to `LOG`, a line each.
"""

from __future__ import annotations

import json
import socket
import sys
from ipaddress import ip_address
from pathlib import Path

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

KINDS = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6}


def answer(data: bytes, names: dict[str, list[str]], log: Path) -> bytes:
    query = dns.message.from_wire(data)
    question = query.question[0]
    name = question.name.to_text(omit_final_dot=True)
    with log.open("a") as lines:
        lines.write(f"{name}\n")
    found = dns.message.make_response(query)
    if name not in names:
        found.set_rcode(dns.rcode.NXDOMAIN)
    version = KINDS.get(question.rdtype)
    addresses = [text for text in names.get(name, []) if ip_address(text).version == version]
    if addresses:
        found.answer.append(dns.rrset.from_text(question.name, 1, "IN", question.rdtype, *addresses))
    return found.to_wire()


def main(address: str, log: str, names: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.bind((address, 53))
        Path(log).touch()
        while True:
            data, sender = door.recvfrom(2048)
            door.sendto(answer(data, json.loads(names), Path(log)), sender)


if __name__ == "__main__":
    main(*sys.argv[1:])
