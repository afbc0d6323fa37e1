"""DataModule: from a source to the batches of three splits."""

from __future__ import annotations

import logging
from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from bundle.errors import InputError
from trainer.data.content import digest, fingerprint
from trainer.data.loader import BatchLoader, TrainLoader
from trainer.data.options import LoaderOptions, check_plan
from trainer.data.prepared import Prepared
from trainer.data.rejects import Rejects
from trainer.data.sampler import Batch, EpochSampler, EvalSampler
from trainer.data.schema import Balance
from trainer.data.splitting import SplitPlan, Splits, split_corpus
from trainer.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from bundle.preprocessing.preprocessor import DataPreprocessor
    from trainer.data.dataset import BatchDataset, Tensors
    from trainer.data.samples import Corpus, IntArray, RawSample, Samples
    from trainer.data.sources.base import Source

log = logging.getLogger(__name__)


class DataModule(pl.LightningDataModule):
    """Splits a source, preprocesses it and serves batches.

    A batch holds the preprocessor's tensors, batch dimension in front, and "label", int64 (B,).
    Of a validation or test sample that turns out unreadable, the label is UNREADABLE.
    `batch_size` counts the samples of all processes together. `setup` must have run before
    anything but the constructor is used; it raises DataError if the data cannot be used.
    """

    task: ClassVar[str]

    def __init__(
        self,
        source: Source,
        *,
        batch_size: int = 64,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        split_seed: int = 0,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        limit: int | None = None,
        dedupe: bool = False,
        balance: str = "none",
        last_batch: str = "drop",
        seed: int = 0,
        assets_dir: Path | None = None,
        tokenizer_file: Path | None = None,
    ) -> None:
        """`seed` is the run's: it orders and augments. `assets_dir` receives the files that the
        preprocessor needs; `tokenizer_file` is one of a pretrained model, instead of learning one.
        """
        super().__init__()
        self._source = source
        self._options = LoaderOptions(
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            num_workers=num_workers,
            balance=balance,
            last_batch=last_batch,
        )
        self._plan = SplitPlan(
            seed=split_seed,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            dedupe=dedupe,
            limit=limit,
        )
        self._seed = seed
        self._assets_dir = assets_dir
        self._tokenizer_file = tokenizer_file
        self._prepared: Prepared | None = None

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002 - Lightning's signature
        """Read, split and preprocess everything, once."""
        if self._prepared is not None:
            return
        self._options.check()
        check_plan(self._plan)
        where = self._source.where
        corpus = self._source.load()
        rejects = Rejects(where=where, on_error=self._source.on_error)
        self._begin(corpus)
        digests, usable = self._scan(corpus, rejects)
        self._check_classes(corpus, usable)
        splits = split_corpus(
            digests,
            corpus.labels,
            usable=usable,
            classes=corpus.classes,
            given=corpus.given,
            plan=self._plan,
            where=where,
        )
        splits = self._finish(corpus, splits, rejects)
        rejects.report(total=len(corpus))
        self._prepared = Prepared(
            corpus=corpus,
            splits=splits,
            skipped=corpus.skipped + rejects.found,
            fingerprint=fingerprint(
                digests, corpus.labels, classes=corpus.classes, splits=splits.by_name()
            ),
        )

    # --- What a run needs to know -------------------------------------------------------------

    @property
    def prepared(self) -> Prepared:
        if self._prepared is None:
            raise RuntimeError("setup() has not run")
        return self._prepared

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes; "label" in a batch is a position here."""
        return self.prepared.corpus.classes

    @property
    def num_classes(self) -> int:
        return len(self.labels)

    @property
    @abstractmethod
    def preprocessor(self) -> DataPreprocessor: ...

    @property
    def assets(self) -> dict[str, bytes]:
        """Files that the preprocessor needs, by name."""
        return {}

    @property
    def splits(self) -> Splits:
        return self.prepared.splits

    @property
    def fingerprint(self) -> str:
        """sha256 over the raw samples, their classes and the splits."""
        return self.prepared.fingerprint

    @property
    def skipped(self) -> tuple[str, ...]:
        """`name: reason` of every sample that was left out because it cannot be used."""
        return self.prepared.skipped

    @property
    def class_weights(self) -> Tensor | None:
        """float32 (num_classes,) for the loss, 1 on average over the training samples.

        None unless `balance` is "weights".
        """
        if self._options.balance != Balance.weights:
            return None
        counts = np.maximum(self.prepared.class_counts, 1)
        weights = counts.sum() / (self.num_classes * counts)
        return torch.from_numpy(weights.astype(np.float32))

    def samples(self, split: str) -> Samples:
        """The raw samples of "train", "val" or "test"."""
        return self.prepared.samples(split)

    def describe(self) -> dict[str, Any]:
        """What to record of the data, JSON-ready."""
        return self.prepared.describe()

    # --- Batches ------------------------------------------------------------------------------

    def set_batch_size(self, batch_size: int) -> None:
        """For loaders that are made from here on."""
        self._options = replace(self._options, batch_size=batch_size)

    def first_samples(self, count: int) -> Tensors:
        """Training samples as a batch, as in epoch 0; at most as many as there are."""
        train = self.splits.train
        batch = Batch(0, np.arange(min(count, len(train))))
        return self._dataset(train, training=True).__getitems__(batch)

    def train_dataloader(self) -> TrainLoader:
        """Resumes by itself where the trainer that reads it resumes."""
        rank, world_size = self._place()
        if self._options.batch_size % world_size:
            raise DataError(
                f"data.batch_size={self._options.batch_size} cannot be shared equally by "
                f"{world_size} processes",
                field="data.batch_size",
                remedy=f"use a multiple of {world_size}",
            )
        train = self.splits.train
        oversample = self._options.balance == Balance.oversample
        sampler = EpochSampler(
            len(train),
            batch_size=self._options.batch_size,
            seed=self._seed,
            rank=rank,
            world_size=world_size,
            last_batch=self._options.last_batch,
            shuffle=not getattr(self.trainer, "overfit_batches", 0),  # the same few, every epoch
            labels=self.prepared.corpus.labels[train] if oversample else None,
        )
        return TrainLoader(
            self._dataset(train, training=True),
            sampler,
            num_workers=self._options.num_workers,
            pin_memory=self._pin_memory(),
            progress=self._progress,
        )

    def val_dataloader(self) -> BatchLoader | list[BatchLoader]:
        """An empty list where there is no validation split."""
        return self._eval_loader(self.splits.val)

    def test_dataloader(self) -> BatchLoader | list[BatchLoader]:
        """An empty list where there is no test split."""
        return self._eval_loader(self.splits.test)

    def _eval_loader(self, indices: IntArray) -> BatchLoader | list[BatchLoader]:
        if not len(indices):
            return []
        rank, world_size = self._place()
        sampler = EvalSampler(
            len(indices),
            batch_size=self._options.eval_batch_size or self._options.batch_size,
            rank=rank,
            world_size=world_size,
        )
        return BatchLoader(
            self._dataset(indices, training=False),
            sampler,
            num_workers=self._options.num_workers,
            pin_memory=self._pin_memory(),
        )

    def _place(self) -> tuple[int, int]:
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def _pin_memory(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    def _progress(self, loader: TrainLoader) -> int | None:
        """Batches of the epoch that the fit reading `loader` has behind it."""
        trainer = self.trainer
        if trainer is None or not trainer.training or trainer.train_dataloader is not loader:
            return None
        return trainer.fit_loop.epoch_loop.batch_progress.current.ready

    # --- Setting up ---------------------------------------------------------------------------

    def _scan(self, corpus: Corpus, rejects: Rejects) -> tuple[list[bytes], IntArray]:
        """Read every sample once: its digest, and the positions of those that can be used."""
        digests: list[bytes] = []
        usable: list[int] = []
        for index in range(len(corpus)):
            content = b""
            try:
                sample = corpus.raw[index]
                content = digest(sample)
                self._inspect(index, sample)
                usable.append(index)
            except (InputError, OSError, UnicodeError) as error:
                rejects.add(corpus.names[index], error)
            digests.append(content)
        return digests, np.asarray(usable, dtype=np.int64)

    def _check_classes(self, corpus: Corpus, usable: IntArray) -> None:
        for name in corpus.classes:
            if name.encode(errors="ignore").decode() != name:  # a lone surrogate
                raise DataError(
                    f"{self._source.where}: the class {name!r} is no text that UTF-8 can hold",
                    field="data.root",
                    remedy="rename it",
                )
        found = np.unique(corpus.labels[usable]).tolist()
        if len(found) < 2:
            names = ", ".join(repr(corpus.classes[label]) for label in found) or "none"
            raise DataError(
                f"{self._source.where}: classification needs at least 2 classes with samples, "
                f"found {len(found)}: {names}",
                field="data.root",
                remedy="check that every class has its own folder or label",
            )

    @abstractmethod
    def _begin(self, corpus: Corpus) -> None:
        """Called before the samples are read."""

    @abstractmethod
    def _inspect(self, index: int, sample: RawSample) -> None:
        """Look at one sample. Raises InputError if it cannot be used."""

    @abstractmethod
    def _finish(self, corpus: Corpus, splits: Splits, rejects: Rejects) -> Splits:
        """Called with the splits; returns them without the samples found unusable only now."""

    @abstractmethod
    def _dataset(self, indices: IntArray, *, training: bool) -> BatchDataset: ...
