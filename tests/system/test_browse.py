"""What a user does first: point curl at the proxy."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import pytest

from tests.harness.demo import Demo, until
from tests.harness.origin import content

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.origin import NameServer, Origin

pytestmark = pytest.mark.system

WAYS = ["--socks5-hostname", "-x"]
BIG = 200_000_000


@pytest.fixture(scope="session")
def upload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("upload") / "upload.bin"
    path.write_bytes(content(BIG))
    return path


@pytest.mark.parametrize("way", WAYS)
def test_fetches_a_page_from_an_exit(demo: Demo, origin: Origin, way: str) -> None:
    done = demo.curl(f"http://127.0.0.1:{origin.http}/page", way=way)
    assert "127.22.0." in done.stdout


@pytest.mark.parametrize("way", WAYS)
def test_fetches_a_page_over_tls(demo: Demo, origin: Origin, way: str) -> None:
    done = demo.curl("--cacert", str(origin.ca), f"https://127.0.0.1:{origin.https}/page", way=way)
    assert "127.22.0." in done.stdout


@pytest.mark.parametrize("way", WAYS)
def test_a_name_is_resolved_at_the_exit(demo: Demo, origin: Origin, names: NameServer, way: str) -> None:
    done = demo.curl("--cacert", str(origin.ca), f"https://site.test:{origin.https}/page", way=way)
    assert "127.22.0." in done.stdout
    assert "site.test" in names.asked


def test_an_unknown_name_is_said_to_be_unknown(demo: Demo) -> None:
    done = demo.curl("-i", "http://missing.test/", way="-x")
    assert "502" in done.stdout.splitlines()[0]
    assert "X-MacroVPN-Reason: no_name" in done.stdout
    # SOCKS5 is granted before the exit has said so, but not again where that was wrong.
    assert demo.curl("http://missing.test/").returncode in {52, 55, 56}  # curl: no answer, or a reset
    assert demo.curl("http://missing.test/").returncode == 97  # curl: a SOCKS reply that is no success
    assert demo.curl("http://missing.test:22/").returncode == 97


def test_a_refused_port_is_said_to_be_refused(demo: Demo) -> None:
    done = demo.curl("-i", "http://127.0.0.1:1/", way="-x")
    assert "X-MacroVPN-Reason: refused" in done.stdout


def test_mail_is_not_allowed(demo: Demo) -> None:
    done = demo.curl("-i", "http://127.0.0.1:25/", way="-x")
    assert "403" in done.stdout.splitlines()[0]
    assert "X-MacroVPN-Reason: not_served" in done.stdout


@pytest.mark.parametrize("host", ["192.168.1.1", "[::1]", "169.254.169.254", "10.0.0.1."])
def test_what_is_not_on_the_internet_is_refused_here(demo: Demo, host: str) -> None:
    done = demo.curl("-i", f"http://{host}/", way="-x")
    assert "X-MacroVPN-Reason: inside" in done.stdout


@pytest.mark.parametrize("way", WAYS)
def test_a_large_download_is_exact(demo: Demo, origin: Origin, way: str, tmp_path: Path) -> None:
    target = tmp_path / "download.bin"
    demo.curl("-o", str(target), f"http://127.0.0.1:{origin.http}/bytes/{BIG}", way=way)
    assert hashlib.sha256(target.read_bytes()).digest() == hashlib.sha256(content(BIG)).digest()


@pytest.mark.parametrize("way", WAYS)
def test_a_large_upload_is_exact(demo: Demo, origin: Origin, way: str, upload: Path) -> None:
    done = demo.curl("-H", "Expect:", "--data-binary", f"@{upload}", f"http://127.0.0.1:{origin.http}/", way=way)
    assert done.stdout == hashlib.sha256(content(BIG)).hexdigest()


def _exits_by_site(demo: Demo, origin: Origin, name: str, user: str = "") -> dict[str, str]:
    """Fetch a page of each of 24 sites, and say from which address it was fetched."""
    sites = [f"site-{number}.test" for number in range(24)]
    urls = [f"http://{name}.{site}:{origin.http}/{site}" for site in sites]
    found = re.findall(r"id=who>([0-9.]+)</p>/(site-[0-9]+.test)", demo.curl("--proxy-user", f"{user}:x", *urls).stdout)
    assert sorted(site for _, site in found) == sorted(sites)
    return {site: address for address, site in found}


def test_a_site_leaves_from_one_exit_and_all_sites_from_two(demo: Demo, origin: Origin) -> None:
    def ends(in_use: bool) -> set[str]:
        circuits = demo.node.route()["circuits"]
        return {circuit["hops"][-1]["peer_id"] for circuit in circuits if circuit["in_use"] is in_use}

    demo.node.hop()
    until("new circuits to both exits", lambda: not ends(True) and len(ends(False)) == 2)
    exits = _exits_by_site(demo, origin, "www")
    assert set(exits.values()) == {"127.22.0.1", "127.22.0.2"}
    assert _exits_by_site(demo, origin, "img") == exits
    assert len(ends(True)) == 2
    assert len(set(_exits_by_site(demo, origin, "www", "alice").values())) == 1


def test_the_exit_refuses_what_is_not_public(origin: Origin, tmp_path: Path) -> None:
    before = len(origin.seen)
    with Demo("--relays", "2", "--exits", "1", log=tmp_path / "log") as strict:
        for host in ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "localhost", "0x7f.1"):
            done = strict.curl("-i", f"http://{host}:{origin.http}/", way="-x")
            assert "403" in done.stdout.splitlines()[0], host
    assert len(origin.seen) == before
