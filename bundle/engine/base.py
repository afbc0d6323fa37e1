"""InferenceEngine: a model in one runtime, on one provider, that answers batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bundle.engine.inputs import check_batch, check_tensors
from bundle.errors import AnswerError, InputError, RequestError
from bundle.tensor import DYNAMIC

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bundle.preprocessing.preprocessor import Array
    from bundle.tensor import TensorSpec


class InferenceEngine(ABC):
    """Validates, splits and joins batches; a runtime adds `_run`.

    A model whose tensors all have a dynamic first dimension is *batchable*, unless who loads it
    knows better: that dimension is the batch, and a sample has the other ones. The tensors of any
    other model are one whole sample; its batches are stacked samples that run one by one.
    """

    def __init__(
        self,
        *,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        max_batch_size: int,
        dimension_names: Mapping[str, tuple[str | None, ...]] | None = None,
        batchable: bool | None = None,
    ) -> None:
        """`dimension_names`: those of each tensor, whose equals have one size. `batchable`: None
        where the shapes decide.
        """
        if max_batch_size < 1:
            raise RequestError(
                f"max_batch_size={max_batch_size} must be 1 or more", field="max_batch_size"
            )
        self._inputs = inputs
        self._outputs = outputs
        dynamic = all(spec.batchable for spec in (*inputs, *outputs))
        self._batchable = dynamic if batchable is None else batchable
        self._max_batch_size = max_batch_size if self._batchable else 1
        batched = tuple(map(_stacked, inputs))
        self._batch_specs = inputs if self._batchable else batched
        self._sample_specs = tuple(map(_unstacked, inputs)) if self._batchable else inputs
        self._dimension_names = dict(dimension_names or {})

    @property
    @abstractmethod
    def name(self) -> str:
        """The runtime."""

    @property
    @abstractmethod
    def provider(self) -> str:
        """What the model really runs on: cpu, cuda, tensorrt or openvino."""

    @property
    def requested(self) -> str:
        """What it was asked to run on."""
        return self.provider

    @property
    def fallback_reason(self) -> str | None:
        """Why the model does not run on what was asked for; None where it does."""
        return None

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._outputs

    @property
    def batchable(self) -> bool:
        return self._batchable

    @property
    def dimension_names(self) -> Mapping[str, tuple[str | None, ...]]:
        """Of the dimensions of each tensor, as far as they have one."""
        return self._dimension_names

    @property
    def max_batch_size(self) -> int:
        """Most samples in one run of the runtime; 1 if the model is not batchable."""
        return self._max_batch_size

    @abstractmethod
    def _run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Run the model once on arrays that fit its inputs. Raises EngineError."""

    def check_sample(self, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """The tensors of one sample, without batch dimension, as the model takes them.

        Raises InputError for whatever the model would not take.
        """
        sample = check_tensors(inputs, self._sample_specs)
        self._check_dimensions(sample, self._sample_specs)
        return sample

    def predict(self, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """One sample, without batch dimension in or out. Raises InputError or EngineError."""
        sample = self.check_sample(inputs)
        outputs = self._answer({name: array[np.newaxis] for name, array in sample.items()})
        return {name: array[0, ...] for name, array in outputs.items()}

    def predict_batch(self, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """Any number of samples, batch dimension in front of every tensor, in order.

        More than `max_batch_size` are run in pieces. Raises InputError or EngineError.
        """
        batch = check_batch(inputs, self._batch_specs)
        self._check_dimensions(batch, self._batch_specs)
        return self._answer(batch)

    def metadata(self) -> dict[str, Any]:
        """What runs here, as JSON."""
        return {
            "engine": self.name,
            "provider": self.provider,
            "requested": self.requested,
            "actual": self.provider,
            "reason": self.fallback_reason,
            "batchable": self._batchable,
            "max_batch_size": self._max_batch_size,
            "inputs": [spec.to_dict() for spec in self._inputs],
            "outputs": [spec.to_dict() for spec in self._outputs],
        }

    def _check_dimensions(self, arrays: Mapping[str, Array], specs: tuple[TensorSpec, ...]) -> None:
        """Dimensions of one name have one size, which a runtime need not check."""
        seen: dict[str, tuple[str, int]] = {}
        for spec in specs:
            shape = arrays[spec.name].shape
            names = self._dimension_names.get(spec.name, ())
            # Counted from the end: a batch dimension more or less is in front.
            for name, size in zip(reversed(names), reversed(shape), strict=False):
                if name is None:
                    continue
                other, expected = seen.setdefault(name, (spec.name, size))
                if size != expected:
                    raise InputError(
                        f"inputs.{spec.name} has {size} along {name!r}, "
                        f"but inputs.{other} has {expected}",
                        field=f"inputs.{spec.name}",
                    )

    def _answer(self, batch: dict[str, Array]) -> dict[str, Array]:
        """The outputs of a checked batch of any size."""
        count, step = len(next(iter(batch.values()))), self._max_batch_size
        run = self._run_together if self._batchable else self._run_alone
        if count <= step:
            return run(batch)
        pieces = [
            run({name: array[start : start + step] for name, array in batch.items()})
            for start in range(0, count, step)
        ]
        return {spec.name: _joined(spec.name, pieces) for spec in self._outputs}

    def _run_together(self, batch: dict[str, Array]) -> dict[str, Array]:
        count = len(next(iter(batch.values())))
        outputs = self._run(batch)
        for name, array in outputs.items():
            if array.ndim == 0 or len(array) != count:
                raise AnswerError(
                    f"output {name!r} has shape {list(array.shape)} for a batch of {count}",
                    field=name,
                )
        return outputs

    def _run_alone(self, batch: dict[str, Array]) -> dict[str, Array]:
        # With the ellipsis a sample without dimensions stays an array.
        outputs = self._run({name: array[0, ...] for name, array in batch.items()})
        return {name: array[np.newaxis] for name, array in outputs.items()}


def _stacked(spec: TensorSpec) -> TensorSpec:
    return replace(spec, shape=(DYNAMIC, *spec.shape))


def _unstacked(spec: TensorSpec) -> TensorSpec:
    return replace(spec, shape=spec.shape[1:])


def _joined(name: str, pieces: list[dict[str, Array]]) -> Array:
    try:
        return np.concatenate([piece[name] for piece in pieces])
    except ValueError as error:
        raise AnswerError(
            f"output {name!r} has another shape from batch to batch: {error}", field=name
        ) from error
