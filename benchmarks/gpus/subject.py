"""Subjects: ResNet-50 and BERT-base with weights as they are drawn, and small ones like them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bundle.tensor import DYNAMIC, TensorSpec
from optimize.passes.base import Calibration, Material, TransformerShape, Tuning
from optimize.passes.export import ExportPass, Lane
from optimize.recipe import IMAGE as IMAGE_TASK
from optimize.recipe import TEXT as TEXT_TASK
from optimize.recipe import Recipe, recipes_for
from optimize.reference import LOGITS
from trainer.models.bert import Bert
from trainer.models.resnet import ResNet

if TYPE_CHECKING:
    from torch import nn

    from optimize.reference import Tensors
    from optimize.schema import Target

CLASSES = 1000
VOCABULARY = 30522
PRECISIONS = ("fp32", "fp16")
THREADS = 1
"""Of the host, which has nothing to compute where there is a GPU."""
IMAGE = "image"


@dataclass(frozen=True)
class Subject:
    """A model, and what it is asked."""

    name: str
    unit: str
    """What it answers a second: images or sequences."""
    task: str
    model: nn.Module
    side: int = 0
    """Of the pictures, in pixels."""
    length: int = 0
    """Of the texts, in tokens."""
    toy: bool = False
    """Whether it is a small model of the kind, whose figures mean nothing."""
    _exports: dict[Lane, bytes] = field(default_factory=dict, compare=False)

    @property
    def title(self) -> str:
        """Its name, for a table."""
        return (
            f"{self.name} (a toy in its place: the figures mean nothing)" if self.toy else self.name
        )

    def batch(self, size: int) -> Tensors:
        """Pictures, or texts that fill their length; the same in every run."""
        rng = np.random.default_rng(0)
        if self.side:
            shape = (size, 3, self.side, self.side)
            return {IMAGE: rng.integers(0, 256, shape, np.uint8)}
        ids = rng.integers(1, VOCABULARY, (size, self.length))
        return {"input_ids": ids, "attention_mask": np.ones_like(ids)}

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        if self.side:
            return (
                TensorSpec(name=IMAGE, dtype="uint8", shape=(DYNAMIC, 3, self.side, self.side)),
            )
        return tuple(
            TensorSpec(name=name, dtype="int64", shape=(DYNAMIC, DYNAMIC)) for name in self.batch(1)
        )

    def graph(self, target: Target, precision: str) -> bytes:
        """By the first recipe that `export.py` has for it, else as it is exported."""
        recipes = (each for each in recipes_for(target, self.task) if each.precision == precision)
        recipe = next(recipes, Recipe(name=precision, precision=precision, lane=Lane.dynamo))
        made = self._exported(recipe.lane)
        for each in recipe.passes:
            made = each.run(made, self._material)
        return made

    @property
    def transformer(self) -> TransformerShape | None:
        if not isinstance(self.model, Bert):
            return None
        config = self.model.encoder.config
        return TransformerShape(heads=config.num_attention_heads, hidden_size=config.hidden_size)

    @property
    def _material(self) -> Material:
        none: dict[str, Any] = {"split": "", "fingerprint": "", "samples": 0, "batches": iter}
        return Material(
            calibration=Calibration(**none), tuning=Tuning(**none), transformer=self.transformer
        )

    def _exported(self, lane: Lane) -> bytes:
        if lane not in self._exports:
            example = {name: torch.from_numpy(array) for name, array in self.batch(2).items()}
            self._exports[lane] = ExportPass(lane=lane, max_length=self.length or None).run(
                self.model,
                example,
                inputs=self.inputs,
                output=TensorSpec(name=LOGITS, dtype="float32", shape=(DYNAMIC, CLASSES)),
            )
        return self._exports[lane]


def subjects(*, small: bool) -> tuple[Subject, ...]:
    """`small`: of the same kind, and of no meaning."""
    torch.manual_seed(0)
    blocks, widths = ((1, 1), (16, 32)) if small else ((3, 4, 6, 3), (64, 128, 256, 512))
    sizes: dict[str, Any] = (
        {"width": 32, "layers": 1, "heads": 2, "feed_forward": 64} if small else {}
    )
    side, length = (32, 8) if small else (224, 128)
    resnet = ResNet(
        num_classes=CLASSES, channels=3, blocks=blocks, widths=widths, bottleneck=True,
        mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225),
    )  # fmt: skip
    bert = Bert(
        num_classes=CLASSES, vocabulary_size=VOCABULARY, pad_id=0, max_length=length,
        max_positions=512, **sizes,
    )  # fmt: skip
    return (
        Subject("resnet50", "images", IMAGE_TASK, resnet.eval(), side=side, toy=small),
        Subject("bert-base", "sequences", TEXT_TASK, bert.eval(), length=length, toy=small),
    )
