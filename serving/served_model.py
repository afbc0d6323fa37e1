"""ServedModel: what API processes know of a model, enough to make tensors and answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bundle.bfloat16 import as_numbers
from bundle.errors import EngineError, InputError
from bundle.manifest import Manifest
from bundle.prediction import to_predictions
from bundle.tensor import DYNAMIC, STRING
from serving.batch import cut
from serving.codec.tensors import row_shape, to_array
from serving.errors import (
    BadRequestError,
    ModelFailedError,
    RefusedSampleError,
    TooLargeError,
)
from serving.preprocessors import Preprocessors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bundle.preprocessing.preprocessor import DataPreprocessor
    from serving.cache import RowCache
    from serving.codec.request import Sample
    from serving.wire import Tensors

ModelKey = tuple[str, str]
"""A model's name and version."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a worker tells of a model that it holds."""

    name: str
    version: str
    variant: str
    engine: str
    provider: str
    batchable: bool
    assets: str
    """Folder with the files that preprocessing needs."""
    manifest: dict[str, Any]

    @property
    def key(self) -> ModelKey:
        return (self.name, self.version)

    def summary(self) -> dict[str, str]:
        """As /health lists it."""
        return {
            "name": self.name,
            "version": self.version,
            "variant": self.variant,
            "engine": self.engine,
            "provider": self.provider,
        }


class Part(NamedTuple):
    """Samples that run together, as one piece of a request."""

    tensors: Tensors
    """Batch dimension in front."""
    indices: tuple[int, ...]
    """Which of the request's samples these are."""
    signature: str
    """Parts of the same model and signature can be joined into one batch."""
    length: int = 1
    """Tokens of a row, padding included; 1 for what is no sequence."""
    alone: bool = False
    """Whether it cannot be joined with any other."""


class ServedModel:
    """A model as API processes see it."""

    def __init__(self, info: ModelInfo, preprocessors: Preprocessors | None = None) -> None:
        """`preprocessors`: those of the process."""
        self.info = info
        self.key = info.key
        # A bundle's was read by those who refuse what only a bare file may leave open.
        self.manifest = Manifest.from_dict(info.manifest, bare=True)
        self.preprocessor: DataPreprocessor | None = (preprocessors or Preprocessors()).get(
            self.manifest.preprocessing, assets=Path(info.assets)
        )
        field = None if self.preprocessor is None else self.preprocessor.sample_field
        self.heavy = field == "image"
        """Whether a small body can be much work: a compressed image is large once decoded."""
        self.sequential = field == "text"
        """Whether samples have lengths, and batches the padding that comes with them."""
        self.has_strings = any(spec.dtype == STRING for spec in self.manifest.inputs)
        """Whether tensors of the model's are looked at value by value."""
        self._shapes = {
            spec.name: row_shape(spec, batchable=info.batchable) for spec in self.manifest.inputs
        }
        fixed = all(DYNAMIC not in shape for shape in self._shapes.values()) and not any(
            spec.unranked for spec in self.manifest.inputs
        )
        self._fixed_signature = _shapes_signature(self._shapes.values()) if fixed else None

    def to_parts(
        self,
        samples: Sequence[Sample],
        *,
        batch_size: int,
        batch_tokens: int | None = None,
        cache: RowCache | None = None,
    ) -> list[Part]:
        """The samples as tensors, in as few parts as can run at once. Raises BadRequestError."""
        if len(samples) == 1:
            signature, row = self._to_row(samples[0], cache)
            length = _length(row) if self.sequential else 1
            tensors = self._batch(signature, [row])
            return [Part(tensors, (0,), signature, length, alone=not self.info.batchable)]
        groups: dict[str, list[tuple[int, Tensors]]] = {}
        for index, sample in enumerate(samples):
            signature, row = self._to_row(sample, cache)
            groups.setdefault(signature, []).append((index, row))
        limit = batch_size if self.info.batchable else 1
        parts = []
        for signature, rows in groups.items():
            if not self.sequential:
                parts += [
                    self._join(signature, rows[start : start + limit])
                    for start in range(0, len(rows), limit)
                ]
                continue
            rows.sort(key=lambda entry: _length(entry[1]))
            lengths = [_length(row) for _, row in rows]
            parts += [
                self._join(signature, rows[piece])
                for piece in cut(lengths, batch_size=limit, batch_tokens=batch_tokens)
            ]
        return parts

    def from_tensors(
        self,
        tensors: Tensors,
        *,
        batch_size: int,
        batch_tokens: int | None = None,
        most_samples: int,
    ) -> list[Part]:
        """Tensors as the model's signature has them, batch dimension included, as parts.

        Raises BadRequestError where the inputs are batches of different sizes, TooLargeError where
        they have too many samples, and InputError where no sample becomes such tensors.
        """
        if self.preprocessor is not None:
            self.preprocessor.check(tensors)
        if not self.info.batchable:
            return [Part(_stacked(tensors), (0,), self._signature(tensors), alone=True)]
        sizes = {name: len(array) for name, array in tensors.items()}
        if len(set(sizes.values())) > 1:
            told = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise BadRequestError(f"the inputs have different batch sizes: {told}", field="inputs")
        count = next(iter(sizes.values()))
        if count > most_samples:  # before anything is done for each of them
            raise TooLargeError(
                f"the batch has {count} samples, at most {most_samples} are taken",
                code="too_many_instances",
                field="inputs",
            )
        indices = tuple(range(count))
        first = {name: array[0] for name, array in tensors.items()}
        length = _length(first) if self.sequential else 1
        lengths = [length] * count
        return [
            Part(
                {name: array[piece] for name, array in tensors.items()},
                indices[piece],
                self._signature(first),
                length,
            )
            for piece in cut(lengths, batch_size=batch_size, batch_tokens=batch_tokens)
        ]

    def to_answers(self, outputs: Tensors, part: Part) -> list[dict[str, Any]]:
        """What the outputs say, a sample each. Raises RefusedSampleError where they say NaN."""
        try:
            return to_predictions(self.manifest, outputs)
        except EngineError as error:
            self._refuse_not_finite(outputs, part)
            raise ModelFailedError(str(error), code="model_failed") from error

    def _refuse_not_finite(self, outputs: Tensors, part: Part) -> None:
        """Raises RefusedSampleError if there is a sample that the model has no numbers for."""
        for name, array in as_numbers(self.manifest.outputs, outputs).items():
            if array.dtype.kind != "f":
                continue
            finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)  # (B,)
            if not finite.all():
                raise RefusedSampleError(
                    f"the model's {name!r} has NaN or infinite values for this input",
                    index=part.indices[int(finite.argmin())],
                    code="no_finite_answer",
                ) from None

    def _to_row(self, sample: Sample, cache: RowCache | None) -> tuple[str, Tensors]:
        try:
            if sample.field == "inputs":
                return self._read_inputs(sample)
            if self.preprocessor is None or self.preprocessor.sample_field != sample.field:
                own = [] if self.preprocessor is None else [self.preprocessor.sample_field]
                raise InputError(
                    f"the model {self.info.name!r} takes {' or '.join([*own, 'inputs'])}, "
                    f"not {sample.field}",
                    field=sample.field,
                )
            if cache is None:
                return sample.field, self.preprocessor(sample.value)
            labels = (*self.info.key, self.info.variant)
            return sample.field, cache.row(self.preprocessor, sample.value, model=labels)
        except InputError as error:
            raise BadRequestError.from_input_error(
                error, field=sample.located(error.field), path=sample.path
            ) from error

    def _read_inputs(self, sample: Sample) -> tuple[str, Tensors]:
        values: Mapping[str, Any] = sample.value
        for name in self._shapes:
            if name not in values:
                raise self._other_names(values)
        if len(values) > len(self._shapes):
            raise self._other_names(values)
        row = {
            spec.name: to_array(values[spec.name], spec, shape=self._shapes[spec.name])
            for spec in self.manifest.inputs
        }
        if self.sequential:
            _check_lengths(row)
        if self.preprocessor is not None:
            self.preprocessor.check(row)
        return self._signature(row), row

    def _other_names(self, values: Mapping[str, Any]) -> InputError:
        remedy = f"the model takes {', '.join(self._shapes)}"
        for name in values:
            if name not in self._shapes:
                message = f"inputs has an unknown tensor {name[:64]!r}"
                return InputError(message, field="inputs", remedy=remedy)
        field = f"inputs.{next(name for name in self._shapes if name not in values)}"
        return InputError(f"{field} is missing", field=field, remedy=remedy)

    def _signature(self, row: Tensors) -> str:
        """Samples of the same shapes can be joined into one batch; sequences are padded."""
        if self.sequential:
            return "text"
        return self._fixed_signature or _shapes_signature(array.shape for array in row.values())

    def _join(self, signature: str, rows: list[tuple[int, Tensors]]) -> Part:
        indices = tuple(index for index, _ in rows)
        tensors = [row for _, row in rows]
        length = max(map(_length, tensors)) if self.sequential else 1
        joined = self._batch(signature, tensors)
        return Part(joined, indices, signature, length, alone=not self.info.batchable)

    def _batch(self, signature: str, rows: list[Tensors]) -> Tensors:
        """The rows as one batch."""
        if self.preprocessor is not None and signature == self.preprocessor.sample_field:
            return self.preprocessor.collate(rows)
        if len(rows) == 1:
            return _stacked(rows[0])
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _shapes_signature(shapes: Iterable[tuple[int, ...]]) -> str:
    return ";".join(map(str, shapes))


def _stacked(row: Tensors) -> Tensors:
    """A batch of one."""
    return {name: array[np.newaxis] for name, array in row.items()}


def _length(row: Tensors) -> int:
    """Tokens of one sample of a sequence model."""
    return max(map(len, row.values()))


def _check_lengths(row: Tensors) -> None:
    """The tensors of one sequence have one length, to be padded together. Raises InputError."""
    (first, length), *others = ((name, array.shape) for name, array in row.items())
    for name, shape in others:
        if shape != length:
            raise InputError(
                f"inputs.{name} has shape {list(shape)}, but inputs.{first} has {list(length)}",
                field=f"inputs.{name}",
            )
