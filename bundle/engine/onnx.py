"""OnnxEngine: ONNX Runtime, on the provider that was asked for or with the reason why not."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from bundle.engine.base import InferenceEngine
from bundle.engine.binding import Binding
from bundle.engine.bits import run_on_bits
from bundle.engine.cores import available_cores
from bundle.engine.cuda import Stream
from bundle.engine.providers import (
    FALLBACKS,
    ON_GPU,
    ProviderSettings,
    check_built_in,
    check_provider,
)
from bundle.engine.session import RAISED, open_session
from bundle.engine.shapeless import shapeless
from bundle.engine.signature import dimension_names, read_specs
from bundle.errors import EngineError, RequestError, first_line
from bundle.tensor import BFLOAT16, STRING

if TYPE_CHECKING:
    from pathlib import Path

    from bundle.engine.profile import ShapeProfile
    from bundle.preprocessing.preprocessor import Array

_UNBOUND = (STRING, BFLOAT16)
"""Element types that numpy cannot hand over as plain memory."""


class OnnxEngine(InferenceEngine):
    """Safe to call from several threads; holds the session for as long as it lives."""

    def __init__(
        self,
        model: Path | str | bytes,
        *,
        provider: str = "auto",
        fallback: bool = False,
        threads: int | None = None,
        max_batch_size: int = 64,
        cache: Path | None = None,
        timings: Path | None = None,
        profile: ShapeProfile | None = None,
        batchable: bool | None = None,
    ) -> None:
        """`model`: a file, or its content. `fallback`: run on the next best where the provider does
        not run; auto always does. `threads`: within one operator, on the CPU; None takes the cores
        of this process. `cache`, `timings`, `profile`: for provider=tensorrt, see ProviderSettings.
        `batchable`: None where the shapes decide. Raises EngineError, or RequestError for a wrong
        argument.
        """
        check_provider(provider)
        if threads is not None and threads < 1:
            raise RequestError(f"threads={threads} must be 1 or more", field="threads")
        self._requested = provider
        self._reasons: list[str] = []
        settings = ProviderSettings(
            threads=threads or available_cores(), cache=cache, timings=timings, profile=profile
        )
        candidates = FALLBACKS[provider] if fallback or provider == "auto" else (provider,)
        self._session, self._provider, stream = self._open(model, candidates, settings)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        unshaped = partial(shapeless, model)
        super().__init__(
            inputs=read_specs(inputs, shapeless=unshaped),
            outputs=read_specs(outputs, shapeless=unshaped),
            max_batch_size=max_batch_size,
            dimension_names=dimension_names((*inputs, *outputs)),
            batchable=batchable,
        )
        self._output_names = [output.name for output in outputs]
        self._options = onnxruntime.RunOptions()
        dtypes = {spec.dtype for spec in (*self._inputs, *self._outputs)}
        plain = dtypes.isdisjoint(_UNBOUND)
        self._has_bits = BFLOAT16 in dtypes
        if dtypes.issuperset(_UNBOUND):
            raise EngineError(
                "the model has tensors of bfloat16 and of string, which ONNX Runtime can only pass "
                "in ways that exclude each other",
                remedy="cast the bfloat16 tensors to float32 inside the model",
            )
        self._binding = (
            Binding(self._session, stream, self._output_names)
            if plain and stream is not None
            else None
        )

    @property
    def name(self) -> str:
        return "onnxruntime"

    @property
    def provider(self) -> str:
        return self._provider

    @property
    def requested(self) -> str:
        return self._requested

    @property
    def fallback_reason(self) -> str | None:
        return "; ".join(self._reasons) or None

    @property
    def stopped(self) -> bool:
        return bool(self._options.terminate)

    def stop(self) -> None:
        """End what runs on the CPU after the operator that it is in, and every run from now on."""
        self._options.terminate = True

    def metadata(self) -> dict[str, Any]:
        return {
            **super().metadata(),
            "engine_version": onnxruntime.__version__,
            "providers": self._session.get_providers(),
            "io_binding": self._binding is not None,
            "threads": self._session.get_session_options().intra_op_num_threads,
        }

    def _open(
        self, model: Path | str | bytes, candidates: tuple[str, ...], settings: ProviderSettings
    ) -> tuple[Any, str, Stream | None]:
        """The session of the first candidate that runs here, and the stream that it runs in."""
        *preferred, last = candidates
        for provider in preferred:
            try:
                return _open_on(model, provider, settings)
            except EngineError as error:
                self._reasons.append(str(error))
        return _open_on(model, last, settings)

    def _run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        try:
            if self._binding is not None:
                results = self._binding.run(inputs)
            elif self._has_bits:
                results = run_on_bits(
                    self._session, inputs, specs=self._inputs, options=self._options
                )
            else:
                results = self._session.run(self._output_names, inputs, self._options)
        except RAISED as error:  # anything else is a fault of ours, and no model's
            raise EngineError(f"the model failed: {first_line(error)}") from error
        return dict(zip(self._output_names, map(np.asarray, results), strict=True))


def _open_on(
    model: Path | str | bytes, provider: str, settings: ProviderSettings
) -> tuple[Any, str, Stream | None]:
    check_built_in(provider)  # before a stream, which starts CUDA
    stream = _stream() if provider in ON_GPU else None
    if stream is not None:
        settings = replace(settings, stream=stream.handle)
    return open_session(model, provider, settings), provider, stream


def _stream() -> Stream | None:
    """A stream of our own; None without NVIDIA's bindings, which only make copies faster."""
    try:
        return Stream()
    except EngineError:
        return None
