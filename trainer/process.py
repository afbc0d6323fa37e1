"""Settings that belong to the whole process: changed for a run, and put back after it."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omegaconf import DictConfig

_NAGS = (
    # data.num_workers says it; small data sets load faster without workers.
    r".*does not have many workers.*",
    # LightningModel writes a record at the end of a shorter epoch itself.
    r".*is smaller than the logging interval.*",
    # Our metrics are reduced already when they are logged.
    r".*sync_dist=True.*",
    # A process may have one batch fewer than the others, or none: the sums are over all.
    r".*was called before the ``update`` method.*",
    r".*cautious of uneven batch length.*",
    # Lightning's own use of torch, which we cannot change.
    r".*isinstance\(treespec, LeafSpec\).*",
)


@contextmanager
def nags_silenced() -> Iterator[None]:
    """Hide Lightning's few warnings that no user can act on, and its info, which repeats the config
    in other words.
    """
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in _NAGS:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def torch_settings(cfg: DictConfig) -> Iterator[None]:
    """Threads and determinism are the process's: set for the run, and put back after it."""
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    if cfg.trainer.threads:
        torch.set_num_threads(cfg.trainer.threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
