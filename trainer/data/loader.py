"""Loaders that start when they are read from, so that they know which epoch it is by then."""

from __future__ import annotations

import atexit
import multiprocessing
import signal
import threading
import weakref
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, Dataset

from trainer.data.loader_signals import outlive_first_signal
from trainer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trainer.data.dataset import BatchDataset, Tensors
    from trainer.data.sampler import Batch, EpochSampler, EvalSampler


class BatchLoader:
    """Batches of one split, through `num_workers` processes.

    Lightning makes the first iterator of a fit before it calls `set_epoch`; torch's own loader
    would by then have sent its processes to fetch the wrong epoch. Nor does this one draw from
    the global random generator.
    """

    def __init__(
        self,
        dataset: BatchDataset,
        sampler: EpochSampler | EvalSampler,
        *,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self._dataset = dataset
        self._sampler = sampler
        self._loader: DataLoader[Any] | None = None
        if num_workers == 0 and not pin_memory:
            return  # torch's loader would add its own cost to every batch, and nothing else
        self._loader = DataLoader(
            _Guarded(dataset),
            batch_sampler=sampler,  # type: ignore[arg-type]  # batches come as Batch, not list
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=pin_memory,
            collate_fn=_unchanged,  # type: ignore[arg-type]  # likewise
            generator=torch.Generator(),
            worker_init_fn=outlive_first_signal,
        )
        weakref.finalize(self, _stop_processes, self._loader).atexit = False  # torch has its own

    @property
    def batch_sampler(self) -> EpochSampler | EvalSampler:
        return self._sampler

    @property
    def _iterator(self) -> Any:
        """The running iterator: at the end of a fit Lightning stops its processes, by this name.

        Left to the garbage collector, each process takes five seconds to go.
        """
        return None if self._loader is None else self._loader._iterator  # noqa: SLF001 - it is ours

    @_iterator.setter
    def _iterator(self, iterator: Any) -> None:
        if self._loader is not None:
            self._loader._iterator = iterator  # noqa: SLF001 - the loader is ours

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[Tensors]:
        if self._loader is None:
            yield from map(self._dataset.__getitems__, self._sampler)
            return
        for batch in self._loader:
            if isinstance(batch, DataError):
                raise batch
            yield batch


class TrainLoader(BatchLoader):
    """Batches of the training split, from any place of any epoch on.

    `progress` is asked at the start of every iteration how many batches of this epoch are already
    trained on; None: the place that `load_state_dict` set, else the first.
    """

    def __init__(
        self,
        dataset: BatchDataset,
        sampler: EpochSampler,
        *,
        num_workers: int = 0,
        pin_memory: bool = False,
        progress: Callable[[TrainLoader], int | None] | None = None,
    ) -> None:
        super().__init__(dataset, sampler, num_workers=num_workers, pin_memory=pin_memory)
        self._epochs = sampler
        self._progress = progress
        self._done = 0
        self._resume: int | None = None

    def __iter__(self) -> Iterator[Tensors]:
        start = self._progress(self) if self._progress is not None else None
        if start is None:
            start = self._resume or 0
        self._resume = None
        self._epochs.start_at(start)
        self._done = start
        for batch in super().__iter__():
            self._done += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The epoch and the batch that come next."""
        if self._done >= len(self):
            return {"epoch": self._epochs.epoch + 1, "batch": 0}
        return {"epoch": self._epochs.epoch, "batch": self._done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next iteration begin there."""
        self._epochs.set_epoch(state["epoch"])
        self._resume = self._done = state["batch"]


class _Guarded(Dataset[Any]):
    """Hands a DataError over as it is; torch would make one text of it and its traceback."""

    def __init__(self, dataset: BatchDataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitems__(self, batch: Batch) -> Tensors | DataError:
        try:
            return self._dataset.__getitems__(batch)
        except DataError as error:
            return error


def _stop_processes(loader: DataLoader[Any]) -> None:
    """End the loader's processes, before its parts are garbage.

    Once they are, the collector may close the pipe to a process ahead of the iterator, whose
    finalizer then writes to a descriptor that is closed, or is another file's by now.
    """
    if loader._iterator is not None:  # noqa: SLF001 - there is no public way
        loader._iterator._shutdown_workers()  # type: ignore[attr-defined]  # noqa: SLF001


@atexit.register
def _end_processes() -> None:
    """End what is left of loaders: multiprocessing would ask each once, which it lets pass, and
    wait for it. Left is what a signal kept torch from knowing, as it came while they were started.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would complain
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


def _unchanged(batch: Tensors) -> Tensors:
    return batch
