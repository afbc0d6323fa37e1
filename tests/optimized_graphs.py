"""Every recipe's graph of a model large enough for sizes to mean something; nothing is trained."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from bundle.tensor import TensorSpec
from optimize.passes.base import Calibration, Material, TransformerShape, Tuning
from optimize.passes.export import ExportPass, Lane
from optimize.recipe import IMAGE, TEXT, Recipe, recipes_for
from optimize.schema import Target
from trainer.models.bert import Bert
from trainer.models.resnet import ResNet

if TYPE_CHECKING:
    from collections.abc import Mapping

LOGITS = TensorSpec(name="logits", dtype="float32", shape=(-1, 3))
CASES = [(target, task) for target in Target for task in (TEXT, IMAGE)]
_VOCABULARY = 8192


@dataclass(frozen=True, kw_only=True)
class Optimized:
    """What one recipe made."""

    recipe: Recipe
    before: bytes
    """The plain export that its first pass was given."""
    after: bytes


@functools.cache
def optimized(target: Target, task: str) -> Mapping[str, Optimized]:
    """Recipe's name → graph; plans are no graphs."""
    found = {}
    for recipe in recipes_for(target=target, task=task):
        if recipe.format != "onnx":
            continue
        before = after = exported(task, recipe.lane)
        for step in recipe.passes:
            after = step.run(after, material(task))
        found[recipe.name] = Optimized(recipe=recipe, before=before, after=after)
    return found


def batch(task: str, *, rows: int = 4) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    if task == IMAGE:
        return {"image": generator.integers(0, 256, size=(rows, 1, 16, 16), dtype=np.uint8)}
    mask = np.ones((rows, 12), np.int64)
    mask[1::2, 7:] = 0
    return {
        "input_ids": generator.integers(1, _VOCABULARY, size=(rows, 12)),
        "attention_mask": mask,
    }


def material(task: str) -> Material:
    samples = {
        "split": "val",
        "fingerprint": "5eed",
        "samples": 4,
        "batches": lambda: iter([batch(task)]),
    }
    return Material(
        calibration=Calibration(**samples),
        tuning=Tuning(**samples),
        transformer=TransformerShape(heads=4, hidden_size=128) if task == TEXT else None,
        threads=1,
    )


@functools.cache
def exported(task: str, lane: Lane) -> bytes:
    torch.manual_seed(0)
    if task == TEXT:
        model = Bert(
            num_classes=3,
            vocabulary_size=_VOCABULARY,
            pad_id=0,
            max_length=32,
            width=128,
            layers=2,
            heads=4,
            feed_forward=512,
            max_positions=32,
        )
    else:
        model = ResNet(
            num_classes=3, channels=1, blocks=[1, 1, 1], widths=[64, 128, 256], small_stem=True
        )
    tensors = batch(task)
    shape = {"image": (-1, 1, 16, 16)}
    specs = [
        TensorSpec(name=name, dtype=str(array.dtype), shape=shape.get(name, (-1, -1)))
        for name, array in tensors.items()
    ]
    return ExportPass(lane=lane, max_length=32 if task == TEXT else None).run(
        model.eval(),
        {name: torch.from_numpy(array) for name, array in tensors.items()},
        inputs=specs,
        output=LOGITS,
    )
