"""From a checkpoint alone to a working model: no config folder, no data, no hub."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from bundle.preprocessing.config import PreprocessingConfig
from bundle.preprocessing.select import create_preprocessor
from trainer.build import build_data, rebuild_model
from trainer.checkpoint import WEIGHTS_PREFIX, read_checkpoint
from trainer.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from bundle.preprocessing.preprocessor import DataPreprocessor
    from trainer.data.module import DataModule


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What a checkpoint says about itself, brought back to life."""

    model: nn.Module
    """In eval mode on the CPU, float32, with the trained weights."""
    task: str
    labels: tuple[str, ...]
    preprocessor: DataPreprocessor
    assets: dict[str, bytes]
    """Files that the preprocessor needs, by name ("tokenizer.json")."""
    config: DictConfig
    """The resolved config of the run."""
    metadata: dict[str, Any]
    """Step, epoch, run_id, data_fingerprint, versions, git_commit, metrics."""
    sha256: str
    path: Path

    def data(self) -> DataModule:
        """The run's data, split as it was, and set up."""
        module = build_data(self.config)
        module.setup()
        return module


def restore(checkpoint: Path) -> Restored:
    """Rebuild the trained model from `checkpoint`; raises CheckpointError if that cannot be."""
    loaded = read_checkpoint(checkpoint)
    own = loaded.get(KEY)
    if not isinstance(own, dict) or own.get("schema") != CHECKPOINT_SCHEMA:
        raise CheckpointError(
            f"{checkpoint}: a checkpoint, but not one that this version of train.py wrote"
        )
    try:
        assets = {name: text.encode() for name, text in own["assets"].items()}
        preprocessor = restore_preprocessor(own["preprocessing"], assets)
        model = rebuild_model(own["model"])
        prefix = len(WEIGHTS_PREFIX)
        weights = {k[prefix:]: v for k, v in loaded["state_dict"].items() if k.startswith(WEIGHTS_PREFIX)}
        model.load_state_dict(weights)
        return Restored(
            model=model.eval(),
            task=own["task"],
            labels=tuple(own["labels"]),
            preprocessor=preprocessor,
            assets=assets,
            config=OmegaConf.create(own["config"]),
            metadata={},
            sha256="",
            path=checkpoint,
        )
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"{checkpoint}: incomplete ({error})") from error
