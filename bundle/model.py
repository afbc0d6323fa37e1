"""Model: a bundle with its preprocessor and engine, answering in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bundle.archive import Bundle, open_bundle
from bundle.bare import open_bare
from bundle.engine.select import choose_variant, load_engine
from bundle.errors import InputError
from bundle.golden import check_golden
from bundle.prediction import to_predictions
from bundle.preprocessing.select import create_preprocessor
from bundle.uri import resolve

if TYPE_CHECKING:
    from pathlib import Path

    from bundle.engine.base import InferenceEngine
    from bundle.manifest import Manifest
    from bundle.preprocessing.preprocessor import DataPreprocessor, Row

INPUTS = "inputs"


class Model:
    """Raw samples in, predictions out. Safe to call from several threads."""

    def __init__(
        self,
        bundle: Bundle,
        engine: InferenceEngine,
        preprocessor: DataPreprocessor | None,
        *,
        name: str,
        version: str,
    ) -> None:
        self._bundle = bundle
        self._engine = engine
        self._preprocessor = preprocessor
        self._name = name
        self._version = version

    @classmethod
    def load(
        cls,
        uri: str | Path,
        *,
        variant: str | None = None,
        provider: str = "auto",
        fallback: bool = False,
        threads: int | None = None,
        max_batch_size: int = 64,
        tracking_uri: str | None = None,
        cache: Path | None = None,
    ) -> Model:
        """Resolve, verify, load, and compare the golden answers.

        Raises NotFoundError, RequestError or a BundleError.
        """
        resolved = resolve(str(uri), tracking_uri=tracking_uri, cache=cache)
        bundle = open_bare(resolved.path) if resolved.bare else open_bundle(resolved.path)
        chosen = choose_variant(bundle, variant=variant, provider=provider).variant
        engine = load_engine(
            bundle,
            variant=chosen,
            provider=provider,
            fallback=fallback,
            threads=threads,
            max_batch_size=max_batch_size,
        )
        config = bundle.manifest.preprocessing
        preprocessor = None if config is None else create_preprocessor(config, assets=bundle.path)
        check_golden(bundle, engine, preprocessor, variant=chosen)
        name = resolved.name or bundle.manifest.name
        return cls(bundle, engine, preprocessor, name=name, version=resolved.version)

    @property
    def name(self) -> str:
        return self._name

    @property
    def version(self) -> str:
        return self._version

    @property
    def manifest(self) -> Manifest:
        return self._bundle.manifest

    @property
    def engine(self) -> InferenceEngine:
        return self._engine

    @property
    def preprocessor(self) -> DataPreprocessor | None:
        return self._preprocessor

    def predict(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """One sample, {"image": bytes}, {"text": str} or {"inputs": {tensor: value}}.

        The values of "inputs" have no batch dimension. Raises InputError or EngineError.
        """
        return self._answer([self.prepare(sample)])[0]

    def predict_batch(self, samples: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """One answer a sample, in order; one bad sample refuses all, its index in the error."""
        if not samples:
            raise InputError("instances is empty: send at least one sample", field="instances")
        rows = []
        for index, sample in enumerate(samples):
            try:
                rows.append(self.prepare(sample))
            except InputError as error:
                field = f"instances[{index}]"
                raise InputError(
                    f"{field}: {error}",
                    field=f"{field}.{error.field}" if error.field else field,
                    remedy=error.remedy,
                ) from error
        return self._answer(rows)

    def prepare(self, sample: Mapping[str, Any]) -> Row:
        """The tensors of one sample, without batch dimension. Raises InputError."""
        accepted = [INPUTS]
        if self._preprocessor is not None:
            accepted.insert(0, self._preprocessor.sample_field)
        given = [key for key in (INPUTS, "image", "text") if key in sample]
        if len(given) != 1 or given[0] not in accepted:
            got = " and ".join(given) or "none of them"
            raise InputError(
                f"a sample of model {self._name!r} has {' or '.join(accepted)}, got {got}",
                field=given[0] if given else accepted[0],
            )
        if given[0] == INPUTS:
            return self._tensors(sample[INPUTS])
        if self._preprocessor is None:
            raise AssertionError("unreachable: without a preprocessor only tensors are accepted")
        return self._preprocessor(sample[given[0]])

    def _tensors(self, values: Any) -> Row:
        if not isinstance(values, Mapping):
            raise InputError(
                f"inputs must be an object of tensors, got {type(values).__name__}", field=INPUTS
            )
        tensors = self._engine.check_sample(values)
        if self._preprocessor is not None:
            self._preprocessor.check(tensors)
        return tensors

    def _answer(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        if self._preprocessor is not None:
            batches = [self._preprocessor.collate(rows)]
        elif len({_shapes(row) for row in rows}) == 1:
            batches = [{name: np.stack([row[name] for row in rows]) for name in rows[0]}]
        else:
            batches = [{name: array[np.newaxis] for name, array in row.items()} for row in rows]
        return [
            answer
            for batch in batches
            for answer in to_predictions(self.manifest, self._engine.predict_batch(batch))
        ]


def _shapes(row: Row) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((name, array.shape) for name, array in row.items())
