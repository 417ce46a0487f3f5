"""What people see of a measurement: progress while it runs, and a short table at its end."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def say(text: str) -> None:
    """Write a line of progress to standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def table(result: Mapping[str, Any]) -> str:
    """Write a result as two columns, spreads and quantiles on one line each. Lists are left out."""
    rows = list(_rows(result, ""))
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _rows(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        if set(value) == {"min", "median", "max"}:
            yield name, f"{value['median']} [{value['min']} … {value['max']}]"
        elif set(value) == {"p50", "p95", "p99"}:
            yield name, " / ".join(str(value[key]) for key in ("p50", "p95", "p99"))
        else:
            for key, inner in value.items():
                yield from _rows(inner, f"{name}.{key}" if name else str(key))
    elif not isinstance(value, list):
        yield name, str(value)
