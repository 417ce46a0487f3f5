"""Large blocks of the C library."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_SECOND_BLOCK = """
import ctypes, sys
from core.allocator import LARGE_BYTES, keep_large_blocks_apart
if sys.argv[1] == "apart" and not keep_large_blocks_apart():
    sys.exit("not here")
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
libc.free(libc.malloc(4 * LARGE_BYTES))
block = libc.malloc(2 * LARGE_BYTES)
with open("/proc/self/maps") as maps:
    heap = next(line.split()[0] for line in maps if line.rstrip().endswith("[heap]"))
start, end = (int(part, 16) for part in heap.split("-"))
print(start <= block < end)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries do not do this")
@pytest.mark.parametrize(("how", "in_heap"), [("as it is", "True"), ("apart", "False")])
def test_a_large_block_is_cut_from_the_heap_only_without_it(how: str, in_heap: str) -> None:
    ran = subprocess.run([sys.executable, "-c", _SECOND_BLOCK, how], capture_output=True, text=True, timeout=30)
    assert (ran.stdout.strip(), ran.stderr) == (in_heap, "")
