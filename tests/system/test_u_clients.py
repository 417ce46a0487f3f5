"""Clients that nobody here wrote. `docs/clients.md` has what each of them did here, in a table that this file writes.

Each test sees three things: the site was visited from the exit's address, the exit looked up the name, which this
machine could not, and the client sent nothing to anywhere but the proxy.
"""

from __future__ import annotations

import itertools
import shlex
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from tests.harness.client_table import Table
from tests.harness.clients import PASSWORD, Clients, entered, why_no_clients
from tests.harness.demo import until
from tests.harness.firefox import CLOSED, FIREFOX, HTTP, OPEN, PAC, SETTINGS, SOCKS, write_profile
from tests.harness.python_clients import MESSAGE
from tests.harness.site import Visit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MISSING: Final = why_no_clients()
pytestmark = [pytest.mark.system, pytest.mark.skipif(bool(MISSING), reason=MISSING)]

PUSHED_BYTES: Final = 2_000_000
"""More than git sends in one piece. Source: git-config(1), `http.postBuffer`."""
SENT_BYTES: Final = 1_000_000


@pytest.fixture(scope="module", autouse=True)
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    with entered(tmp_path_factory.mktemp("clients")) as everything:
        yield everything


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    rows = Table()
    yield rows
    rows.finish()


_numbers = itertools.count(1)


class Page(NamedTuple):
    """A page that only one client asks for.

    Attributes:
        number: its path.
        name: a host name that nobody else asks for.
    """

    number: str
    name: str


@pytest.fixture
def page() -> Page:
    number = next(_numbers)
    return Page(f"/{number}", f"c{number}.site.test")


def assert_through_the_tunnel(clients: Clients, visit: Visit) -> None:
    """See that a request came from an exit, that its name was found there, and that the client did nothing else."""
    assert_from_an_exit(clients, visit)
    assert clients.network.strays() == set()


def assert_from_an_exit(clients: Clients, visit: Visit) -> None:
    """See that a request came from an exit, and that its name was found there."""
    host = visit.host.rpartition(":")[0]
    six = host in ("[::1]", "six.test")
    assert visit.owner in clients.exits if six else visit.source.startswith("127.22.0."), visit
    assert not host.endswith(".test") or host in clients.names.asked


def urls_in(command: str, clients: Clients, page: Page) -> str:
    """Put a page's addresses where `http://NAME/` and its like stand."""
    for scheme, port in (("http", clients.site.http), ("https", clients.site.https)):
        for host in ("NAME", "127.0.0.1", "[::1]", "six.test"):
            url = f"{scheme}://{page.name if host == 'NAME' else host}:{port}{page.number}"
            command = command.replace(f"{scheme}://{host}/", shlex.quote(url))
    return command


PAGES: Final = (
    ("curl", "curl --socks5-hostname $PROXY https://NAME/"),
    ("curl", "curl --socks5-hostname $PROXY http://six.test/"),
    ("curl", "curl --socks5 $PROXY https://127.0.0.1/"),
    ("curl", "curl --socks5 $PROXY https://[::1]/"),
    ("curl", "curl -x http://$PROXY https://NAME/"),
    ("curl", "curl -x http://$PROXY http://NAME/"),
    ("curl", "curl -x http://$PROXY https://[::1]/"),
    ("curl", "curl -x http://$PROXY http://[::1]/"),
    ("curl", "curl -x socks5h://work:x@$PROXY https://NAME/"),
    ("curl", "curl -x http://work:x@$PROXY https://NAME/"),
    ("curl", f"curl -x socks5h://me:{PASSWORD}@$LOCKED https://NAME/"),
    ("curl", f"curl -x http://me:{PASSWORD}@$LOCKED https://NAME/"),
    ("curl", f"curl -x http://me:{PASSWORD}@$LOCKED http://NAME/"),
    ("curl", "ALL_PROXY=socks5h://$PROXY curl https://NAME/"),
    ("wget", "https_proxy=http://$PROXY wget -O- https://NAME/"),
    ("wget", "http_proxy=http://$PROXY wget -O- http://NAME/"),
    ("wget", f"http_proxy=http://$LOCKED wget --proxy-user=me --proxy-password={PASSWORD} -O- http://NAME/"),
    ("wget", f"https_proxy=http://$LOCKED wget --proxy-user=me --proxy-password={PASSWORD} -O- https://NAME/"),
    ("proxychains4", "proxychains4 curl https://NAME/"),
    ("proxychains4", "proxychains4 wget -O- http://NAME/"),
    ("dante-client", "socksify curl https://NAME/"),
)
"""The name of Debian's package, and what is typed."""

PYTHON_PAGES: Final = (
    ("requests", "requests.get(url, proxies=…)", "socks5h://$PROXY"),
    ("requests", "requests.get(url, proxies=…)", "http://$PROXY"),
    ("httpx", "httpx.get(url, proxy=…)", "socks5://$PROXY"),
    ("httpx", "httpx.get(url, proxy=…)", f"socks5://me:{PASSWORD}@$LOCKED"),
    ("httpx-socks", "SyncProxyTransport.from_url(…)", "socks5://$PROXY"),
    ("aiohttp", "session.get(url, proxy=…)", "http://$PROXY"),
    ("aiohttp-socks", "ProxyConnector.from_url(…)", "socks5://$PROXY"),
    ("Python", "urllib.request.ProxyHandler(…)", "http://$PROXY"),
)
"""The name of a distribution, what is called, and with which proxy."""


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_what_goes_past_the_proxy_is_seen(clients: Clients, page: Page, host: str) -> None:
    assert "id=who" in clients.run(urls_in(f"curl http://{host}/", clients, page)).stdout
    assert clients.network.strays() == {(host.strip("[]"), "tcp", clients.site.http)}


@pytest.mark.parametrize(("client", "command"), PAGES)
def test_a_page(clients: Clients, table: Table, page: Page, client: str, command: str) -> None:
    done = clients.run(urls_in(command, clients, page))
    visit = clients.visit(page.number)
    assert f"<p id=who>{visit.source}</p>" in done.stdout, done.stderr
    assert_through_the_tunnel(clients, visit)
    table.row(client, f"`{command}`", "page")


@pytest.mark.parametrize(("client", "call", "proxy"), PYTHON_PAGES)
def test_a_page_for_python(clients: Clients, table: Table, page: Page, client: str, call: str, proxy: str) -> None:
    done = python(clients, client, proxy, urls_in("https://NAME/", clients, page))
    visit = clients.visit(page.number)
    assert f"<p id=who>{visit.source}</p>" in done, done
    assert_through_the_tunnel(clients, visit)
    table.row(client, f"`{call}`, `{proxy}`", "page over https")


def python(clients: Clients, client: str, proxy: str, url: str) -> str:
    """Run one of `tests.harness.python_clients`, and return all that it printed."""
    done = clients.run(f'"$PYTHON" -m tests.harness.python_clients {client} {proxy} {url}')
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("scheme", "proxy"),
    [
        ("ws", "socks5h://$PROXY"),
        ("wss", "socks5h://$PROXY"),
        ("ws", "http://$PROXY"),
        ("wss", "http://$PROXY"),
        ("wss", f"http://me:{PASSWORD}@$LOCKED"),
    ],
)
def test_websocket(clients: Clients, table: Table, page: Page, scheme: str, proxy: str) -> None:
    port = clients.site.https if scheme == "wss" else clients.site.http
    said = python(clients, "websockets", proxy, f"{scheme}://{page.name}:{port}/echo?{page.number}")
    assert said == f"{MESSAGE}\n"
    assert_through_the_tunnel(clients, clients.visit(f"/echo?{page.number}"))
    table.row("websockets", f'`connect("{scheme}://…", proxy=…)`, `{proxy}`', "a message, and its echo")


@pytest.mark.parametrize("proxy", ["http://$PROXY", f"http://me:{PASSWORD}@$LOCKED"])
def test_websocket_without_connect(clients: Clients, table: Table, page: Page, proxy: str) -> None:
    """By a whole URL, as for a page."""
    url = f"ws://{page.name}:{clients.site.http}/echo?{page.number}"
    assert python(clients, "aiohttp-websocket", proxy, url) == f"{MESSAGE}\n"
    assert_through_the_tunnel(clients, clients.visit(f"/echo?{page.number}"))
    call = '`session.ws_connect("ws://…", proxy=…)`'
    table.row("aiohttp", f"{call}, `{proxy}`", "a message, and its echo, without CONNECT")


@pytest.mark.parametrize(
    ("command", "exit_code"),
    [
        ("curl --fail http://NAME/ -x http://me:wrong@$LOCKED", 22),
        ("curl --fail http://NAME/ -x http://$LOCKED", 22),
        ("curl https://NAME/ -x http://$LOCKED", 56),
        ("curl https://NAME/ -x socks5h://me:wrong@$LOCKED", 97),
        ("curl https://NAME/ -x socks5h://$LOCKED", 97),
        ("http_proxy=http://$LOCKED wget http://NAME/", 8),
    ],
)
def test_nothing_without_the_password(clients: Clients, page: Page, command: str, exit_code: int) -> None:
    """Source: curl(1), exit codes 22 (a status of 400 or more), 56 (CONNECT refused) and 97 (SOCKS); wget(1), 8."""
    assert clients.run(urls_in(command, clients, page)).returncode == exit_code
    assert not [visit for visit in clients.site.seen if visit.path == page.number]
    assert clients.network.strays() == set()


@pytest.mark.parametrize(
    ("client", "how", "command"),
    [
        ("curl", "curl --socks5 $PROXY https://NAME/", ""),
        ("git", "git -c http.proxy=socks5://$PROXY ls-remote https://NAME/", ""),
        (
            "requests",
            "requests.get(url, proxies=…)`, `socks5://$PROXY",
            '"$PYTHON" -m tests.harness.python_clients requests socks5://$PROXY https://NAME/',
        ),
    ],
)
def test_a_client_that_looks_names_up_itself(
    clients: Clients, table: Table, page: Page, client: str, how: str, command: str
) -> None:
    assert clients.run(urls_in(command or how, clients, page)).returncode
    assert {(kind, port) for _, kind, port in clients.network.strays()} == {("udp", 53)}
    assert page.name not in clients.names.asked
    table.row(client, f"`{how}`", "**nothing: it asks the machine's own name server**")


@pytest.mark.parametrize("proxy", ["socks5h://$PROXY", "http://$PROXY"])
def test_git(clients: Clients, table: Table, page: Page, proxy: str) -> None:
    name = page.number.strip("/")
    repository, clone = clients.folder / "git" / f"{name}.git", clients.folder / f"clone-{name}"
    url = f"https://{page.name}:{clients.site.https}/git/{name}.git"
    git = f"git -c http.proxy={proxy} -c user.name=me -c user.email=me@example.org"
    for command in (
        f"git init --quiet --bare --initial-branch=main {repository}",
        f"{git} clone {url} {clone}",
        f"head -c {PUSHED_BYTES} /dev/urandom > {clone}/file",
        f"cd {clone} && git add file && {git} commit -m one",
        f"{git} -C {clone} push origin HEAD:main",
        f"{git} clone {url} {clone}-again",
    ):
        done = clients.run(command)
        assert done.returncode == 0, done.stderr
    assert (clone / "file").read_bytes() == (clients.folder / f"clone-{name}-again" / "file").read_bytes()
    visits = [visit for visit in clients.site.seen if f"/git/{name}.git/" in visit.path]
    assert {visit.path.rpartition("/")[2] for visit in visits} >= {"git-upload-pack", "git-receive-pack"}
    for visit in visits:
        assert_through_the_tunnel(clients, visit)
    table.row("git", f"`git -c http.proxy={proxy} …`", f"clone over https, push of {PUSHED_BYTES / 1e6:.0f} MB, clone")


@pytest.fixture(scope="module")
def sshd(clients: Clients) -> Iterator[int]:
    """The port of an SSH server that knows one key, and whom `~/.ssh/known_hosts` of the clients knows."""
    folder = clients.folder / ".ssh"
    folder.mkdir(mode=0o700)
    for name in ("id_ed25519", "host"):
        clients.run(f"ssh-keygen -q -t ed25519 -N '' -f {folder / name}")
    Path("/run/sshd").mkdir(exist_ok=True)  # where its unprivileged part lives; the package leaves that to init
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    clients.file(".ssh/known_hosts", f"ssh-server {(folder / 'host.pub').read_text()}")
    options = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "id_ed25519.pub",
        "StrictModes": "no",
        "UsePAM": "no",
        "PidFile": "none",
    }
    command = ["/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null"]
    command += [f"-o{option}={value}" for option, value in options.items()]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        assert "listening" in server.stderr.readline()
        try:
            yield port
        finally:
            server.terminate()


@pytest.mark.parametrize("kind", ["5", "connect"])
def test_ssh(clients: Clients, table: Table, page: Page, sshd: int, kind: str) -> None:
    home = clients.folder / ".ssh"
    ssh = f'ssh -o ProxyCommand="nc -X {kind} -x $PROXY %h %p"'
    files = f"-F none -i {home}/id_ed25519 -o UserKnownHostsFile={home}/known_hosts -o HostKeyAlias=ssh-server"
    text = "x" * SENT_BYTES
    done = clients.run(f"{ssh} {files} -p {sshd} root@{page.name} 'cat; echo; echo $SSH_CLIENT'", text=text)
    assert done.returncode == 0, done.stderr
    back, _, address = done.stdout.partition("\n")
    assert back == text
    assert_through_the_tunnel(clients, Visit(address.split()[0], f"{page.name}:{sshd}", "", ""))
    table.row("openssh-client", f"`{ssh} NAME`", f"a session, {SENT_BYTES / 1e6:.0f} MB there and back")
    table.row("netcat-openbsd", f"`nc -X {kind} -x $PROXY NAME PORT`", "the same, below ssh")


def test_datagrams_of_dante(clients: Clients, table: Table, page: Page) -> None:
    command = f"socksify nc -u -w 1 {page.name} {clients.echo.port}"
    said = clients.run(command, text="hello").stdout
    assert said == "hello"
    assert_datagrams_through_the_tunnel(clients, b"hello")
    assert page.name in clients.names.asked
    table.row("dante-client", "`socksify nc -u NAME PORT`", "a datagram, and its echo")


def test_datagrams_of_pysocks(clients: Clients, table: Table, page: Page) -> None:
    said = python(clients, "PySocks", "socks5h://$PROXY", f"udp://{page.name}:{clients.echo.port}")
    assert said == f"{MESSAGE}\n"
    assert_datagrams_through_the_tunnel(clients, MESSAGE.encode())
    assert page.name in clients.names.asked
    table.row("PySocks", "`socksocket(AF_INET, SOCK_DGRAM)`", "a datagram, and its echo")


def assert_datagrams_through_the_tunnel(clients: Clients, payload: bytes) -> None:
    """See that a datagram came from an exit, and that the client sent to one port, which is not the echo's."""
    sources = {source for source, data in clients.echo.got if data == payload}
    assert len(sources) == 1
    assert sources.pop().startswith("127.22.0.")
    ((host, kind, port),) = clients.network.strays()
    assert (host, kind) == ("127.0.0.1", "udp")
    assert port not in (clients.echo.port, 53)


CHROMIUM: Final = (
    *("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--ignore-certificate-errors"),
)
BROWSER_S: Final = 60.0


@pytest.mark.parametrize(
    ("option", "scheme"),
    [
        ("--proxy-server=socks5://$PROXY", "https"),
        ("--proxy-server=http://$PROXY", "https"),
        ("--proxy-server=http://$PROXY", "http"),
        ("--proxy-pac-url=$PAC", "https"),
    ],
)
def test_chromium(clients: Clients, table: Table, page: Page, option: str, scheme: str) -> None:
    given = option.replace("$PROXY", clients.proxy).replace("$PAC", clients.pac)
    profile = f"--user-data-dir={clients.folder / page.name}"
    with clients.running(*CHROMIUM, profile, given, urls_in(f"{scheme}://NAME/", clients, page)):
        assert_seen_by_a_browser(clients, page, "Chrome/")
    assert clients.network.strays() == set()
    table.row("chromium", f"`chromium {option} {scheme}://NAME/`", "page, and WebSocket in it")


@pytest.mark.parametrize(
    ("how", "scheme"),
    [
        (SOCKS, "https"),
        (HTTP, "https"),
        (PAC, "https"),
    ],
)
def test_firefox(clients: Clients, table: Table, page: Page, how: str, scheme: str) -> None:
    profile = firefox_profile(clients, page, SETTINGS[how] | CLOSED)
    with clients.running(*FIREFOX, "--profile", str(profile), urls_in(f"{scheme}://NAME/", clients, page)):
        assert_seen_by_a_browser(clients, page, "Firefox/")
    assert clients.network.strays() == set()
    table.row("firefox-esr", f"{how}; closed, see below", f"page over {scheme}, and WebSocket in it")


def test_firefox_by_default_goes_past_a_proxy_that_fails(clients: Clients, table: Table, page: Page) -> None:
    profile = firefox_profile(clients, page, SETTINGS[HTTP] | OPEN)
    with clients.running(*FIREFOX, "--profile", str(profile), urls_in("http://NAME/", clients, page)):
        strays = until("a look-up", clients.network.strays, BROWSER_S)
        assert_seen_by_a_browser(clients, page, "Firefox/")
    clients.network.strays()  # what came later is not for other tests to see
    assert {(kind, port) for _, kind, port in strays} == {("udp", 53)}
    outcome = "page over http, and WebSocket in it; **Firefox's own services look names up here**"
    table.row("firefox-esr", f"{HTTP}; as it comes", outcome)


def firefox_profile(clients: Clients, page: Page, settings: Mapping[str, object]) -> Path:
    """Make a profile, in which the site's certificate is an exception that the user has made."""
    profile = clients.folder / page.name
    write_profile(profile, settings, clients.proxy, clients.pac)
    (profile / "cert_override.txt").write_text(
        f"{page.name}:{clients.site.https}:\tOID.2.16.840.1.101.3.4.2.1\t{clients.site.fingerprint}\t\n"
    )
    return profile


def assert_seen_by_a_browser(clients: Clients, page: Page, agent: str) -> None:
    """See that a page came from an exit, and so did what its script had sent over WebSocket."""
    until("an echo", lambda: any(visit.path == f"/told?{page.number}" for visit in clients.site.seen), BROWSER_S)
    for path in (page.number, f"/told?{page.number}"):
        visit = clients.visit(path)
        assert agent in visit.agent
        assert_from_an_exit(clients, visit)
