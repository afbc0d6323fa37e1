"""A trained run, made once a session, and the config that it takes."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from trainer.compose import compose
from trainer.run import train
from trainer.schema import register_schemas

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from omegaconf import DictConfig


SMALL = (
    "data=digits",
    "data.batch_size=64",
    "data.augmentation.shift=0",
    "data.augmentation.rotate=0",
    "model=mlp",
    "trainer.max_epochs=1",
    "trainer.progress=none",
    "trainer.threads=1",
    "tracking=none",
    "trainer.report=false",
)


@pytest.fixture
def config() -> Callable[..., DictConfig]:
    """A small training config with overrides."""

    def make(*overrides: str) -> DictConfig:
        return compose("train", [*SMALL, *overrides], schemas=register_schemas)

    return make


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run; not to be changed."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    cfg = compose(
        "train", [*SMALL, "trainer.max_epochs=2", "trainer.report=true"], schemas=register_schemas
    )
    train(cfg, folder=folder)
    return folder


@pytest.fixture
def checkpoint(trained: Path, tmp_path: Path) -> Path:
    """A copy of a good checkpoint with its sidecar, to be damaged."""
    source = trained / "checkpoints" / "best.ckpt"
    target = tmp_path / "copy" / "best.ckpt"
    target.parent.mkdir()
    shutil.copy(source, target)
    shutil.copy(f"{source}.json", f"{target}.json")
    return target
