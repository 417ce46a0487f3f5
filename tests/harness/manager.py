"""A system bus with a NetworkManager or an iwd that says what a test wants.

    python -m tests.harness.manager SOCKET DEVICE KEY_MGMT

The bus is the real one. What stands in for the manager gives the answers that its documentation describes.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NM: Final = "org.freedesktop.NetworkManager"
IWD: Final = "net.connman.iwd"
PROFILE: Final = "2815492f-7e56-435e-b2e9-246bd7cdc664"
SSID: Final = b"My Wifi"
_PATH: Final = "/org/freedesktop/NetworkManager"
_CONFIGURATION: Final = """
<busconfig>
  <type>custom</type>
  <listen>unix:path={path}</listen>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
  </policy>
</busconfig>
"""

type Answers = dict[tuple[str, str], tuple[str, object]]
"""By the object's path and the method with its arguments: the answer's signature and its one part."""


def wifi(key_mgmt: str, **server: object) -> dict[str, dict[str, Variant]]:
    """The sections of a profile for a Wi-Fi; `server` is its `802-1x`, with the hyphens of names as underscores."""
    profile = {
        "connection": {"uuid": Variant("s", PROFILE), "type": Variant("s", "802-11-wireless")},
        "802-11-wireless": {"ssid": Variant("ay", SSID), "mode": Variant("s", "infrastructure")},
    }
    if key_mgmt:
        profile["802-11-wireless-security"] = {"key-mgmt": Variant("s", key_mgmt)}
    return profile | _server(server)


def cable(**server: object) -> dict[str, dict[str, Variant]]:
    """The sections of a profile for a cable."""
    return {"connection": {"uuid": Variant("s", PROFILE), "type": Variant("s", "802-3-ethernet")}} | _server(server)


def _server(facts: dict[str, object]) -> dict[str, dict[str, Variant]]:
    kinds = {bool: "b", str: "s", bytes: "ay", list: "as"}
    section = {name.replace("_", "-"): Variant(kinds[type(value)], value) for name, value in facts.items()}
    return {"802-1x": section} if section else {}


def network_manager(
    device: str, profile: dict[str, dict[str, Variant]], *, active: int = 7, point: str = "AA:AA:AA:AA:AA:AA"
) -> Answers:
    """A NetworkManager that has connected a device by a profile.

    Args:
        active: counts connections.
        point: the access point's address.
    """
    where = f"{_PATH}/ActiveConnection/{active}"
    is_wifi = "802-11-wireless" in profile
    facts = {
        "State": Variant("u", 2),
        "Uuid": Variant("s", PROFILE),
        "Connection": Variant("o", f"{_PATH}/Settings/4"),
        "SpecificObject": Variant("o", f"{_PATH}/AccessPoint/9" if is_wifi else "/"),
    }
    return {
        (_PATH, f"GetDeviceByIpIface {device}"): ("o", f"{_PATH}/Devices/3"),
        (f"{_PATH}/Devices/3", f"Get {NM}.Device ActiveConnection"): ("v", Variant("o", where)),
        (where, f"GetAll {NM}.Connection.Active"): ("a{sv}", facts),
        (f"{_PATH}/Settings/4", "GetSettings"): ("a{sa{sv}}", profile),
        (f"{_PATH}/AccessPoint/9", f"Get {NM}.AccessPoint HwAddress"): ("v", Variant("s", point)),
    }


def iwd(device: str, kind: str, state: str = "connected") -> Answers:
    """An iwd whose station is on a network of a kind."""
    station = {"State": Variant("s", state), "ConnectedNetwork": Variant("o", "/0/4/net")}
    objects = {
        "/0": {f"{IWD}.Adapter": {"Powered": Variant("b", True)}},
        "/0/4": {f"{IWD}.Device": {"Name": Variant("s", device)}, f"{IWD}.Station": station},
        "/0/4/net": {f"{IWD}.Network": {"Name": Variant("s", SSID.decode()), "Type": Variant("s", kind)}},
    }
    return {("/", "GetManagedObjects"): ("a{oa{sa{sv}}}", objects)}


class Bus:
    """A bus of its own. Leaving the context ends it.

    Args:
        socket: where it listens.
    """

    def __init__(self, socket: Path) -> None:
        self.address = f"unix:path={socket}"
        self._socket = socket
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Bus:
        configuration = self._socket.with_suffix(".conf")
        configuration.write_text(_CONFIGURATION.format(path=self._socket))
        command = ["dbus-daemon", "--nofork", "--print-address", f"--config-file={configuration}"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), "the bus did not start"
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait(5)
        self._process.stdout.close()


@asynccontextmanager
async def manager(address: str, name: str, answers: Answers) -> AsyncIterator[list[str]]:
    """Answer under a name, until the context is left. What is not among the answers is refused as the real one would.

    Args:
        address: of the bus.
        answers: may be changed meanwhile.

    Yields:
        The questions, as they come.
    """
    bus = await MessageBus(bus_address=address).connect()
    asked: list[str] = []

    def answer(message: Message) -> Message | None:
        if message.message_type is not MessageType.METHOD_CALL:
            return None
        question = " ".join([str(message.member), *map(str, message.body)])
        asked.append(question)
        found = answers.get((str(message.path), question))
        if found is None:
            error = f"{NM}.UnknownDevice" if message.member == "GetDeviceByIpIface" else f"{NM}.Failed"
            return Message.new_error(message, error, "no")
        return Message.new_method_return(message, found[0], [found[1]])

    bus.add_message_handler(answer)
    await bus.request_name(name)
    try:
        yield asked
    finally:
        bus.disconnect()


async def _serve(socket: Path, device: str, key_mgmt: str) -> None:
    with Bus(socket) as bus:
        async with manager(bus.address, NM, network_manager(device, wifi(key_mgmt))):
            print(json.dumps({"address": bus.address}), flush=True)
            await asyncio.to_thread(sys.stdin.read)


def main(arguments: list[Any]) -> None:
    socket, device, key_mgmt = arguments
    asyncio.run(_serve(Path(socket), device, key_mgmt))


if __name__ == "__main__":
    main(sys.argv[1:])
