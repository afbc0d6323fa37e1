"""Session: a model in ONNX Runtime that really runs where it was asked to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state

from bundle.engine.providers import (
    REMEDIES,
    RUNTIME_NAMES,
    library_problem,
    prepare,
    request,
)
from bundle.errors import EngineError, first_line

if TYPE_CHECKING:
    from bundle.engine.providers import ProviderSettings

RAISED: tuple[type[Exception], ...] = (
    MemoryError,
    *(
        kind
        for kind in vars(onnxruntime_pybind11_state).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ),
)
"""What ONNX Runtime raises where a model fails: classes that share no other than Exception."""
_SLOWER_FUSIONS = ("SkipLayerNormFusion",)
"""What ONNX Runtime fuses on loading although its CPU kernel of the fused operator takes 4.5 times
as long as the operators that it stands for (1.32, measured on AVX-512)."""
_SPIN_MICROSECONDS = "30"
"""How long a thread looks for work before it sleeps: longer than a batch's operators are apart, and
not for as long as ONNX Runtime does by itself, in which nobody else has its core (known from 1.32
on)."""
_QUIET = 4
"""ONNX Runtime's severity "fatal": what fails is raised, so nothing needs to be printed too."""


def open_session(model: Path | str | bytes, provider: str, settings: ProviderSettings) -> Any:
    """A session that runs on the provider, which is not auto and is built in. Raises EngineError.

    The list of available providers says what was compiled in, not what this machine can run:
    only the finished session tells.
    """
    prepare(provider)
    onnxruntime.set_default_logger_severity(_QUIET)
    try:
        session = onnxruntime.InferenceSession(
            model if isinstance(model, bytes) else str(model),
            session_options(settings.threads),
            providers=request(provider, settings),
            disabled_optimizers=_SLOWER_FUSIONS if provider == "cpu" else None,
            enable_fallback=0,
        )
    except Exception as error:  # the runtime's exceptions share no class
        name = "the model" if isinstance(model, bytes) else Path(model).name
        reason = library_problem(provider) or first_line(error)
        raise EngineError(
            f"ONNX Runtime cannot load {name} on {provider}: {reason}",
            remedy=None if provider == "cpu" else REMEDIES[provider],
        ) from error
    running = session.get_providers()
    if RUNTIME_NAMES[provider] not in running:
        problem = library_problem(provider)
        raise EngineError(
            f"provider={provider} was asked for, but ONNX Runtime runs on {', '.join(running)}"
            + (f": {problem}" if problem else ""),
            field="provider",
            remedy=REMEDIES[provider],
        )
    return session


def session_options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN_MICROSECONDS)
    options.log_severity_level = _QUIET
    return options
