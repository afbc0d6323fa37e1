"""Subject: the model that is optimized, its own answers, and the samples that it is judged on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bundle.engine.select import shape_profile
from bundle.preprocessing.config import TextConfig
from bundle.tensor import DYNAMIC, TensorSpec
from optimize.held_out import HeldOut, load_held_out
from optimize.passes.base import TransformerShape
from optimize.reference import LOGITS, TorchReference
from trainer.models.bert import Bert

if TYPE_CHECKING:
    from bundle.engine.profile import ShapeProfile
    from bundle.preprocessing.preprocessor import DataPreprocessor, Row
    from trainer.data.module import DataModule
    from trainer.restore import Restored


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """Everything that does not depend on how the model is optimized."""

    restored: Restored
    data: DataModule
    held_out: HeldOut
    rows: list[Row]
    """The first held-out samples as tensors, without a batch dimension."""
    reference: TorchReference
    """The checkpoint's answers."""

    @property
    def preprocessor(self) -> DataPreprocessor:
        return self.restored.preprocessor

    @property
    def data_changed(self) -> bool:
        """Whether the data are others than those that the model was trained on: nothing then shows
        which of the held-out samples it has learned from.
        """
        trained_on = self.restored.metadata.get("data_fingerprint")
        return trained_on not in (None, self.held_out.fingerprint)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self.preprocessor.input_specs

    @property
    def output(self) -> TensorSpec:
        shape = (DYNAMIC, len(self.restored.labels))
        return TensorSpec(name=LOGITS, dtype="float32", shape=shape)

    @property
    def transformer(self) -> TransformerShape | None:
        """None if the model is none."""
        model = self.restored.model
        if not isinstance(model, Bert):
            return None
        config = model.encoder.config
        return TransformerShape(heads=config.num_attention_heads, hidden_size=config.hidden_size)

    @property
    def max_length(self) -> int | None:
        """Longest sequence, in tokens; None for images."""
        config = self.preprocessor.config
        return config.max_length if isinstance(config, TextConfig) else None

    def profile(self, *, max_batch_size: int) -> ShapeProfile:
        """The sizes that TensorRT prepares for."""
        return shape_profile(self.inputs, self.preprocessor.config, max_batch_size=max_batch_size)


def load_subject(restored: Restored, *, max_samples: int | None, rows: int) -> Subject:
    """Load the held-out data and preprocess the first `rows` of them."""
    data = restored.data()
    held_out = load_held_out(restored, data, max_samples=max_samples)
    return Subject(
        restored=restored,
        data=data,
        held_out=held_out,
        rows=held_out.rows(restored.preprocessor, rows),
        reference=TorchReference(restored.model),
    )
