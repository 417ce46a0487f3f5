"""Linux: what a network proved, as NetworkManager or iwd tells it over the system's D-Bus.

What counts is the profile by which this machine joined, which is the user's, and not what an access point says.

Source: NetworkManager's D-Bus reference (https://networkmanager.dev/docs/api/latest/), `nm-settings-dbus(5)`, and iwd's
`doc/device-api.txt`, `station-api.txt` and `network-api.txt`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dbus_fast import BusType, Message, MessageFlag, MessageType, Variant
from dbus_fast.aio import MessageBus

from core.errors import DecodeError
from pac.trusted import Security

if TYPE_CHECKING:
    from collections.abc import Mapping

_NM: Final = "org.freedesktop.NetworkManager"
_NM_PATH: Final = "/org/freedesktop/NetworkManager"
_NO_OBJECT: Final = "/"
_ACTIVATED: Final = 2
"""NM_ACTIVE_CONNECTION_STATE_ACTIVATED."""
_PASSWORD_KEYS: Final = frozenset({"wpa-psk", "sae"})
_ENTERPRISE_KEYS: Final = frozenset({"wpa-eap", "wpa-eap-suite-b-192"})
_SERVER_NAMES: Final = ("domain-suffix-match", "domain-match", "altsubject-matches", "subject-match")

_IWD: Final = "net.connman.iwd"
_ABSENT: Final = frozenset(
    {
        "org.freedesktop.DBus.Error.ServiceUnknown",
        "org.freedesktop.DBus.Error.NameHasNoOwner",
        "org.freedesktop.NetworkManager.UnknownDevice",
    }
)


class Joined(NamedTuple):
    """How this machine joined its network.

    Args:
        ssid: name of the Wi-Fi, or empty.
        security: what the network proved.
        profile: UUID, or empty.
        period: what tells this time from the one before.
    """

    ssid: bytes
    security: Security
    profile: str
    period: tuple[str, ...]


NOTHING: Final = Joined(b"", Security.NONE, "", ())
"""Nobody manages the device, or nothing was asked of the network."""


class Managers:
    """Asks over one connection to the bus, which is opened when it is needed."""

    def __init__(self) -> None:
        self._bus: MessageBus | None = None

    async def joined(self, device: str) -> Joined:
        """Ask how a device joined its network. The caller sets a limit of time.

        Raises:
            OSError: the bus is there and does not work.
            DecodeError: an answer has another form.
        """
        try:
            if self._bus is None or not self._bus.connected:
                self._bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
        except (FileNotFoundError, ConnectionRefusedError):
            return NOTHING  # this machine has no such bus, so nobody manages its network over one
        try:
            return await self._network_manager(device) or await self._iwd(device) or NOTHING
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise DecodeError("D-Bus", "an answer of another form") from error

    def close(self) -> None:
        """Leave the bus."""
        if self._bus is not None:
            self._bus.disconnect()

    # -- NetworkManager

    async def _network_manager(self, device: str) -> Joined | None:
        answer = await self._call(_NM, _NM_PATH, _NM, "GetDeviceByIpIface", "s", device)
        if answer is None:
            return None
        active = await self._get(answer[0], f"{_NM}.Device", "ActiveConnection")
        if active == _NO_OBJECT:
            return None
        facts = await self._get_all(active, f"{_NM}.Connection.Active")
        if facts["State"] != _ACTIVATED:
            return NOTHING
        (settings,) = await self._must(_NM, facts["Connection"], f"{_NM}.Settings.Connection", "GetSettings")
        profile = {name: _plain(section) for name, section in settings.items()}
        wireless = profile.get("802-11-wireless", {})
        ssid = bytes(wireless.get("ssid", b""))
        point = ""
        if ssid and facts["SpecificObject"] != _NO_OBJECT:
            point = str(await self._get(facts["SpecificObject"], f"{_NM}.AccessPoint", "HwAddress"))
        security = security_of(profile)
        # Whoever proved itself may hand over to another access point: it is the same network.
        period = (active,) if security is not Security.NONE else (active, point)
        return Joined(ssid, security, str(facts["Uuid"]), period)

    # -- iwd

    async def _iwd(self, device: str) -> Joined | None:
        answer = await self._call(_IWD, "/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
        if answer is None:
            return None
        objects = {path: {name: _plain(facts) for name, facts in found.items()} for path, found in answer[0].items()}
        for found in objects.values():
            station = found.get(f"{_IWD}.Station", {})
            if found.get(f"{_IWD}.Device", {}).get("Name") != device or station.get("State") != "connected":
                continue
            network = objects[station["ConnectedNetwork"]][f"{_IWD}.Network"]
            # What iwd asks of the server of an 8021x network is not told on the bus.
            security = Security.WPA if network["Type"] == "psk" else Security.NONE
            return Joined(str(network["Name"]).encode(), security, "", (str(station["ConnectedNetwork"]),))
        return None

    # -- the bus

    async def _get(self, path: str, interface: str, name: str) -> Any:
        answer = await self._must(_NM, path, "org.freedesktop.DBus.Properties", "Get", "ss", interface, name)
        return answer[0].value

    async def _get_all(self, path: str, interface: str) -> dict[str, Any]:
        answer = await self._must(_NM, path, "org.freedesktop.DBus.Properties", "GetAll", "s", interface)
        return _plain(answer[0])

    async def _must(self, to: str, path: str, interface: str, member: str, types: str = "", *body: str) -> list[Any]:
        answer = await self._call(to, path, interface, member, types, *body)
        if answer is None:
            raise DecodeError("D-Bus", "it is gone")
        return answer

    async def _call(
        self, to: str, path: str, interface: str, member: str, types: str = "", *body: str
    ) -> list[Any] | None:
        """Ask something.

        Returns:
            The answer's parts; None if nobody has that name, or the service does not know the device.

        Raises:
            DecodeError: the service refuses.
            OSError: the bus is gone.
        """
        assert self._bus is not None
        flags = MessageFlag.NO_AUTOSTART
        question = Message(to, path, interface, member, flags=flags, signature=types, body=list(body))
        answer = await self._bus.call(question)
        if answer is None or answer.message_type is MessageType.ERROR:
            if answer is not None and answer.error_name in _ABSENT:
                return None
            raise DecodeError("D-Bus", "the service refuses")
        found: list[Any] = answer.body
        return found


def security_of(profile: Mapping[str, Mapping[str, Any]]) -> Security:
    """Say what a network must have proved for NetworkManager to be connected by a profile.

    Args:
        profile: its sections, as `GetSettings` gives them.
    """
    wifi, wired = profile.get("802-11-wireless-security", {}), profile.get("802-1x", {})
    key = wifi.get("key-mgmt", "")
    if key in _PASSWORD_KEYS:
        return Security.WPA
    is_enterprise = key in _ENTERPRISE_KEYS if "802-11-wireless" in profile else bool(wired)
    return Security.ENTERPRISE if is_enterprise and _names_its_server(wired) else Security.NONE


def _names_its_server(section: Mapping[str, Any]) -> bool:
    """Tell whether a profile joins only where the server shows a certificate that it names.

    Without a name, whoever has any certificate of the same authority can be the server; without an authority, anybody.
    With `optional`, a cable is used also where there is no server.
    """
    authority = any(section.get(name) for name in ("ca-cert", "ca-path", "system-ca-certs"))
    return authority and any(section.get(name) for name in _SERVER_NAMES) and not section.get("optional", False)


def _plain(values: Mapping[str, Variant]) -> dict[str, Any]:
    return {name: variant.value for name, variant in values.items()}
