"""One sweep at a time in a folder, and none while trials of a killed one still run."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trainer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

log = logging.getLogger(__name__)
LOCK = "sweep.lock"
_POLL_SECONDS = 0.1


@contextmanager
def locked(folder: Path, *, wait: float) -> Iterator[int]:
    """Hold the folder; yields a descriptor for trials to inherit, which then hold it too.

    Waits up to `wait` seconds for trials that a killed sweep has left. Raises ConfigError if
    they do not end, or if a sweep runs in the folder.
    """
    with (folder / LOCK).open("a+", encoding="utf-8") as stream:
        _acquire(stream.fileno(), folder, wait=wait)
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield stream.fileno()
        stream.truncate(0)


def _acquire(lock: int, folder: Path, *, wait: float) -> None:
    until = time.monotonic() + wait
    told = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = (folder / LOCK).read_text(encoding="utf-8").strip()
            if (holder and _lives(int(holder))) or time.monotonic() > until:
                who = f"process {holder}" if holder and _lives(int(holder)) else "its trials"
                raise ConfigError(
                    f"hydra.sweep.dir={folder}: a sweep runs in it ({who})",
                    field="hydra.sweep.dir",
                    remedy="wait for it, stop it, or name another folder",
                ) from None
            if not told:
                log.info("waiting for the trials of the killed sweep to stop")
                told = True
            time.sleep(_POLL_SECONDS)
        else:
            return


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
