"""What is asked of WinINet, with a stand-in for the library that reads the structures as Windows would."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Final

import pytest

from node.desktops import SystemProxyError
from node.wininet import FLAGS_UI, OPTIONS, PER_CONNECTION, REFRESH, SETTINGS_CHANGED, Option, OptionList, Windows

if TYPE_CHECKING:
    from node.desktops import Values

NUMBERS: Final = {number: key for key, number in OPTIONS.items()} | {FLAGS_UI: "flags"}


class WinInet:
    """Holds the settings of the LAN."""

    def __init__(self, *, tells: bool = True, knows_ui: bool = True, takes: bool = True) -> None:
        self.values: dict[str, str | int] = {"server": "", "bypass": "<local>", "flags": 1 | 8}
        self.freed: list[int] = []
        self.told: list[int] = []
        self._tells = tells
        self._knows_ui = knows_ui
        self._takes = takes
        self._lent: list[Any] = []

    def InternetQueryOptionW(self, handle: None, option: int, pointer: Any, size: Any) -> int:
        assert handle is None
        assert (option, size._obj.value) == (PER_CONNECTION, ctypes.sizeof(OptionList))
        for asked in self._options(pointer):
            if asked.option == FLAGS_UI and not self._knows_ui:
                return 0
            value = self.values[NUMBERS[asked.option]]
            if isinstance(value, int):
                asked.value.number = value
            elif value:
                self._lent.append(ctypes.create_unicode_buffer(value))
                asked.value.text = ctypes.addressof(self._lent[-1])
        return int(self._tells)

    def InternetSetOptionW(self, handle: None, option: int, pointer: Any, size: int) -> int:
        assert handle is None
        if option != PER_CONNECTION:
            assert (pointer, size) == (None, 0)
            self.told.append(option)
            return 1
        assert size == ctypes.sizeof(OptionList)
        for wanted in self._options(pointer):
            assert wanted.option in OPTIONS.values()
            key = NUMBERS[wanted.option]
            text = key != "flags"
            self.values[key] = ctypes.wstring_at(wanted.value.text) if text else wanted.value.number
        return int(self._takes)

    def free(self, pointer: int) -> None:
        self.freed.append(pointer)

    def _options(self, pointer: Any) -> list[Option]:
        asked: OptionList = pointer._obj
        assert asked.size == ctypes.sizeof(OptionList)
        assert asked.connection is None
        options: list[Option] = asked.options[: asked.count]
        return options


def windows(library: WinInet) -> Windows:
    return Windows(library, library.free)


def test_the_structures_are_as_long_as_on_windows() -> None:
    words = ctypes.sizeof(ctypes.c_void_p) // 4
    assert ctypes.sizeof(Option) == (16 if words == 2 else 12)
    assert ctypes.sizeof(OptionList) == (32 if words == 2 else 20)


@pytest.mark.parametrize("knows_ui", [True, False])
def test_settings_are_read_and_memory_goes_back(knows_ui: bool) -> None:
    library = WinInet(knows_ui=knows_ui)
    assert windows(library).read() == {"server": "", "bypass": "<local>", "flags": "9"}
    assert len(library.freed) == 1, "an option without a text has no memory"


def test_settings_are_written_at_once_and_told() -> None:
    library = WinInet()
    place = windows(library)
    before = place.read()
    ours = place.ours("127.0.0.1", 1080, before)
    place.write(ours)
    assert library.values == {"server": "127.0.0.1:1080", "bypass": "localhost;127.*;[::1]", "flags": 3}
    assert library.told == [SETTINGS_CHANGED, REFRESH]
    assert place.read() == ours
    place.write({"flags": before["flags"]})
    assert library.values["flags"] == 9
    assert library.values["server"] == "127.0.0.1:1080"


def test_nothing_to_write_is_not_told() -> None:
    library = WinInet()
    windows(library).write({})
    assert library.told == []


def test_what_windows_refuses_is_said() -> None:
    with pytest.raises(SystemProxyError, match="did not take"):
        windows(WinInet(takes=False)).write({"flags": "3"})
    with pytest.raises(SystemProxyError, match="does not tell"):
        windows(WinInet(tells=False)).read()


def test_elsewhere_there_is_no_such_library() -> None:
    values: Values = {}
    with pytest.raises(SystemProxyError, match="only on Windows"):
        Windows().write(values)
