"""Name an unexpected error for the log: its type and the place, never its text, which may hold a destination."""

from __future__ import annotations

from pathlib import Path


def place(error: BaseException) -> str:
    """Say what kind of error it is and where it came from, such as `KeyError at pool.py:120`."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    trace, where = error.__traceback__, ""
    while trace is not None:
        where = f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__name__}{where}"
