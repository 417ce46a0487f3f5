"""The system's resolver with search domains, `ndots`, a hosts file and multicast names, in a namespace of its own."""

from __future__ import annotations

import json
import os
import shutil
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from core.errors import FlowError
from exits.addresses import AddressFilter
from exits.names import parse_destination
from tests.exits.names_worker import PUBLIC
from tests.harness import namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
NAME = f"names{os.getpid()}"
ETC = Path("/etc/netns") / NAME
FILES = {
    "resolv.conf": "nameserver 127.0.0.1\nsearch lan.example.net example.com\noptions ndots:5 timeout:1 attempts:1\n",
    "nsswitch.conf": "hosts: files mdns4_minimal mdns dns\n",
    "hosts": "127.0.0.1 localhost\n127.0.0.1 in-hosts.example.org\n192.168.1.1 router.example.org\n",
}


@pytest.fixture(scope="module")
def answers() -> Iterator[dict[str, Any]]:
    """What a process in the namespace found."""
    if missing := namespaces.why_not():
        pytest.skip(missing)
    names = ["www.example.org", "no.example.org", "in-hosts.example.org", "router.example.org"]
    try:
        ETC.mkdir(parents=True)
        for name, text in FILES.items():
            (ETC / name).write_text(text, encoding="utf-8")
        namespaces.add(NAME)
        printed = namespaces.run(
            *namespaces.enter(NAME),
            "env",
            f"PYTHONPATH={ROOT}",
            sys.executable,
            "-m",
            "tests.exits.names_worker",
            *names,
        )
        yield json.loads(printed)
    finally:
        namespaces.delete(NAME)
        shutil.rmtree(ETC, ignore_errors=True)


def test_names_are_asked_as_they_are(answers: dict[str, Any]) -> None:
    """Neither the search list nor `ndots` adds a domain, also not to a name that does not exist."""
    assert answers["found"]["www.example.org"] == [PUBLIC]
    assert answers["found"]["no.example.org"] == "no_name"
    assert set(answers["asked"]) <= {f"{name}." for name in answers["found"]}


@pytest.mark.parametrize("name", ["in-hosts.example.org", "router.example.org"])
def test_the_hosts_file_leads_to_the_filter_and_no_further(answers: dict[str, Any], name: str) -> None:
    found = answers["found"][name]
    assert found == "no_name" or not any(AddressFilter().allows(ip_address(address)) for address in found)


@pytest.mark.parametrize("name", ["printer.local", "printer.local.", "a.b.local", "localhost", "router.home.arpa"])
def test_multicast_and_local_names_do_not_get_so_far(name: str) -> None:
    with pytest.raises(FlowError):
        parse_destination(name)
