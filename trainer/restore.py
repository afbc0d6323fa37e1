"""From a checkpoint alone to a working model: no config folder, no data, no hub."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from bundle.errors import TrainyardError
from bundle.preprocessing.config import PreprocessingConfig, TextConfig
from bundle.preprocessing.select import create_preprocessor
from trainer.build import build_data, rebuild_model
from trainer.checkpoints.checkpoint import (
    CHECKPOINT_SCHEMA,
    KEY,
    WEIGHTS_PREFIX,
    read_checkpoint,
    verify_checkpoint,
)
from trainer.errors import CheckpointError
from trainer.tracking.journal import known_run_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from bundle.preprocessing.preprocessor import DataPreprocessor
    from trainer.data.module import DataModule

_METADATA = ("run_id", "data_fingerprint", "versions", "git_commit", "metrics", "world_size")


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What a checkpoint says about itself, brought back to life."""

    model: nn.Module
    """In eval mode, on the CPU, float32, with the trained weights."""
    task: str
    labels: tuple[str, ...]
    preprocessor: DataPreprocessor
    assets: dict[str, bytes]
    """Files that the preprocessor needs, by name ("tokenizer.json")."""
    config: DictConfig
    """The resolved config of the run."""
    metadata: dict[str, Any]
    """step, epoch, run_id, data_fingerprint, versions, git_commit, metrics, world_size."""
    sha256: str
    """Of the checkpoint's file."""
    path: Path

    def data(self) -> DataModule:
        """The run's data, split as they were, set up. Raises DataError if they are gone."""
        config = self.preprocessor.config
        with tempfile.TemporaryDirectory() as folder:
            tokenizer_file = None
            if isinstance(config, TextConfig):
                tokenizer_file = Path(folder) / config.tokenizer
                tokenizer_file.write_bytes(self.assets[config.tokenizer])
            module = build_data(self.config, tokenizer_file=tokenizer_file)
            module.setup()
        return module


def restore(checkpoint: Path) -> Restored:
    """Rebuild the trained model from `checkpoint`. Raises CheckpointError, whatever is wrong."""
    sidecar = verify_checkpoint(checkpoint)
    loaded = read_checkpoint(checkpoint)
    own = loaded.get(KEY)
    if not isinstance(own, dict):
        raise CheckpointError(
            f"{checkpoint}: a checkpoint, but not one that train.py wrote",
            remedy="name a checkpoint in the `checkpoints` folder of a run",
        )
    if own.get("schema") != CHECKPOINT_SCHEMA:
        raise CheckpointError(
            f"{checkpoint}: of schema {own.get('schema')}, this version reads {CHECKPOINT_SCHEMA}",
            remedy="use the version of the code that wrote it",
        )
    try:
        assets = {name: text.encode() for name, text in own["assets"].items()}
        config = PreprocessingConfig.from_dict(own["preprocessing"])
        preprocessor = create_preprocessor(config, assets=assets)
        model = rebuild_model(own["model"])
        model.load_state_dict(_weights(loaded["state_dict"]))
        return Restored(
            model=model.eval(),
            task=own["task"],
            labels=tuple(own["labels"]),
            preprocessor=preprocessor,
            assets=assets,
            config=OmegaConf.create(dict(own["config"])),
            metadata={
                "step": sidecar["step"],
                "epoch": sidecar["epoch"],
                **{name: own.get(name) for name in _METADATA},
                "run_id": _run_id(checkpoint, own.get("run_id")),
            },
            sha256=sidecar["sha256"],
            path=checkpoint,
        )
    except CheckpointError:
        raise
    except (TrainyardError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = str(error).strip().splitlines()
        raise CheckpointError(
            f"{checkpoint}: cannot be restored ({type(error).__name__}: {reason[0]})"
            if reason
            else f"{checkpoint}: cannot be restored ({type(error).__name__})"
        ) from error


def _run_id(checkpoint: Path, run_id: str | None) -> str | None:
    """The server's id of the run, which the checkpoint of a run without a server does not have."""
    return None if run_id is None else known_run_id(checkpoint.parent.parent, run_id)


def _weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The model's part of the Lightning module's state."""
    start = len(WEIGHTS_PREFIX)
    return {k[start:]: value for k, value in state.items() if k.startswith(WEIGHTS_PREFIX)}
