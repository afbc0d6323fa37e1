"""Running out of memory: how it shows, and how much there is."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import torch

from trainer.errors import TrainerError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIGNS = (
    "DefaultCPUAllocator",  # "can't allocate memory", or on Windows "not enough memory"
    "std::bad_alloc",
    "ALLOC_FAILED",  # cuBLAS and cuDNN
    "out of memory",
)
_CGROUP = Path("/sys/fs/cgroup")
_RESET_PEAK = "5"
"""What `/proc/self/clear_refs` takes for it: https://man7.org/linux/man-pages/man5/proc.5.html."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this is an allocation that failed, on a GPU or on the CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


@contextmanager
def running_out_explained() -> Iterator[None]:
    """While entered, an allocation that fails comes out as a TrainerError."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TrainerError(
            f"out of memory: {reason}",
            field="data.batch_size",
            remedy="lower data.batch_size (trainer.accumulate makes up for it) or let"
            " trainer.out_of_memory=retry cut batches; if the weights and the optimiser alone are"
            " too large, choose a smaller model or strategy=fsdp",
        ) from error


def release() -> None:
    """Give back what nothing refers to any more; an error's traceback may have until just now."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def available_bytes() -> int:
    """Of the CPU's memory, what this process may still take before it is killed for it."""
    free = int(psutil.virtual_memory().available)
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):  # no control group, or one without a limit
        return free
    return min(free, max(0, limit - used))


class Peak:
    """The most resident memory that this process had since it was made; Linux only."""

    def __init__(self) -> None:
        self._known = True
        try:
            Path("/proc/self/clear_refs").write_text(_RESET_PEAK)
        except OSError:
            self._known = False
        self._before = int(psutil.Process().memory_info().rss)

    def grown(self) -> int:
        """Bytes above what was in use at first; 0 where it cannot be known."""
        if not self._known:
            return 0
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return max(0, int(line.split()[1]) * 1024 - self._before)
        return 0
