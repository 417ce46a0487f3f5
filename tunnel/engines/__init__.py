"""QUIC engines: connections, streams and datagrams over one UDP port, behind one seam.

`seam` says what an engine does; nothing above it knows which engine runs. `load_engine` picks one by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import ConfigError

if TYPE_CHECKING:
    from tunnel.engines.seam import Engine


def load_engine(name: str) -> Engine:
    """Make an engine.

    Args:
        name: `aiopquic`, `aioquic`, or `auto`: the first where it is installed, else the second.

    Raises:
        ConfigError: there is no such engine, or it is not installed.
    """
    if name not in ("auto", "aiopquic", "aioquic"):
        raise ConfigError("engine", f"there is no engine {name!r}; use auto, aiopquic or aioquic")
    if name != "aioquic":
        try:
            from tunnel.engines.aiopquic import AiopquicEngine
        except ImportError as error:
            if name != "auto":
                raise ConfigError("engine", "the package aiopquic is not installed for this Python") from error
        else:
            return AiopquicEngine()
    from tunnel.engines.aioquic import AioquicEngine

    return AioquicEngine()
