"""CheckpointWriter: Lightning's door to checkpoints, now or in the background."""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytorch_lightning.plugins.io import CheckpointIO

from trainer.checkpoints.checkpoint import read_checkpoint, remove_checkpoint, write_checkpoint
from trainer.checkpoints.content import copy_to_cpu
from trainer.errors import CheckpointError
from trainer.memory import is_out_of_memory, release

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)
_MOST_WAITING = 2
"""Copies of the state that may wait for the disk."""


class _Task(NamedTuple):
    future: Future[None]
    saves: Path | None


class CheckpointWriter(CheckpointIO):
    """Writes checkpoints one after the other, in the order in which they were asked for.

    In the background a save takes as long as a copy of the state (without room for one, as long as
    the disk needs); one that has not begun when a newer one for the same name comes is dropped.
    What fails there is raised by the next call, and nothing is done in between: no name is given to
    a checkpoint that is not there.
    """

    def __init__(
        self, *, background: bool = False, rotate: Callable[[Path, int], None] | None = None
    ) -> None:
        """`rotate(path, step)` is called before `path` is replaced by the state after `step`."""
        self._background = background
        self._rotate = rotate
        self._pool: ThreadPoolExecutor | None = None
        self._tasks: list[_Task] = []
        self._error: BaseException | None = None

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write atomically, with a sidecar."""
        if storage_options is not None:
            raise CheckpointError("checkpoints take no storage options")
        target = Path(path)
        if not self._background:
            self._save(target, checkpoint)
            return
        self._raise_error()
        self._drop_waiting(target)
        self._wait_for_room()
        copy = _copied(checkpoint)
        if copy is None:  # the copies that wait may be what fills the memory
            self.drain()
            release()
            copy = _copied(checkpoint)
        if copy is None:
            log.warning("no memory for a copy of the state: a step waits for its checkpoint")
            self._save(target, checkpoint)
        else:
            self._submit(lambda: self._save(target, copy), saves=target)

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., Any] | None = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Verify, then load; `weights_only` cannot be switched off."""
        if weights_only is False:
            raise CheckpointError(f"{path}: refused, unpickling a checkpoint can run any code")
        self.drain()
        return read_checkpoint(Path(path), map_location=map_location or "cpu")

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove the file and its sidecar."""
        self.after(lambda: remove_checkpoint(Path(path)))

    def after(self, action: Callable[[], None]) -> None:
        """Do this when everything asked for before is on the disk."""
        if not self._background:
            action()
            return
        self._raise_error()
        self._submit(action)

    def drain(self) -> None:
        """Wait until everything is on the disk. Raises what failed."""
        wait([task.future for task in self._tasks])
        self._tasks.clear()
        self._raise_error()

    def teardown(self) -> None:
        """Lightning's last call: what is asked for is finished; errors are for `drain`."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None

    def _save(self, path: Path, checkpoint: dict[str, Any]) -> None:
        if self._rotate is not None:
            self._rotate(path, int(checkpoint.get("global_step", 0)))
        write_checkpoint(path, checkpoint)

    def _submit(self, action: Callable[[], None], *, saves: Path | None = None) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._tasks = [task for task in self._tasks if not task.future.done()]
        self._tasks.append(_Task(self._pool.submit(self._run, action), saves))

    def _run(self, action: Callable[[], None]) -> None:
        if self._error is not None:
            return
        try:
            action()
        except BaseException as error:  # noqa: BLE001 - raised in the thread that asked for it
            self._error = error

    def _drop_waiting(self, path: Path) -> None:
        """Only the last task: what comes after a save may be about it."""
        if self._tasks and self._tasks[-1].saves == path and self._tasks[-1].future.cancel():
            self._tasks.pop()

    def _wait_for_room(self) -> None:
        saves = [task for task in self._tasks if task.saves and not task.future.done()]
        if len(saves) > _MOST_WAITING:
            log.warning("the disk is slower than the checkpoints: a step waits for it")
            wait([task.future for task in saves[:-_MOST_WAITING]])

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error


def _copied(checkpoint: dict[str, Any]) -> dict[str, Any] | None:
    """The state as it is now; None if there is no memory for it."""
    try:
        return dict(copy_to_cpu(checkpoint))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None
