"""DataPreprocessor: one raw sample in, the tensors of one row out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bundle.errors import InputError

if TYPE_CHECKING:
    from bundle.preprocessing.config import PreprocessingConfig
    from bundle.tensor import TensorSpec

Array = np.ndarray[Any, np.dtype[Any]]
Row = Mapping[str, Array]
"""The tensors of one sample, without a batch dimension."""


class DataPreprocessor(ABC):
    """Stateless after construction, and safe to call from several threads."""

    sample_field: ClassVar[str]
    """The key under which a request carries the raw sample."""

    @property
    @abstractmethod
    def config(self) -> PreprocessingConfig: ...

    @property
    @abstractmethod
    def input_specs(self) -> tuple[TensorSpec, ...]:
        """The tensors that `collate` returns, batch dimension included."""

    @abstractmethod
    def __call__(self, sample: Any) -> dict[str, Array]:
        """The tensors of one sample, without a batch dimension. Raises InputError."""

    def check(self, tensors: Mapping[str, Array]) -> None:  # noqa: B027 - most take any
        """Raise InputError for tensors that no sample becomes, with or without batch dimension.

        For tensors that come ready-made, of the names, types and ranks that the model takes.
        """

    def collate(self, rows: Sequence[Row]) -> dict[str, Array]:
        """One batch of the rows, in order, batch dimension in front."""
        if not rows:
            raise InputError("a batch needs at least one sample, got none", field=self.sample_field)
        return {spec.name: np.stack([row[spec.name] for row in rows]) for spec in self.input_specs}
