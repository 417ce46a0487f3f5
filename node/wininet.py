"""The proxy settings of Windows, by the interface that Microsoft documents for them.

Values in the registry alone would not do: whether a PAC or its discovery comes first is in none of them.
"""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING, Any, ClassVar, Final

from node.desktops import SystemProxyError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from node.desktops import Values

# Source: wininet.h, and "Option Flags" and "INTERNET_PER_CONN_OPTION structure" in Microsoft's WinINet reference.
REFRESH: Final = 37
SETTINGS_CHANGED: Final = 39
PER_CONNECTION: Final = 75
OPTIONS: Final = {"server": 2, "bypass": 3, "flags": 1}
FLAGS_UI: Final = 10
"""Flags as the user sees them: to be asked for first since Windows 7, and never set."""
_DIRECT_AND_PROXY: Final = 1 | 2
"""PROXY_TYPE_DIRECT, which is always there, and PROXY_TYPE_PROXY; without 4, a PAC, and 8, its discovery."""


class _Value(ctypes.Union):
    _fields_ = (("number", ctypes.c_uint32), ("text", ctypes.c_void_p), ("time", ctypes.c_uint32 * 2))


class Option(ctypes.Structure):
    """INTERNET_PER_CONN_OPTIONW."""

    _fields_ = (("option", ctypes.c_uint32), ("value", _Value))


class OptionList(ctypes.Structure):
    """INTERNET_PER_CONN_OPTION_LISTW. No connection's name means the LAN."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("connection", ctypes.c_wchar_p),
        ("count", ctypes.c_uint32),
        ("error", ctypes.c_uint32),
        ("options", ctypes.POINTER(Option)),
    )


class Windows:
    """The settings of the LAN, which WinINet and browsers use.

    One server counts for every scheme. There is no SOCKS among them: `socks=` means version 4, for which programs look
    names up themselves.

    Args:
        wininet: the library; None for the system's.
        free: gives memory back that the library handed out.
    """

    name: ClassVar = "windows"
    switch: ClassVar = "flags"
    bypass: ClassVar = "bypass"

    def __init__(self, wininet: Any = None, free: Any = None) -> None:
        if wininet is None:
            wininet, free = _libraries()
        self._wininet = wininet
        self._free = free

    def read(self) -> Values:
        """Ask for the three options at once."""
        numbers = [FLAGS_UI if key == "flags" else number for key, number in OPTIONS.items()]
        asked = self._query(numbers) or self._query(list(OPTIONS.values()))
        if asked is None:
            raise SystemProxyError("Windows does not tell its proxy settings.")
        return {key: self._text(key, option) for key, option in zip(OPTIONS, asked, strict=True)}

    def ours(self, host: str, port: int, present: Mapping[str, str]) -> Values:
        """Give the values."""
        return {"server": f"{host}:{port}", "bypass": "localhost;127.*;[::1]", "flags": f"{_DIRECT_AND_PROXY}"}

    def write(self, values: Mapping[str, str]) -> None:
        """Set the options at once, and tell programs that run."""
        if not values:
            return
        options = (Option * len(values))()
        texts = []
        for option, (key, value) in zip(options, values.items(), strict=True):
            option.option = OPTIONS[key]
            if key == "flags":
                option.value.number = int(value)
            else:
                texts.append(ctypes.create_unicode_buffer(value))
                option.value.text = ctypes.addressof(texts[-1])
        wanted = _list(options)
        set_option = self._wininet.InternetSetOptionW
        if not set_option(None, PER_CONNECTION, ctypes.byref(wanted), wanted.size):
            raise SystemProxyError("Windows did not take the proxy settings.")
        for told in (SETTINGS_CHANGED, REFRESH):
            set_option(None, told, None, 0)

    def _query(self, numbers: list[int]) -> ctypes.Array[Option] | None:
        options = (Option * len(numbers))()
        for option, number in zip(options, numbers, strict=True):
            option.option = number
        asked = _list(options)
        size = ctypes.c_uint32(asked.size)
        done = self._wininet.InternetQueryOptionW(None, PER_CONNECTION, ctypes.byref(asked), ctypes.byref(size))
        return options if done else None

    def _text(self, key: str, option: Option) -> str:
        if key == "flags":
            return f"{option.value.number}"
        if not option.value.text:
            return ""
        text = ctypes.wstring_at(option.value.text)
        self._free(option.value.text)
        return text


def _list(options: ctypes.Array[Option]) -> OptionList:
    size = ctypes.sizeof(OptionList)
    return OptionList(size, None, len(options), 0, ctypes.cast(options, ctypes.POINTER(Option)))


def _libraries() -> tuple[Any, Any]:
    if sys.platform != "win32":
        raise SystemProxyError("The proxy settings of Windows are only on Windows.")
    free = ctypes.WinDLL("kernel32").GlobalFree
    free.argtypes = [ctypes.c_void_p]
    return ctypes.WinDLL("wininet"), free
