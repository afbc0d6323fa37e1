"""Availability: what this machine can run, tried and not read from a list.

ONNX Runtime's list of providers says what was compiled in, also where no GPU is, and its list of
devices knows only the providers that register themselves. So a provider counts if a session that
asks for it runs on it.
"""

from __future__ import annotations

import functools

from bundle.engine.onnx import OnnxEngine
from bundle.engine.providers import PROVIDERS
from bundle.errors import EngineError, RequestError

AUTO = PROVIDERS[0]

# One node, y = Identity(x), of float32 [1]; opset 17. The bundle cannot write ONNX.
_SMALLEST_MODEL = (
    b'\x08\x08:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01'
    b"\x12\x04\n\x02\x08\x01b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\x11"
)


@functools.cache
def provider_missing(provider: str) -> str | None:
    """Why ONNX Runtime cannot run models on `provider` here; None if it can."""
    if provider == AUTO or provider not in PROVIDERS:
        names = ", ".join(PROVIDERS[1:])
        raise RequestError(f"provider={provider!r} must be one of {names}", field="provider")
    try:
        OnnxEngine(_SMALLEST_MODEL, provider=provider, threads=1)
    except EngineError as error:
        return str(error)
    return None
