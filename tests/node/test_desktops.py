"""The commands that desktops get, word by word, and what is read out of their answers."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Final

import pytest

from node import desktops
from node.desktops import Gnome, Kde, MacOs, SystemProxyError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GNOME: Final = """\
org.gnome.system.proxy autoconfig-url 'http://corp.example/a b.pac'
org.gnome.system.proxy ignore-hosts ['localhost', '*.corp.example']
org.gnome.system.proxy mode 'auto'
org.gnome.system.proxy use-same-proxy true
org.gnome.system.proxy.ftp host ''
org.gnome.system.proxy.ftp port 0
org.gnome.system.proxy.http authentication-password 'secret'
org.gnome.system.proxy.http host 'corp.example'
org.gnome.system.proxy.http port 3128
org.gnome.system.proxy.http use-authentication true
org.gnome.system.proxy.https host ''
org.gnome.system.proxy.https port 0
org.gnome.system.proxy.socks host ''
org.gnome.system.proxy.socks port 0
"""

KDE: Final = "--file kioslaverc --group 'Proxy Settings' --key"

SERVICES: Final = (
    "An asterisk (*) denotes that a network service is disabled.\nWi-Fi\n*Thunderbolt Bridge\nUSB 10/100 LAN\n"
)
OFF: Final = "Enabled: No\nServer: \nPort: 0\nAuthenticated Proxy Enabled: 0\n"
CORP: Final = "Enabled: Yes\nServer: corp.example\nPort: 3128\nAuthenticated Proxy Enabled: 0\n"
PAC: Final = "URL: http://corp.example/x.pac\nEnabled: Yes\n"
NONE: Final = "There aren't any bypass domains set on USB 10/100 LAN.\n"


class Commands:
    """Notes commands as a shell would be given them, and answers those it knows."""

    def __init__(self, answers: Mapping[str, str] | None = None) -> None:
        self.answers = dict(answers or {})
        self.lines: list[str] = []

    def __call__(self, arguments: Sequence[str]) -> str:
        line = shlex.join(arguments)
        self.lines.append(line)
        return self.answers.get(line, "")


# -- GNOME


def test_gnome_is_read_by_one_command_and_nothing_else_is_kept() -> None:
    commands = Commands({"gsettings list-recursively org.gnome.system.proxy": GNOME})
    found = Gnome(commands).read()
    assert commands.lines == ["gsettings list-recursively org.gnome.system.proxy"]
    assert found.keys() == Gnome(commands).ours("127.0.0.1", 1080, found).keys()
    assert found["org.gnome.system.proxy mode"] == "'auto'"
    assert found["org.gnome.system.proxy ignore-hosts"] == "['localhost', '*.corp.example']"
    assert "secret" not in str(found)


def test_gnome_gets_servers_first_and_the_mode_last() -> None:
    commands = Commands()
    gnome = Gnome(commands)
    gnome.write(gnome.ours("127.0.0.1", 1080, {}))
    assert commands.lines == [
        "gsettings set org.gnome.system.proxy.http host ''\"'\"'127.0.0.1'\"'\"''",
        "gsettings set org.gnome.system.proxy.http port 1080",
        "gsettings set org.gnome.system.proxy.https host ''\"'\"'127.0.0.1'\"'\"''",
        "gsettings set org.gnome.system.proxy.https port 1080",
        "gsettings set org.gnome.system.proxy.ftp host ''\"'\"'127.0.0.1'\"'\"''",
        "gsettings set org.gnome.system.proxy.ftp port 1080",
        "gsettings set org.gnome.system.proxy.socks host ''\"'\"''\"'\"''",
        "gsettings set org.gnome.system.proxy.http use-authentication false",
        "gsettings set org.gnome.system.proxy ignore-hosts "
        "'['\"'\"'localhost'\"'\"', '\"'\"'127.0.0.0/8'\"'\"', '\"'\"'::1'\"'\"']'",
        "gsettings set org.gnome.system.proxy mode ''\"'\"'manual'\"'\"''",
    ]


@pytest.mark.parametrize("answer", ["", GNOME.replace("mode", "modus")])
def test_gnome_without_its_schema_says_what_to_install(answer: str) -> None:
    commands = Commands({"gsettings list-recursively org.gnome.system.proxy": answer})
    with pytest.raises(SystemProxyError, match=r"have no .*libglib2\.0-bin and gsettings-desktop-schemas"):
        Gnome(commands).read()


def test_gnome_without_its_program_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SystemProxyError, match=r"gsettings is not installed\. It is in Debian's packages libglib2"):
        Gnome().read()


# -- KDE


def kde(commands: Commands, version: str = "5") -> Kde:
    return Kde(commands, lambda tool: f"/usr/bin/{tool}" if tool.endswith(version) else None)


@pytest.mark.parametrize("version", ["5", "6"])
def test_kde_is_read_key_by_key(version: str) -> None:
    commands = Commands({f"kreadconfig{version} {KDE} httpProxy": "http://corp.example 3128\n"})
    found = kde(commands, version).read()
    assert commands.lines == [f"kreadconfig{version} {KDE} {key}" for key in found]
    assert found.keys() == kde(commands).ours("127.0.0.1", 1080, {}).keys()
    assert found["httpProxy"] == "http://corp.example 3128"
    assert found["ProxyType"] == ""


def test_kde_gets_its_keys_and_running_programs_are_told() -> None:
    commands = Commands()
    place = kde(commands)
    place.write(place.ours("127.0.0.1", 1080, {}))
    assert commands.lines == [
        f"kwriteconfig5 {KDE} httpProxy 'http://127.0.0.1 1080'",
        f"kwriteconfig5 {KDE} httpsProxy 'http://127.0.0.1 1080'",
        f"kwriteconfig5 {KDE} ftpProxy 'http://127.0.0.1 1080'",
        f"kwriteconfig5 {KDE} socksProxy --delete ''",
        f"kwriteconfig5 {KDE} NoProxyFor 127.0.0.0/8",
        f"kwriteconfig5 {KDE} ReversedException false",
        f"kwriteconfig5 {KDE} ProxyType 1",
        "dbus-send --type=signal /KIO/Scheduler org.kde.KIO.Scheduler.reparseSlaveConfiguration string:",
    ]


def test_kde_is_not_told_of_nothing() -> None:
    commands = Commands()
    kde(commands).write({})
    assert commands.lines == []


def test_kde_without_its_programs_says_what_to_install() -> None:
    with pytest.raises(SystemProxyError, match=r"kreadconfig6 \(or kreadconfig5\).*libkf6config-bin"):
        Kde(Commands(), lambda tool: None).read()


# -- macOS


def mac(**changed: str) -> Commands:
    """Two services, of which one goes through a company's proxy, by what networksetup prints."""
    commands = Commands({"/usr/sbin/networksetup -listallnetworkservices": SERVICES})
    for service in ("Wi-Fi", "USB 10/100 LAN"):
        corp = service == "Wi-Fi"
        answers = {
            "webproxy": CORP if corp else OFF,
            "securewebproxy": CORP.replace("Yes", "No") if corp else OFF,
            "socksfirewallproxy": CORP.replace("3128", "1080") if corp else OFF,
            "autoproxyurl": PAC if corp else "URL: (null)\nEnabled: No\n",
            "proxyautodiscovery": f"Auto Proxy Discovery: {'On' if corp else 'Off'}\n",
            "proxybypassdomains": "*.local\n169.254/16\n" if corp else NONE,
        } | changed
        for kind, answer in answers.items():
            commands.answers[shlex.join(["/usr/sbin/networksetup", f"-get{kind}", service])] = answer
    return commands


def test_macos_is_read_service_by_service() -> None:
    assert MacOs(mac()).read() == {
        "webproxy Wi-Fi": "on corp.example 3128",
        "securewebproxy Wi-Fi": "off corp.example 3128",
        "socksfirewallproxy Wi-Fi": "on corp.example 1080",
        "autoproxyurl Wi-Fi": "on http://corp.example/x.pac",
        "proxyautodiscovery Wi-Fi": "on",
        "proxybypassdomains Wi-Fi": "*.local 169.254/16",
        "webproxy USB 10/100 LAN": "off  0",
        "securewebproxy USB 10/100 LAN": "off  0",
        "socksfirewallproxy USB 10/100 LAN": "off  0",
        "autoproxyurl USB 10/100 LAN": "off ",
        "proxyautodiscovery USB 10/100 LAN": "off",
        "proxybypassdomains USB 10/100 LAN": "",
    }


def changes(commands: Commands, values: Mapping[str, str]) -> list[str]:
    """What networksetup is told."""
    commands.lines.clear()
    MacOs(commands).write(values)
    return [line.removeprefix("/usr/sbin/networksetup ") for line in commands.lines]


def test_macos_gets_servers_and_neither_socks_nor_a_pac() -> None:
    commands = mac()
    place = MacOs(commands)
    ours = place.ours("127.0.0.1", 1080, place.read())
    assert changes(commands, {key: value for key, value in ours.items() if key.endswith("Wi-Fi")}) == [
        "-setwebproxy Wi-Fi 127.0.0.1 1080",
        "-setwebproxystate Wi-Fi on",
        "-setsecurewebproxy Wi-Fi 127.0.0.1 1080",
        "-setsecurewebproxystate Wi-Fi on",
        "-setsocksfirewallproxystate Wi-Fi off",
        "-setautoproxystate Wi-Fi off",
        "-setproxyautodiscovery Wi-Fi off",
        "-setproxybypassdomains Wi-Fi localhost 127.0.0.1 ::1",
    ]
    assert ours.keys() == place.read().keys()


def test_macos_gets_back_what_it_had() -> None:
    commands = mac()
    assert changes(commands, MacOs(commands).read()) == [
        "-setwebproxy Wi-Fi corp.example 3128",
        "-setwebproxystate Wi-Fi on",
        "-setsecurewebproxy Wi-Fi corp.example 3128",
        "-setsecurewebproxystate Wi-Fi off",
        "-setsocksfirewallproxy Wi-Fi corp.example 1080",
        "-setsocksfirewallproxystate Wi-Fi on",
        "-setautoproxyurl Wi-Fi http://corp.example/x.pac",
        "-setautoproxystate Wi-Fi on",
        "-setproxyautodiscovery Wi-Fi on",
        "-setproxybypassdomains Wi-Fi '*.local' 169.254/16",
        "-setwebproxystate 'USB 10/100 LAN' off",
        "-setsecurewebproxystate 'USB 10/100 LAN' off",
        "-setsocksfirewallproxystate 'USB 10/100 LAN' off",
        "-setautoproxystate 'USB 10/100 LAN' off",
        "-setproxyautodiscovery 'USB 10/100 LAN' off",
        "-setproxybypassdomains 'USB 10/100 LAN' Empty",
    ]


def test_macos_keeps_a_proxy_whose_password_it_could_not_put_back() -> None:
    commands = mac(webproxy=CORP.replace("Enabled: 0", "Enabled: 1"))
    with pytest.raises(SystemProxyError, match="Wi-Fi uses a proxy with a password"):
        MacOs(commands).read()


@pytest.mark.parametrize("kind", ["webproxy", "proxyautodiscovery", "autoproxyurl"])
def test_macos_with_other_answers_is_refused(kind: str) -> None:
    with pytest.raises(SystemProxyError, match="does not know"):
        MacOs(mac(**{kind: "Aktiviert: Ja\n"})).read()


# -- running commands


def test_a_command_gets_no_input_and_gives_its_output() -> None:
    assert desktops.run([sys.executable, "-c", "import sys; print(sys.stdin.read() + 'x')"]) == "x\n"


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import sys; print('out'); sys.exit('one\\ntwo')", "failed: two"),
        ("print('** Error'); raise SystemExit(14)", r"failed: \*\* Error"),
        ("raise SystemExit(1)", "failed: it gave no reason"),
    ],
)
def test_a_command_that_fails_is_told_with_its_last_line(program: str, said: str) -> None:
    with pytest.raises(SystemProxyError, match=said):
        desktops.run([sys.executable, "-c", program])


def test_a_command_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desktops, "COMMAND_LIMIT_S", 0.2)
    with pytest.raises(SystemProxyError, match="does not answer"):
        desktops.run([sys.executable, "-c", "import signal; signal.pause()"])
