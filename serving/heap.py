"""Heap: what a worker has freed is the system's again."""

from __future__ import annotations

import contextlib
import ctypes


def give_back() -> None:
    """The allocator would keep what lies between blocks in use: a little more with each model."""
    with contextlib.suppress(AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)
