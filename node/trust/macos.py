"""macOS: the router that everything leaves by, and its hardware address.

The name of the Wi-Fi and how it was joined are not asked for. Programs of the command line get `<redacted>` for the
name since macOS 15.6, and what older ones print can be forged by a name with a line break in it. So a network can only
be asked about there.

Source: `route(8)` and `arp(8)` of macOS.
"""

from __future__ import annotations

import asyncio
import re
from ipaddress import ip_address
from typing import Final

from core.errors import DecodeError
from core.processes import environment_without_settings
from pac.trusted import Attachment

_ANSWER_BYTES: Final = 1 << 16
"""An answer is shorter; a real one has some hundred bytes."""

_FIELD: Final = re.compile(r"^ *(gateway|interface): (\S+)$", re.MULTILINE)
_DEVICE: Final = re.compile(r"[a-z]{1,12}[0-9]{1,3}")
_MAC: Final = re.compile(r"[0-9a-f]{1,2}(?::[0-9a-f]{1,2}){5}")


async def read() -> Attachment | None:
    """Ask the system. The caller sets a limit of time.

    Returns:
        None while there is no way out, or none with a router, or one device for IPv4 and another for IPv6.

    Raises:
        OSError: a program of the system cannot be started.
        DecodeError: its answer is of another form.
    """
    ways = [decode_route(await _ask("/sbin/route", "-n", "get", family, "default")) for family in ("-inet", "-inet6")]
    found = [way for way in ways if way is not None]
    if not found or len({device for device, _ in found}) > 1:
        return None
    device, gateway = found[0]
    mac = decode_neighbour(await _ask("/usr/sbin/arp", "-n", gateway), gateway, device) if "." in gateway else ""
    return Attachment(device, gateway, mac, period=tuple(gateway for _, gateway in found))


def decode_route(text: str) -> tuple[str, str] | None:
    """Read what `route -n get default` prints.

    Returns:
        The device and the router; None without a way.

    Raises:
        DecodeError: there is a way, and no router on it.
    """
    fields = _FIELD.findall(text)
    if not fields:
        return None
    found = dict(fields)
    if len(fields) != len(found) or not _DEVICE.fullmatch(found.get("interface", "")):
        raise DecodeError("route", "no device, or two")
    try:
        return found["interface"], str(ip_address(found["gateway"].partition("%")[0]))
    except (KeyError, ValueError) as error:
        raise DecodeError("route", "no router") from error


def decode_neighbour(text: str, gateway: str, device: str) -> str:
    """Read what `arp -n` prints about an address.

    Returns:
        `00:11:22:aa:bb:cc`; empty if it is not known.
    """
    for line in text.splitlines():
        words = line.split()
        if words[1:3] == [f"({gateway})", "at"] and words[4:6] == ["on", device] and _MAC.fullmatch(words[3]):
            return ":".join(part.zfill(2) for part in words[3].split(":"))
    return ""


async def _ask(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment_without_settings(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        await process.stdout.readexactly(_ANSWER_BYTES)
    except asyncio.IncompleteReadError as error:
        await process.wait()
        return error.partial.decode("utf-8", "replace")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    raise DecodeError(command[0], "too long an answer")
