"""A folder whose run came to its end: asked again, it answers, and trains only for more."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trainer.checkpoints.resume import AUTO
from trainer.data.schema import AUTO as AUTO_SIZE
from trainer.errors import ConfigError
from trainer.run_folder import FINISHED

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from trainer.run_folder import RunFolder

log = logging.getLogger(__name__)
_DECISIVE = ("model", "data", "optim", "loss", "precision", "seed")
"""Parts of a config that make another run."""


def finished_metrics(cfg: DictConfig, files: RunFolder) -> dict[str, float] | None:
    """What the finished run in `files` came to; None if there is something to train.

    Raises ConfigError if it was a run of something else.
    """
    if files.earlier.get("status") != FINISHED or cfg.resume != AUTO:
        return None
    before = files.earlier_config()
    for part in _DECISIVE:
        if not _same(before.get(part), cfg.get(part)):
            raise ConfigError(
                f"hydra.run.dir={files.path}: a finished run with another {part} is in it",
                field="hydra.run.dir",
                remedy="name another folder, or start over in this one with resume=never",
            )
    limits: Mapping[str, Any] = before.get("trainer", {})
    if any(_more(cfg.trainer[name], limits.get(name)) for name in ("max_epochs", "max_steps")):
        return None
    log.info(
        "%s: this run is finished; trainer.max_epochs or trainer.max_steps can ask for more",
        files.path,
    )
    return {name: float(value) for name, value in files.earlier.get("metrics", {}).items()}


def _same(before: Any, asked: Any) -> bool:
    """Whether a part of a config is that of before; `batch_size=auto` is whatever was found."""
    if not isinstance(before, Mapping) or not isinstance(asked, Mapping):
        return bool(before == asked)
    found = {"batch_size": before.get("batch_size")} if asked.get("batch_size") == AUTO_SIZE else {}
    return _decisive(before) == _decisive({**asked, **found})


def _decisive(part: Mapping[Any, Any]) -> dict[Any, Any]:
    return {name: value for name, value in part.items() if name != "max_batch_size"}


def _more(asked: int, before: int | None) -> bool:
    """-1 is no limit."""
    return before is not None and before != -1 and (asked == -1 or asked > before)
