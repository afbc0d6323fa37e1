"""What loader processes hold: prepared samples, and how a batch of them becomes tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from bundle.errors import InputError
from trainer.data.rejects import Rejects
from trainer.data.sampler import Batch
from trainer.data.samples import LABEL, NO_SAMPLE, UNREADABLE
from trainer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from bundle.preprocessing.preprocessor import DataPreprocessor
    from trainer.data.augmentation import ImageAugmentation, TextAugmentation
    from trainer.data.samples import IntArray, RawSample
    from trainer.data.stand_ins import StandIns

Tensors = dict[str, Tensor]


class BatchDataset(Dataset[Tensors], ABC):
    """One split. Whole batches are asked for, with the epoch they belong to."""

    def __init__(self, indices: IntArray, labels: IntArray) -> None:
        """`indices` (n,) are the split's positions in the corpus, `labels` the whole corpus's."""
        self._indices = indices
        self._labels = labels

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Tensors:
        """A batch of one, as in epoch 0."""
        return self.__getitems__(Batch(0, np.array([index])))

    def __getitems__(self, batch: Batch) -> Tensors:
        """The preprocessor's tensors with "label", int64 (B,), UNREADABLE where a sample is, and
        NO_SAMPLE if none of them counts.
        """
        samples = self._indices[batch.indices]  # (B,) positions in the corpus
        tensors, samples = self._load(samples, epoch=batch.epoch)
        labels = np.where(samples == UNREADABLE, UNREADABLE, self._labels[samples])
        if not batch.counts:
            labels = np.full_like(labels, NO_SAMPLE)
        return {**tensors, LABEL: torch.from_numpy(labels)}

    @abstractmethod
    def _load(self, samples: IntArray, *, epoch: int) -> tuple[Tensors, IntArray]:
        """The tensors, and which samples they are of; as many as were asked for."""


class ImageStore(ABC):
    """Where preprocessed images come from."""

    @abstractmethod
    def fetch(
        self, samples: IntArray, *, stand_ins: StandIns | None = None
    ) -> tuple[Tensor, IntArray]:
        """uint8 (B, C, H, W), and which samples (B,) they are of.

        Where one cannot be read, a stand-in is; without them, zeros are and UNREADABLE.
        """


class ImageCache(ImageStore):
    """All of them, in memory."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self._images = torch.from_numpy(images)  # (N, C, H, W)

    def fetch(
        self,
        samples: IntArray,
        *,
        stand_ins: StandIns | None = None,  # noqa: ARG002 - all that is here can be read
    ) -> tuple[Tensor, IntArray]:
        return self._images.index_select(0, torch.from_numpy(samples)), samples


class ImageReader(ImageStore):
    """Read, decoded and resized when asked for.

    An image that turns out unreadable raises DataError, or, if such images are to be skipped, is
    logged.
    """

    def __init__(
        self,
        raw: Sequence[RawSample],
        *,
        names: Sequence[str],
        shape: tuple[int, ...],
        preprocessor: DataPreprocessor,
        where: str,
        on_error: str,
    ) -> None:
        """`shape`: (C, H, W) of every image."""
        self._raw = raw
        self._names = names
        self._shape = shape
        self._preprocessor = preprocessor
        self._where = where
        self._on_error = on_error

    def fetch(
        self, samples: IntArray, *, stand_ins: StandIns | None = None
    ) -> tuple[Tensor, IntArray]:
        """Raises DataError if no stand-in can be read either."""
        rejects = Rejects(where=self._where, on_error=self._on_error)
        images = np.zeros((len(samples), *self._shape), dtype=np.uint8)
        found = samples.copy()
        for row, sample in enumerate(samples.tolist()):
            try:
                images[row] = self._read(sample)
            except (InputError, OSError) as error:
                rejects.add(self._names[sample], error)
                found[row] = UNREADABLE
                if stand_ins is not None:
                    found[row], images[row] = self._first(stand_ins(sample), rejects)
        rejects.report(total=len(samples))
        return torch.from_numpy(images), found

    def _read(self, sample: int) -> NDArray[np.uint8]:
        image: NDArray[np.uint8] = self._preprocessor(self._raw[sample])["image"]
        return image  # (C, H, W)

    def _first(self, candidates: Iterable[int], rejects: Rejects) -> tuple[int, NDArray[np.uint8]]:
        for sample in candidates:
            # A candidate that cannot be read is logged when its own turn comes.
            with suppress(InputError, OSError):
                return sample, self._read(sample)
        raise DataError(
            f"{self._where}: not one image of the split can be read: {rejects.found[0]}",
            field="data.root",
            remedy="repair or remove these images",
        )


class ImageDataset(BatchDataset):
    """Images, augmented if there is an augmentation."""

    def __init__(
        self,
        indices: IntArray,
        labels: IntArray,
        *,
        store: ImageStore,
        stand_ins: StandIns | None = None,
        augmentation: ImageAugmentation | None = None,
        seed: int = 0,
    ) -> None:
        """`stand_ins`: of images that cannot be read; without them, nothing is in their place."""
        super().__init__(indices, labels)
        self._store = store
        self._stand_ins = stand_ins
        self._augmentation = augmentation
        self._seed = seed

    def _load(self, samples: IntArray, *, epoch: int) -> tuple[Tensors, IntArray]:
        images, found = self._store.fetch(samples, stand_ins=self._stand_ins)
        if self._augmentation is not None:
            # By the sample asked for: a stand-in, which has a turn of its own, looks different.
            images = self._augmentation(images, seed=self._seed, epoch=epoch, indices=samples)
        return {"image": images}, found


class TokenStore:
    """Token ids of every text in one array: forked processes share it without copying."""

    def __init__(self, rows: Sequence[IntArray]) -> None:
        lengths = [len(row) for row in rows]
        self._ends = np.cumsum([0, *lengths])
        self._ids = np.concatenate(rows).astype(np.int32) if rows else np.empty(0, dtype=np.int32)

    def row(self, sample: int) -> IntArray:
        """Token ids, (L,)."""
        return self._ids[self._ends[sample] : self._ends[sample + 1]].astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class TokenIds:
    """The ids that token dropout has to know."""

    mask: int
    protected: tuple[int, ...]
    """Special tokens, which are never replaced."""


class TextDataset(BatchDataset):
    """Texts as padded token ids, augmented if there is an augmentation."""

    def __init__(
        self,
        indices: IntArray,
        labels: IntArray,
        *,
        store: TokenStore,
        preprocessor: DataPreprocessor,
        tokens: TokenIds,
        augmentation: TextAugmentation | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(indices, labels)
        self._store = store
        self._preprocessor = preprocessor
        self._tokens = tokens
        self._augmentation = augmentation
        self._seed = seed

    def _load(self, samples: IntArray, *, epoch: int) -> tuple[Tensors, IntArray]:
        rows = [self._store.row(sample) for sample in samples.tolist()]
        if self._augmentation is not None:
            rows = self._augmentation(
                rows,
                mask_id=self._tokens.mask,
                protected=np.asarray(self._tokens.protected),
                seed=self._seed,
                epoch=epoch,
                indices=samples,
            )
        batch = self._preprocessor.collate(
            [{"input_ids": row, "attention_mask": np.ones_like(row)} for row in rows]
        )
        return {name: torch.from_numpy(array) for name, array in batch.items()}, samples
