"""Let the library's thread sleep between packets.

At a given pace it waits for each packet's moment with `poll`, which counts milliseconds, and what is below a half is no
wait at all. So it turns round instead of sleeping, as long as a line is the bottleneck, and a thread that never sleeps
is the last to be served where other programs want the processor. In its mode of *packet trains* it waits until ten
packets may go at once, or as many as the pace lets gather: at 100 Mbit/s that is a millisecond, and it sleeps.

The library has this mode, but no way to it from Python. Its C function is exported, and what it is to be told is the
second field of a transport. The version is fixed, and a test compares that field with what a connection says.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

from aiopquic._binding import _transport

_POINTER: Final = ctypes.sizeof(ctypes.c_void_p)


def send_in_trains(transport: Any) -> bool:
    """Turn packet trains on for all connections of a transport that has started.

    Args:
        transport: the library's `TransportContext`.

    Returns:
        False when the library is not built as expected: then it works as before.
    """
    turn_on = getattr(ctypes.CDLL(_transport.__file__), "picoquic_set_packet_train_mode", None)
    context = context_of(transport)
    if turn_on is None or context is None:
        return False
    turn_on(ctypes.c_void_p(context), 1)
    return True


def context_of(transport: Any) -> int | None:
    """Return where a started transport keeps picoquic's context; None if it is not found.

    Behind the place for weak references, a transport has pointers to its own state, to the context and to the thread;
    the thread's state begins with the context again (picoquic_packet_loop.h, picoquic_network_thread_ctx_t).
    """
    fields = id(transport) + type(transport).__weakrefoffset__ + _POINTER
    _state, context, thread = (_read(fields + _POINTER * number) for number in range(3))
    return context if context and thread and _read(thread) == context else None


def _read(address: int) -> int | None:
    return ctypes.c_void_p.from_address(address).value
