"""LoadedModel: a verified bundle in an engine, as a worker holds it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from bundle.archive import Bundle, open_bundle
from bundle.bare import open_bare
from bundle.engine.ones import SIZES, ones
from bundle.engine.select import choose_variant, load_engine
from bundle.golden import check_golden, read_golden
from serving.codec.tensors import row_shape
from serving.narrow import open_narrow
from serving.preprocessors import Preprocessors
from serving.served_model import ModelInfo, ModelKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bundle.engine.base import InferenceEngine
    from bundle.engine.select import Choice
    from bundle.preprocessing.preprocessor import DataPreprocessor
    from bundle.uri import Resolved
    from serving.wire import Array, Tensors

log = logging.getLogger(__name__)

MOST_NUMBERS = 2**20
"""Of a sample that is made up."""


@dataclass(frozen=True)
class LoadedModel:
    """Answers batches of tensors; safe to use from several threads."""

    name: str
    version: str
    variant: str
    bundle: Bundle
    engine: InferenceEngine
    """On all threads."""
    narrow: InferenceEngine | None
    """The same on the threads of one stream, if batches can run beside each other."""
    preprocessor: DataPreprocessor | None
    probe: Tensors | None
    """Inputs that the model is known to answer; None if none are known."""

    @property
    def key(self) -> ModelKey:
        return (self.name, self.version)

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            name=self.name,
            version=self.version,
            variant=self.variant,
            engine=self.engine.name,
            provider=self.engine.provider,
            batchable=self.engine.batchable,
            assets=str(self.bundle.path),
            manifest=self.bundle.manifest.to_dict(),
        )

    def run(self, parts: Sequence[Tensors], *, shared: bool = False) -> list[dict[str, Array]]:
        """All parts in one batch, then apart again; one after the other where the model has no
        batch dimension. `shared`: others run beside it. Raises InputError or EngineError.
        """
        engine = self._engine(shared=shared)
        if not engine.batchable:
            return [engine.predict_batch(part) for part in parts]
        outputs = engine.predict_batch(self._join(parts))
        results: list[dict[str, Array]] = []
        start = 0
        for part in parts:
            end = start + len(next(iter(part.values())))
            results.append({name: array[start:end] for name, array in outputs.items()})
            start = end
        return results

    def works(self, *, shared: bool = False) -> bool:
        """Whether the model still answers what it is known to answer."""
        return self.probe is None or _answers(self._engine(shared=shared), self.probe)

    def _engine(self, *, shared: bool) -> InferenceEngine:
        return self.narrow if shared and self.narrow is not None else self.engine

    def _join(self, parts: Sequence[Tensors]) -> Tensors:
        first = parts[0]
        if len(parts) == 1:
            return first
        try:
            return {name: np.concatenate([part[name] for part in parts]) for name in first}
        except ValueError:  # they differ in shape
            if self.preprocessor is None:
                raise AssertionError("only preprocessed rows differ in shape") from None
        rows = [
            {name: array[index] for name, array in part.items()}
            for part in parts
            for index in range(len(next(iter(part.values()))))
        ]
        return self.preprocessor.collate(rows)


def load_model(
    source: Resolved,
    *,
    variant: str,
    provider: str,
    fallback: bool,
    threads: int,
    batch_size: int,
    streams: bool = False,
    preprocessors: Preprocessors | None = None,
) -> LoadedModel:
    """Verify, load, and prove by the golden answers. Raises BundleError or RequestError.

    `streams`: whether batches may run beside each other.
    `preprocessors`: those of the process.
    """
    bundle = open_bare(source.path, name=source.name) if source.bare else open_bundle(source.path)
    manifest = bundle.manifest
    choice = choose_variant(bundle, variant=variant or None, provider=provider)
    chosen = choice.variant
    load = partial(load_engine, bundle, variant=chosen, max_batch_size=batch_size)
    engine = load(provider=provider, fallback=fallback, threads=threads or None)
    preprocessors = preprocessors or Preprocessors()
    preprocessor = preprocessors.get(manifest.preprocessing, assets=bundle.path)
    check_golden(bundle, engine, preprocessor, variant=chosen)
    probe = _probe(bundle, engine)
    narrow = None
    if streams and engine.provider == "cpu" and probe is not None:
        narrow = open_narrow(
            partial(load, provider="cpu", threads=1),
            check=partial(check_golden, bundle, variant=chosen),
            file=bundle.file(str(manifest.variant(chosen).file)),
            sample=_sample(bundle, engine, probe),
            batch_size=batch_size,
        )
    name = source.name or manifest.name
    _tell_fallback(name, engine, choice)
    _tell_batch(name, bundle)
    return LoadedModel(
        name=name,
        version=source.version,
        variant=chosen,
        bundle=bundle,
        engine=engine,
        narrow=narrow,
        preprocessor=preprocessor,
        probe=probe,
    )


def _tell_fallback(name: str, engine: InferenceEngine, choice: Choice) -> None:
    """One line where a model runs in another way than was asked for; auto asks for nothing."""
    if choice.reason is not None:
        log.warning("%s: variant %s instead: %s", name, choice.variant, choice.reason)
    if engine.requested not in ("auto", engine.provider):
        log.warning(
            "%s: %s was asked for, it runs on %s: %s",
            name,
            engine.requested,
            engine.provider,
            engine.fallback_reason,
        )


def _tell_batch(name: str, bundle: Bundle) -> None:
    """One line where a model of which nothing is proved runs requests one by one, or maybe ought
    to.
    """
    if bundle.batch is not None and bundle.batch.reason:
        done = "together" if bundle.batch.shared else "one by one"
        log.info("%s: its requests run %s: %s", name, done, bundle.batch.reason)


def _probe(bundle: Bundle, engine: InferenceEngine) -> Tensors | None:
    """A golden batch; without one a single sample of ones, if the model answers that."""
    batches = read_golden(bundle)
    if batches:
        return batches[0][0]
    tries = (_ones(engine, size=size) for size in SIZES)
    return next((inputs for inputs in tries if _answers(engine, inputs)), None)


def _sample(bundle: Bundle, engine: InferenceEngine, probe: Tensors) -> Tensors:
    """One that takes about as long as those that come: of the golden ones, else of ones of some
    length.
    """
    if bundle.manifest.golden is not None:
        return {name: array[:1] for name, array in probe.items()}
    longer = _ones(engine, size=SIZES[-1])
    few = sum(array.size for array in longer.values()) <= MOST_NUMBERS
    return longer if few and _answers(engine, longer) else probe


def _ones(engine: InferenceEngine, *, size: int) -> Tensors:
    """A sample of ones; `size` stands for whatever is dynamic."""
    shapes = [row_shape(spec, batchable=engine.batchable) for spec in engine.inputs]
    specs = [
        replace(spec, shape=(1, *shape)) for spec, shape in zip(engine.inputs, shapes, strict=True)
    ]
    return ones(specs, size=size)


def _answers(engine: InferenceEngine, inputs: Tensors) -> bool:
    try:
        engine.predict_batch(inputs)
    except Exception:  # noqa: BLE001 - whatever the runtime raises, it is no answer
        return False
    return True
