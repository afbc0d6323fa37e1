"""Which samples make which batch: a function of (seed, epoch), whatever the number of processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from torch.utils.data import Sampler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainer.data.samples import IntArray


class Batch(NamedTuple):
    """What one process loads for one step.

    It carries the epoch, so that loader processes that live through many epochs know it too.
    """

    epoch: int
    indices: IntArray
    """Positions in the split, (b,)."""
    counts: bool = True
    """Whether these samples are this process's, and not just there for a batch to have some."""


class EpochSampler(Sampler[Batch]):
    """Batches of one epoch's permutation.

    Batch k of the whole run is `order[k * batch_size : (k + 1) * batch_size]`; process `rank` of
    `world_size` takes every `world_size`-th of its samples. All batches have the same size.

    `labels` (n,) asks for oversampling: each epoch holds every sample of the largest class once,
    and of the others every sample as often as it goes, then a random part of them once more.
    """

    def __init__(
        self,
        size: int,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        last_batch: str = "drop",
        shuffle: bool = True,
        labels: IntArray | None = None,
    ) -> None:
        if size < 1:
            raise ValueError("an epoch needs at least one sample")
        if batch_size % world_size:
            raise ValueError(f"batch_size={batch_size} is no multiple of world_size={world_size}")
        self._size = size
        self._batch_size = batch_size
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._shuffle = shuffle
        self._labels = labels
        self._epoch = 0
        self._start = 0
        length = size if labels is None else _oversampled_size(labels)
        full, rest = divmod(length, batch_size)
        self._batches = max(1, full + (1 if rest and last_batch == "fill" else 0))

    @property
    def sampler(self) -> EpochSampler:
        """Itself: Lightning looks for `set_epoch` at `loader.batch_sampler.sampler`."""
        return self

    @property
    def epoch(self) -> int:
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """What the next iteration goes through; starts at its first batch."""
        if epoch != self._epoch:
            self._epoch = epoch
            self._start = 0

    def start_at(self, batch: int) -> None:
        """Let the next iteration, and only that, begin with this batch of the epoch."""
        self._start = batch

    def order(self, epoch: int) -> IntArray:
        """Every position of the epoch, in order."""
        if not self._shuffle:
            return np.arange(self._size)
        # Philox is counter-based: one seed more is another stream, not a later part of the same.
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([self._seed, epoch])))
        if self._labels is None:
            return rng.permutation(self._size)
        return rng.permutation(_oversample(self._labels, rng))

    def __len__(self) -> int:
        """Batches in a whole epoch, wherever the next iteration starts."""
        return self._batches

    def __iter__(self) -> Iterator[Batch]:
        epoch, start = self._epoch, self._start
        self._start = 0
        order = self.order(epoch)
        # The order repeats itself, so that the last batch is as full as the others.
        order = np.resize(order, self._batches * self._batch_size)
        for batch in range(start, self._batches):
            whole = order[batch * self._batch_size : (batch + 1) * self._batch_size]
            yield Batch(epoch, whole[self._rank :: self._world_size])


class EvalSampler(Sampler[Batch]):
    """Every sample once, in order, in batches of `batch_size` over all processes together.

    Nothing is repeated to make processes equal: one may have a smaller or one fewer batch. Only a
    process that would have none has one, of a sample that does not count.
    """

    def __init__(self, size: int, *, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self._size = size
        self._batch_size = batch_size
        self._rank = rank
        self._world_size = world_size

    def __len__(self) -> int:
        return max(1, self._own)

    @property
    def _own(self) -> int:
        """Batches with samples of this process."""
        full, rest = divmod(self._size, self._batch_size)
        return full * (self._batch_size > self._rank) + (rest > self._rank)

    def __iter__(self) -> Iterator[Batch]:
        if not self._own:
            yield Batch(0, np.zeros(1, dtype=np.int64), counts=False)
        for batch in range(self._own):
            start = batch * self._batch_size
            stop = min(start + self._batch_size, self._size)
            yield Batch(0, np.arange(start + self._rank, stop, self._world_size))


def _oversampled_size(labels: IntArray) -> int:
    counts = np.unique(labels, return_counts=True)[1]
    return int(counts.max()) * len(counts)


def _oversample(labels: IntArray, rng: np.random.Generator) -> IntArray:
    kinds, counts = np.unique(labels, return_counts=True)
    chosen: list[Any] = []
    for kind, count in zip(kinds, counts, strict=True):
        own = np.flatnonzero(labels == kind)
        times, rest = divmod(int(counts.max()), int(count))
        chosen += [np.tile(own, times), rng.permutation(own)[:rest]]
    return np.concatenate(chosen)
