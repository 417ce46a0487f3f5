"""The settings of a running node: what it goes by, what the file says, and how one follows the other."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from core.errors import ConfigError, MacroVpnError
from node.applying import FIRST_LIMITS, LIVE, apply
from node.config import CONFIG_NAME, FROM_FILE, FROM_FLAG, Loaded, check, load_from, read_text
from node.config_edit import REDACTED, SECRETS, edited, get_value, locked, write_text
from node.settings import FIELDS
from node.settings_view import rows

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from node.applying import Parts
    from node.settings import Settings

_FIXED: Final = {"network.name": "a home belongs to one network; `macrovpn network` makes homes for others"}

type _Seen = tuple[int, int, int]
"""When a file was last changed, its size and its number: who writes it anew changes one of them."""


class LiveSettings:
    """What a running node goes by.

    Args:
        settings: what it was started with.
        parts: of the node.
        overrides: options of the command that started it, as `section.key` and value. They count more than the file
            and the environment until the setting is changed here.

    Attributes:
        running: what it goes by now.
    """

    def __init__(self, settings: Settings, parts: Parts, overrides: Mapping[str, object] | None = None) -> None:
        self.running = settings
        self._parts = parts
        self._path = parts.home / CONFIG_NAME
        self._overrides = dict(overrides or {})
        self._lock = asyncio.Lock()
        self._saved: tuple[_Seen, Loaded | ConfigError] | None = None

    # -- what is

    def saved(self) -> Loaded:
        """What a node that starts now would go by, if it is started in the same way.

        Raises:
            ConfigError: the file is wrong by now.
        """
        seen = self._look()
        if self._saved is None or self._saved[0] != seen:
            try:
                self._saved = seen, load_from(read_text(self._path), self._path, self._overrides)
            except ConfigError as error:
                self._saved = seen, error
        found = self._saved[1]
        if isinstance(found, ConfigError):
            raise found
        return found

    def _look(self) -> _Seen:
        try:
            found = self._path.stat()
        except OSError:
            return 0, 0, 0
        return found.st_mtime_ns, found.st_size, found.st_ino

    def facts(self) -> dict[str, Any]:
        """What `status` says: which settings wait for a restart, and what is wrong with the file, if something is."""
        try:
            return {"restart_to_apply": self._differing(self.saved().settings), "settings_problem": ""}
        except ConfigError as error:
            return {"restart_to_apply": [], "settings_problem": str(error)}

    def listing(self) -> dict[str, Any]:
        """Every setting, as `node.settings_view.rows` describes it; of a file that is wrong, what the node goes by."""
        problem = ""
        try:
            loaded = self.saved()
        except ConfigError as error:
            loaded, problem = Loaded(self.running, {}), str(error)
        waiting = self._differing(loaded.settings)
        return {"settings": rows(loaded, waiting), "file": str(self._path), "problem": problem}

    def _differing(self, settings: Settings) -> list[str]:
        return [name for name in FIELDS if get_value(settings, name) != get_value(self.running, name)]

    # -- what shall be

    async def change(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Change settings in the file, all or none, and go by them as far as a running node can.

        Args:
            changes: values by `section.key`.

        Returns:
            `applied`: what counts now. `for_new`: what of that counts only for circuits and connections that begin
            from now on, while some run. `after_restart`: what the node goes by when it is started again.

        Raises:
            ConfigError: a setting is wrong, or the file cannot be changed; `where` is the setting. Nothing was changed.
            MacroVpnError: the node cannot go by it. Nothing was changed.
        """
        async with self._lock:
            with ExitStack() as held:
                await asyncio.to_thread(held.enter_context, locked(self._path.parent))
                return await self._change(changes)

    async def _change(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        values = {name: self._checked(name, value) for name, value in changes.items()}
        overrides = {name: value for name, value in self._overrides.items() if name not in values}
        old, new, after = await asyncio.to_thread(self._edited, values, overrides)
        write_text(self._path, new)
        try:
            await self._go_by(_with(self.running, after, LIVE.intersection(values)))
        except MacroVpnError:
            write_text(self._path, old)
            raise
        self._overrides = overrides
        self._saved = None
        waiting = [name for name in self._differing(after) if name in values]
        applied = [name for name in values if name not in waiting]
        first = FIRST_LIMITS.intersection(applied) if self._parts.serving.runs_past_limits else ()
        return {"applied": applied, "for_new": sorted(first), "after_restart": waiting}

    def _checked(self, name: str, value: Any) -> Any:
        checked = check(name, value, name)
        if name in _FIXED:
            raise ConfigError(name, _FIXED[name])
        if name in SECRETS and value == REDACTED:
            raise ConfigError(name, f"{REDACTED} stands for what it is, and can be no value")
        return checked

    def _edited(self, values: Mapping[str, Any], overrides: Mapping[str, object]) -> tuple[str, str, Settings]:
        """Read the file, and make the new text and settings."""
        old = read_text(self._path)
        new = edited(old, self._path, values)
        after = load_from(new, self._path, overrides, changed=values)
        for name in values:
            if (source := after.source(name)) not in (FROM_FILE, FROM_FLAG):
                raise ConfigError(name, f"{source} sets it and counts more than the file; unset it, and start again")
        return old, new, after.settings

    async def _go_by(self, wanted: Settings) -> None:
        names, before = self._differing(wanted), self.running
        try:
            await apply(self._parts, wanted, names)
        except MacroVpnError:
            await apply(self._parts, before, names)
            raise
        self.running = wanted

    async def reread(self, section: str) -> None:
        """Go by what the file says now in one section, and by files that it names, whatever was there before.

        Raises:
            MacroVpnError: the file, or one that it names, is wrong; then nothing has changed.
        """
        names = {name for name in LIVE if name.partition(".")[0] == section}
        async with self._lock:
            wanted = _with(self.running, self.saved().settings, names)
            await apply(self._parts, wanted, names)
            self.running = wanted


def _with(settings: Settings, other: Settings, names: Collection[str]) -> Settings:
    """Take some settings from others."""
    for name in names:
        section, _, key = name.partition(".")
        changed = replace(getattr(settings, section), **{key: getattr(getattr(other, section), key)})
        settings = replace(settings, **{section: changed})
    return settings
