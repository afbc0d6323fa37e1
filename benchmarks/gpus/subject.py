"""Subjects: ResNet-50 and BERT-base with weights as they are drawn, and small ones like them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bundle.tensor import DYNAMIC, TensorSpec
from optimize.passes.base import Calibration, Material, TransformerShape, Tuning
from optimize.passes.export import ExportPass, Lane
from optimize.passes.float16 import Float16
from optimize.passes.fuse import Fuse
from optimize.reference import LOGITS
from trainer.models.bert import Bert
from trainer.models.resnet import ResNet

if TYPE_CHECKING:
    from torch import nn

    from optimize.reference import Tensors

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
    model: nn.Module
    side: int = 0
    """Of the pictures, in pixels."""
    length: int = 0
    """Of the texts, in tokens."""

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

    @cached_property
    def plain(self) -> bytes:
        """Of standard operators alone, as TensorRT reads them."""
        return self._exported(Lane.dynamo)

    @cached_property
    def fused(self) -> bytes:
        """As ONNX Runtime runs it on a GPU: of a BERT its own operators."""
        if self.transformer is None:
            return self.plain
        return Fuse(residuals=True).run(self._exported(Lane.torchscript), self._material)

    def narrow(self, graph: bytes, precision: str) -> bytes:
        """The graph in that precision."""
        return graph if precision == "fp32" else Float16().run(graph, self._material)

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
        example = {name: torch.from_numpy(array) for name, array in self.batch(2).items()}
        return ExportPass(lane=lane, max_length=self.length or None).run(
            self.model,
            example,
            inputs=self.inputs,
            output=TensorSpec(name=LOGITS, dtype="float32", shape=(DYNAMIC, CLASSES)),
        )


def subjects(*, small: bool) -> tuple[Subject, ...]:
    """`small`: of the same kind, and of no meaning."""
    torch.manual_seed(0)
    blocks, widths = ((1, 1), (16, 32)) if small else ((3, 4, 6, 3), (64, 128, 256, 512))
    sizes: dict[str, Any] = (
        {"width": 32, "layers": 1, "heads": 2, "feed_forward": 64} if small else {}
    )
    length = 8 if small else 128
    resnet = ResNet(
        num_classes=CLASSES, channels=3, blocks=blocks, widths=widths, bottleneck=True,
        mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225),
    )  # fmt: skip
    bert = Bert(
        num_classes=CLASSES, vocabulary_size=VOCABULARY, pad_id=0, max_length=length,
        max_positions=512, **sizes,
    )  # fmt: skip
    return (
        Subject("resnet50", "images", resnet.eval(), side=32 if small else 224),
        Subject("bert-base", "sequences", bert.eval(), length=length),
    )
