"""What a program that this one starts gets to know of it."""

from __future__ import annotations

import os
from typing import Final

SETTING_PREFIX: Final = "MACROVPN_"
"""Variables of the environment that begin so are settings, and may hold a password or a key."""


def environment_without_settings() -> dict[str, str]:
    """This process's environment, for programs of the system: without settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith(SETTING_PREFIX)}
