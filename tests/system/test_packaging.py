"""The service files and the container's file: what they promise, and that a node lives within it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Final

import pytest

from node.settings import SharingSettings
from tests.harness.demo import ROOT, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.origin import Origin

pytestmark = pytest.mark.system

PACKAGING: Final = ROOT / "packaging"
SERVICE: Final = PACKAGING / "systemd" / "macrovpn-share.service"
USER_SERVICE: Final = PACKAGING / "systemd" / "user-macrovpn-share.service"
MAX_EXPOSURE: Final = 1.5
"""`systemd-analyze security` of systemd 252 gives 1.3 of 10, mostly for the network itself; other versions weigh a
little differently."""
UID: Final = "64999"
READY_S: Final = 60.0

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")

CONFINE: Final = """
set -eu
interpreter=$1 home=$2; shift 2
# The interpreter may lie in a folder that is closed to others.
kept=$(mktemp -d); mount --bind "$interpreter" "$kept"
mount -t tmpfs -o mode=0755 none /root
mkdir -p "$interpreter"; mount --move "$kept" "$interpreter"
mount --bind "$home" "$home"
findmnt -rno TARGET | grep -Ev "^/(proc|sys|dev)" | while read -r where; do
    [ "$where" = "$home" ] || mount -o remount,bind,ro "$where"
done
exec setpriv --reuid UID --regid UID --clear-groups --bounding-set=-all --inh-caps=-all --ambient-caps=-all \
    --no-new-privs "$@"
""".replace("UID", UID)
"""Does to a command by hand what the unit asks of systemd: $1 the interpreter's folder, $2 the only writable one."""


def settings_of(unit: Path) -> dict[str, list[str]]:
    """Read a unit file: each key with all its values."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@needs_systemd
@pytest.mark.parametrize("unit", [SERVICE, USER_SERVICE], ids=lambda unit: unit.name)
def test_systemd_takes_the_unit(unit: Path, tmp_path: Path) -> None:
    installed = tmp_path / "macrovpn-share.service"
    program = f'"{Path(sys.executable).with_name("macrovpn")}"'
    installed.write_text(re.sub(r"(?<=^ExecStart=)\S+", program, unit.read_text(), flags=re.MULTILINE))
    scope = ["--user"] if unit is USER_SERVICE else []
    done = subprocess.run(
        ["systemd-analyze", *scope, "verify", str(installed)],
        capture_output=True,
        text=True,
        env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_little_is_exposed() -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(SERVICE)],
        capture_output=True,
        text=True,
        check=True,
    )
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert level is not None
    assert float(level[1]) <= MAX_EXPOSURE


@pytest.mark.parametrize("unit", [SERVICE, USER_SERVICE], ids=lambda unit: unit.name)
def test_a_drain_fits_into_the_time_to_stop(unit: Path) -> None:
    settings = settings_of(unit)
    assert settings["KillSignal"] == ["SIGTERM"]
    assert int(settings["TimeoutStopSec"][0].removesuffix("s")) > SharingSettings().drain_s
    assert settings["NoNewPrivileges"] == ["yes"]


def test_the_two_units_differ_in_nothing_but_the_place() -> None:
    service, user = settings_of(SERVICE), settings_of(USER_SERVICE)
    for key in set(user) - {"ExecStart", "WantedBy", "Description"}:
        assert service[key] == user[key], key


def test_the_container_is_not_root_and_can_be_asked() -> None:
    text = (PACKAGING / "Containerfile").read_text()
    last = text.rpartition("\nFROM ")[2]
    assert f"USER {UID}:{UID}" in last
    assert "VOLUME /var/lib/macrovpn" in last
    assert "STOPSIGNAL SIGTERM" in last
    assert "HEALTHCHECK" in last
    asked = re.search(r"CMD (\[.*status.*\])", last)
    assert asked is not None
    shell = json.loads(asked[1])
    for state, healthy in (("up", True), ("connecting", False), ("down", False)):
        said = json.dumps({"state": state, "reason": "", "sharing": {"state": "open"}})
        asking = shell[2].replace("/opt/macrovpn/bin/macrovpn status --json", f"echo '{said}'")
        assert (subprocess.run([*shell[:2], asking], check=False).returncode == 0) == healthy


# -- a node within these walls


def _allowed_calls() -> set[str]:
    """The system calls that the unit's filter lets through, by systemd's own tables."""
    text = subprocess.run(["systemd-analyze", "syscall-filter"], capture_output=True, text=True, check=True).stdout
    sets: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        word = line.strip()
        if word.startswith("@") and not line.startswith(" "):
            current = sets.setdefault(word, [])
        elif word and not word.startswith("#"):
            current.append(word)

    def expand(name: str) -> Iterator[str]:
        for member in sets[name] if name.startswith("@") else ():
            yield from expand(member)
        if not name.startswith("@"):
            yield name

    allowed: set[str] = set()
    for line in settings_of(SERVICE)["SystemCallFilter"]:
        members = {call for name in line.removeprefix("~").split() for call in expand(name)}
        allowed = allowed - members if line.startswith("~") else allowed | members
    return allowed


def _missing() -> str:
    missing = [name for name in ("systemd-analyze", "strace", "unshare", "setpriv") if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    return "" if os.geteuid() == 0 else "only root can take away so much"


@pytest.mark.skipif(bool(_missing()), reason=_missing() or "nothing is missing")
def test_nodes_live_within_the_unit(tmp_path: Path, origin: Origin) -> None:
    """A client and an exit as the unit would run them, with every system call noted and compared with its filter."""
    # Not below tmp_path, whose folders only root may enter.
    home = Path(f"/tmp/macrovpn-test-{os.getpid()}")
    home.mkdir(mode=0o700)
    os.chown(home, int(UID), int(UID))
    trace, ready = home / "trace", home / "ready"
    demo = f"demo --relays 0 --exits 1 --hops 1 --allow-destination 127.0.0.0/8 --json --home {home}/network"
    strace = f"strace -D -f -qq -o {trace} -e signal=none"
    command = f"exec {strace} {quote(sys.executable)} -m node {demo} >{ready}"
    confined = ["unshare", "--mount", "--propagation", "private", "sh", "-c", CONFINE, "sh"]
    environment = os.environ | {"HOME": str(home), "TMPDIR": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        with (tmp_path / "errors").open("wb") as errors:
            process = subprocess.Popen(
                [*confined, sys.base_prefix, str(home), "sh", "-c", command], cwd=ROOT, env=environment, stderr=errors
            )
        try:
            until("the network", lambda: ready.exists() and ready.read_text().endswith("\n"), READY_S)
            facts = json.loads(ready.read_text())
            url = f"http://127.0.0.1:{origin.http}/bytes/1000000"
            arguments = [
                "curl",
                "-sS",
                "--noproxy",
                "",
                "-m",
                "20",
                "--socks5-hostname",
                facts["proxy"],
                "-o",
                "/dev/null",
                url,
            ]
            assert subprocess.run(arguments, check=False).returncode == 0
            for entry in facts["processes"]:
                held = Path(f"/proc/{entry['pid']}/status").read_text()
                assert re.search(rf"^Uid:\t{UID}\t{UID}", held, re.MULTILINE)
                assert len(re.findall(r"^Cap(?:Prm|Eff|Bnd|Amb):\t0*$", held, re.MULTILINE)) == 4
                assert "NoNewPrivs:\t1" in held
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(20)
        assert code == 0, (tmp_path / "errors").read_text()
        lines = trace.read_text(errors="replace")
    finally:
        shutil.rmtree(home)
    calls = set(re.findall(r"^[0-9]+ +([a-z0-9_]+)\(", lines, re.MULTILINE))
    assert {"socket", "sendmsg", "openat"} <= calls, "there is something to compare"
    assert calls - _allowed_calls() == set()
    families = set(re.findall(r" socket\((AF_[A-Z0-9]+)", lines))
    assert families <= set(settings_of(SERVICE)["RestrictAddressFamilies"][0].split())
    # What MemoryDenyWriteExecute refuses.
    assert not re.search(r"PROT_WRITE\|PROT_EXEC|mprotect\(.*PROT_EXEC", lines), "memory is written to or run, not both"
