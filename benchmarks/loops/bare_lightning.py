"""The same training with bare Lightning: a minimal module and one `self.log`."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor
from torch.nn import functional
from torch.optim import AdamW

from benchmarks.loops import subject
from benchmarks.loops.request import CLIP, RATE, WEIGHT_DECAY
from benchmarks.loops.stopwatch import arguments, watch


class Classifier(pl.LightningModule):
    """A model with its loss and its optimiser."""

    def __init__(self, model_name: str, *, steps: int, first_step: Path | None) -> None:
        super().__init__()
        self.model = subject.make_model(model_name)
        self._steps = steps
        self._first_step = first_step

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:  # noqa: ARG002
        images, labels = batch
        loss = functional.cross_entropy(self.model(images), labels)
        self.log("train/loss", loss)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        if self._first_step is not None:
            self._first_step.touch()
            self._first_step = None

    def configure_optimizers(self) -> Any:
        optimizer = AdamW(self.model.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
        schedule = subject.make_schedule(optimizer, steps=self._steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def train(model_name: str, *, steps: int, first_step: Path | None = None) -> None:
    """`steps` steps, epoch after epoch; `first_step` is made when one is done."""
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            accelerator="cpu",
            max_steps=steps,
            max_epochs=-1,
            gradient_clip_val=CLIP,
            logger=CSVLogger(folder),
            log_every_n_steps=10,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(
            Classifier(model_name, steps=steps, first_step=first_step), subject.make_loader()
        )


def main() -> None:
    """Train and time it."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--first-step", type=Path, help="made when the first step is done")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train(args.model, steps=watch(args), first_step=args.first_step)


if __name__ == "__main__":
    main()
