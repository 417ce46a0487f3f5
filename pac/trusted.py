"""Tell whether the network that this machine is on is one that the user trusts.

A *sign* is what a network can be known by. Most signs can be imitated by anyone: a gateway's addresses, a Wi-Fi name.
They never make a network trusted by themselves; they make the node *ask*. What cannot be imitated is a password or a
certificate that the system itself checked when it joined.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote, unquote_to_bytes

from core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_TEXT_CHARACTERS: Final = 300
MAX_NETWORKS: Final = 64
MAX_SSID_BYTES: Final = 32
"""Source: IEEE 802.11-2020, section 9.4.2.2."""

_NAME: Final = re.compile(r"\w[\w .-]{0,30}(?<! )")
_MAC: Final = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_PROFILE: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SIGNS: Final = ("gateway", "mac", "ssid", "security", "profile")


class Security(Enum):
    """What the network had to prove when the system joined it, by the system's own profile.

    What a network says of itself is no security: whoever imitates it says the same.
    """

    NONE = "none"
    """Nothing, or nothing that is known: a cable, an open Wi-Fi, WEP."""
    WPA = "wpa"
    """That it knows the password of the profile (WPA2 and WPA3 personal)."""
    ENTERPRISE = "802.1x"
    """That its server has a certificate which the profile names (802.1X, on Wi-Fi or a cable)."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """One stay of this machine on one network.

    Args:
        interface: the device through which everything leaves by default.
        gateway: address of the router, an IP literal.
        mac: the router's hardware address, lower case with colons; empty when it is not known.
        ssid: name of the Wi-Fi, 1 to 32 bytes; empty without one.
        security: what the network proved.
        profile: UUID of the system's profile; empty when the system has none.
        period: whatever else tells this stay from the one before, such as a count of lost signals.
    """

    interface: str
    gateway: str
    mac: str = ""
    ssid: bytes = b""
    security: Security = Security.NONE
    profile: str = ""
    period: tuple[str | int, ...] = ()

    def is_same_stay(self, other: Attachment | None) -> bool:
        """Tell whether nothing has changed. What the system remembers of the router's hardware may come and go where
        the network has proved itself."""
        if other is not None and self.security is not Security.NONE:
            other = replace(other, mac=self.mac)
        return self == other


class Standing(Enum):
    """What the present network is to the user."""

    OFF = "off"
    """No network is trusted, so nobody looks."""
    UNKNOWN = "unknown"
    """It cannot be told which network this is, or the machine is on none, or on two."""
    ELSEWHERE = "elsewhere"
    ASKING = "asking"
    """It looks like a trusted network; only the user can say that it is."""
    TRUSTED = "trusted"


@dataclass(frozen=True, slots=True)
class TrustedNetwork:
    """A network that the user trusts. `str()` gives the text that `parse` reads back.

    Args:
        name: the user's word for it, 1 to 31 characters.
        gateway: as in an `Attachment`, like the others; empty for any.
        security: what the network must have proved; without it, the others are only signs to ask by.
    """

    name: str
    gateway: str = ""
    mac: str = ""
    ssid: bytes = b""
    security: Security = Security.NONE
    profile: str = ""

    @classmethod
    def parse(cls, text: str, where: str = "trusted network") -> Self:
        """Read a network as a person writes it.

        Args:
            text: `NAME: SIGN=VALUE …`, with the signs `gateway` (IP address), `mac` (of the gateway), `ssid`
                (spaces and `%` in it as `%20` and `%25`), `security` (`wpa` or `802.1x`) and `profile` (UUID).
            where: the setting or line that holds the text, for the error.

        Raises:
            ConfigError: the text names no network in this form.
        """
        name, colon, rest = text.partition(":")
        if len(text) > MAX_TEXT_CHARACTERS or not colon:
            raise ConfigError(where, 'write for example "home: ssid=MyWifi security=wpa": a name, a colon, signs')
        signs: dict[str, str] = {}
        for part in rest.split():
            sign, mark, value = part.partition("=")
            if not mark or not value or sign not in _SIGNS or sign in signs:
                raise ConfigError(where, f"after the name come SIGN=VALUE, with {', '.join(_SIGNS)} at most once each")
            signs[sign] = value
        found = cls(
            check_name(name.strip(), where),
            _gateway(signs.get("gateway", ""), where),
            _matched(_MAC, signs.get("mac", "").lower(), where, "mac is like 00:11:22:aa:bb:cc"),
            _ssid(signs.get("ssid", ""), where),
            _security(signs.get("security", ""), where),
            _matched(_PROFILE, signs.get("profile", "").lower(), where, "profile is the UUID of a profile"),
        )
        if not (found.gateway or found.mac or found.ssid or found.profile):
            raise ConfigError(where, "name at least one of gateway, mac, ssid and profile")
        if found.security is not Security.NONE and not (found.ssid or found.profile):
            raise ConfigError(where, "security proves nothing alone; name the ssid or the profile that it belongs to")
        return found

    @classmethod
    def of(cls, name: str, attachment: Attachment) -> Self:
        """Describe a network by the best signs that it has: what it proved, or else all that can be imitated."""
        if attachment.security is Security.NONE:
            return cls(name, attachment.gateway, attachment.mac, attachment.ssid, Security.NONE, "")
        return cls(name, "", "", attachment.ssid, attachment.security, attachment.profile)

    def __str__(self) -> str:
        texts = (self.gateway, self.mac, quote(self.ssid, safe=""), self.security.value, self.profile)
        signs = [f"{sign}={text}" for sign, text in zip(_SIGNS, texts, strict=True) if text not in ("", "none")]
        return f"{self.name}: {' '.join(signs)}"

    def judge(self, attachment: Attachment) -> Standing:
        """Say what a network is to the user, as far as this entry goes. Every sign that is named must be there."""
        wanted = (self.gateway, self.mac, self.ssid, self.profile)
        there = (attachment.gateway, attachment.mac, attachment.ssid, attachment.profile)
        if any(mine and mine != its for mine, its in zip(wanted, there, strict=True)):
            return Standing.ELSEWHERE
        if self.security is Security.NONE:
            return Standing.ASKING
        # The name without the proof is what an imitation looks like: it is not even asked about.
        return Standing.TRUSTED if self.security is attachment.security else Standing.ELSEWHERE


def check_name(name: str, where: str) -> str:
    """Return a network's name unchanged.

    Raises:
        ConfigError: it is none.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(where, "a network's name has 1 to 31 letters, digits, spaces, dots, hyphens and underscores")
    return name


def parse_networks(texts: Iterable[str], where: str = "trusted networks") -> tuple[TrustedNetwork, ...]:
    """Read a list of networks.

    Raises:
        ConfigError: one of them is wrong, two have one name, or there are more than 64.
    """
    found = tuple(TrustedNetwork.parse(text, where) for text in texts)
    if len({network.name for network in found}) < len(found):
        raise ConfigError(where, "two networks have the same name")
    if len(found) > MAX_NETWORKS:
        raise ConfigError(where, f"there are at most {MAX_NETWORKS}")
    return found


def judge(networks: Iterable[TrustedNetwork], attachment: Attachment) -> tuple[Standing, str]:
    """Say what the present network is to the user, and the name of the entry that says so; the surest one counts."""
    found = {network.judge(attachment): network.name for network in reversed(tuple(networks))}
    for standing in (Standing.TRUSTED, Standing.ASKING):
        if standing in found:
            return standing, found[standing]
    return Standing.ELSEWHERE, ""


def _matched(pattern: re.Pattern[str], text: str, where: str, problem: str) -> str:
    if text and not pattern.fullmatch(text):
        raise ConfigError(where, problem)
    return text


def _gateway(text: str, where: str) -> str:
    try:
        return str(ip_address(text)) if text else ""
    except ValueError as error:
        raise ConfigError(where, "gateway is an IP address such as 192.168.1.1") from error


def _ssid(text: str, where: str) -> bytes:
    ssid = unquote_to_bytes(text)
    if _BROKEN_ESCAPE.search(text) or len(ssid) > MAX_SSID_BYTES:
        raise ConfigError(where, f"ssid has at most {MAX_SSID_BYTES} bytes, spaces as %20 and % as %25")
    return ssid


def _security(text: str, where: str) -> Security:
    for security in (Security.WPA, Security.ENTERPRISE):
        if text == security.value:
            return security
    if text:
        raise ConfigError(where, "security is wpa or 802.1x")
    return Security.NONE
