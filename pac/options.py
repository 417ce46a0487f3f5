"""What a rule can want of the circuits that carry a site: `region=NL,DE mode=privacy max_tariff=3 isolated`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from core.errors import ConfigError
from core.flow import SiteOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

REGION: Final = "[A-Z]{2}(?:-[A-Z0-9]{1,5})?"
"""A country, or a part of one, by its code in ISO 3166-1 or 3166-2."""

MODES: Final = ("speed", "balanced", "privacy")
MAX_TARIFF_STEP: Final = 7

_ISOLATED: Final = "isolated"


def read_options(words: Iterable[str], where: str) -> SiteOptions:
    """Read the words after a rule's host.

    Args:
        words: each is `isolated`, or a name, `=` and a value; none may come twice.
        where: the setting or line that holds the rule, for the error.

    Raises:
        ConfigError: a word is no option, or its value is not one.
    """
    found: dict[str, Any] = {}
    for word in words:
        name, mark, value = word.partition("=")
        if word != _ISOLATED and (not mark or name not in _OPTIONS):
            raise ConfigError(where, "after the host come region=NL,DE, mode=privacy, max_tariff=3 or isolated")
        key, read = _OPTIONS[name] if mark else (_ISOLATED, None)
        if key in found:
            raise ConfigError(where, f"the option {name} stands twice")
        found[key] = True if read is None else read(value, where)
    return SiteOptions(**found)


def format_options(options: SiteOptions) -> str:
    """Write options as `read_options` reads them, each with a space in front; nothing for none."""
    text = ""
    if options.regions is not None:
        text += f" region={','.join(options.regions)}"
    if options.mode is not None:
        text += f" mode={options.mode}"
    if options.max_tariff is not None:
        text += f" max_tariff={options.max_tariff}"
    return text + (f" {_ISOLATED}" if options.isolated else "")


def _regions(value: str, where: str) -> tuple[str, ...]:
    regions = tuple(value.split(","))
    if len(set(regions)) < len(regions) or not all(re.fullmatch(REGION, region) for region in regions):
        raise ConfigError(where, "region must be different country codes with commas between, such as NL,US-CA")
    return regions


def _mode(value: str, where: str) -> str:
    if value not in MODES:
        raise ConfigError(where, f"mode must be one of {', '.join(MODES)}")
    return value


def _tariff(value: str, where: str) -> int:
    if not re.fullmatch(f"[0-{MAX_TARIFF_STEP}]", value):
        raise ConfigError(where, f"max_tariff must be a tariff step, 0 to {MAX_TARIFF_STEP}")
    return int(value)


_OPTIONS: Final[dict[str, tuple[str, Callable[[str, str], Any]]]] = {
    "region": ("regions", _regions),
    "mode": ("mode", _mode),
    "max_tariff": ("max_tariff", _tariff),
}
