"""What is asked of every loop: the numbers of the training, and our command line for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

BATCH = 64
RATE = 1e-3
WEIGHT_DECAY = 0.01
CLIP = 1.0
WARMUP = 0.05
"""Share of all steps."""


def overrides(model: str, *, steps: int, threads: int, folder: Path) -> list[str]:
    """The command line that asks for what the other loops do: all digits as they are, and no
    passes through a validation or test split.
    """
    return [
        f"model={model}",
        f"optim.lr={RATE}",
        "data=mnist",
        f"data.batch_size={BATCH}",
        "data.val_fraction=0",
        "data.test_fraction=0",
        "data.augmentation.shift=0",
        "data.augmentation.rotate=0",
        "trainer.accelerator=cpu",
        f"trainer.threads={threads}",
        "trainer.max_epochs=-1",
        f"trainer.max_steps={steps}",
        "trainer.progress=bar",
        "tracking=mlflow",
        f"tracking.uri=sqlite:///{folder}/mlflow.db",
    ]
