"""Machine: failures that say nothing of a variant, but that the machine has no memory or disk left.

And words for those that do: the same in every run, because they are part of a bundle.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import tempfile
from typing import TYPE_CHECKING

from optimize.errors import MachineError
from trainer.memory import is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

_REFUSALS = frozenset(
    {
        errno.EACCES,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.EPERM,
        errno.EROFS,
    }
)
_NO_MEMORY = (
    "std::bad_alloc",
    "Failed to allocate memory",
    "out of memory",  # CUDA
    "OutOfMemory",  # TensorRT
    "ALLOC_FAILED",  # cuBLAS and cuDNN
)
"""What runtimes say of it, a GPU's too, in exceptions of their own or of ours."""
_NO_DISK = (os.strerror(errno.ENOSPC), "Protobuf serialization failed")
"""The second is all that ONNX Runtime says where it cannot write a graph."""
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b", re.IGNORECASE)


@contextlib.contextmanager
def machine_errors(what: str) -> Iterator[None]:
    """While entered, what fails because the machine refuses is a MachineError about `what`."""
    try:
        yield
    except MachineError:
        raise
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if is_out_of_memory(cause) or any(sign in str(cause) for sign in _NO_MEMORY):
                raise MachineError(
                    f"{what}: the memory is not enough: {str(error) or type(error).__name__}",
                    field="optimize.batch_size",
                    remedy="lower optimize.batch_size and optimize.samples.calibration, for plans "
                    "optimize.tensorrt.max_batch_size and workspace_mb, or free memory, and run "
                    "the same command again: what was finished is kept",
                ) from error
            refused = isinstance(cause, OSError) and cause.errno in _REFUSALS
            if refused or any(sign in str(cause) for sign in _NO_DISK):
                raise MachineError(
                    f"{what}: the machine refuses to write or to read: {error}",
                    field="TMPDIR",
                    remedy=f"make room in {tempfile.gettempdir()}, or name another folder with "
                    "TMPDIR, and run the same command again: what was finished is kept",
                ) from error
            cause = cause.__cause__
        raise


def reason_of(error: BaseException) -> str:
    """Its message without what differs from run to run: scratch folders and addresses in memory."""
    folders = {tempfile.gettempdir(), os.path.realpath(tempfile.gettempdir())}
    scratch = re.compile(rf"(?:{'|'.join(map(re.escape, sorted(folders)))})/[^/\s'\"]+(/?)")
    text = scratch.sub(lambda found: "" if found[1] else "a temporary file", str(error))
    return _ADDRESS.sub("0x…", text)
