"""The heap: memory that was freed between blocks in use goes back to the system."""

from __future__ import annotations

import ctypes

import psutil
import pytest

from serving.heap import give_back

BLOCK, BLOCKS = 4096, 20_000


def test_what_was_freed_between_blocks_in_use_is_given_back():
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "malloc_trim"):
        pytest.skip("this is not glibc")
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    blocks = [libc.malloc(BLOCK) for _ in range(BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, BLOCK)
    for block in blocks[:-1]:
        libc.free(block)
    process = psutil.Process()
    before = process.memory_info().rss
    give_back()
    freed = before - process.memory_info().rss
    libc.free(blocks[-1])
    assert freed > BLOCK * BLOCKS / 2
