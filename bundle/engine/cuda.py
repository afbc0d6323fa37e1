"""CUDA: the GPU, a stream, and memory on both sides of the bus, by NVIDIA's own bindings.

`cuda.bindings.runtime` is part of the extras `gpu` and `trt`; every call of it returns a status and
then its results.
"""

from __future__ import annotations

import ctypes
import importlib
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bundle.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bundle.preprocessing.preprocessor import Array

_REMEDY = "install trainyard[gpu] or trainyard[trt], and the NVIDIA driver"


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """What an optimised model may depend on."""

    name: str
    capability: str
    """Of its instruction set, such as 9.0."""


def load_cuda() -> Any:
    """The module `cuda.bindings.runtime`. Raises EngineError where it is not installed."""
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except ImportError as error:
        raise EngineError(
            f"NVIDIA's CUDA bindings cannot be imported: {error}",
            field="provider",
            remedy=_REMEDY,
        ) from error


def find_gpu() -> Gpu:
    """The first GPU that this process sees. Raises EngineError if there is none."""
    runtime = load_cuda()
    count = _checked(runtime, runtime.cudaGetDeviceCount())
    if count < 1:
        raise EngineError("there is no NVIDIA GPU here", field="provider", remedy=_REMEDY)
    properties = _checked(runtime, runtime.cudaGetDeviceProperties(0))
    name = properties.name
    return Gpu(
        name=name.decode() if isinstance(name, bytes) else str(name),
        capability=f"{properties.major}.{properties.minor}",
    )


class Stream:
    """An order of copies and kernels. What is given to it must live until `synchronize`."""

    def __init__(self) -> None:
        """Raises EngineError."""
        self._runtime = load_cuda()
        self._stream = _checked(self._runtime, self._runtime.cudaStreamCreate())
        weakref.finalize(self, self._runtime.cudaStreamDestroy, self._stream)

    @property
    def handle(self) -> int:
        """The stream's address."""
        return int(self._stream)

    def synchronize(self) -> None:
        """Wait until all is done. Raises EngineError for whatever failed in the stream."""
        _checked(self._runtime, self._runtime.cudaStreamSynchronize(self._stream))


class DeviceBuffer:
    """Memory on the GPU and as much page-locked memory on the host: copies need no detour.

    Grows when more is asked for, and never shrinks: batches come in all sizes, and an allocation
    stops the whole GPU.
    """

    def __init__(self) -> None:
        self._runtime = load_cuda()
        self._capacity = 0
        self._device = 0
        self._host = 0
        self._release: Callable[[], object] = _nothing

    @property
    def address(self) -> int:
        """On the GPU; another one once the buffer has grown."""
        return self._device

    def reserve(self, nbytes: int) -> None:
        """Have room for so many bytes, at least one. Raises EngineError if there is none."""
        if 0 < nbytes <= self._capacity or (nbytes == 0 and self._capacity):
            return
        self._release()
        self._capacity = 0
        runtime, size = self._runtime, max(1, nbytes)
        self._device = int(_checked(runtime, runtime.cudaMalloc(size)))
        try:
            self._host = int(_checked(runtime, runtime.cudaMallocHost(size)))
        except EngineError:
            runtime.cudaFree(self._device)
            raise
        self._release = weakref.finalize(self, _free, runtime, self._device, self._host)
        self._capacity = size

    def send(self, array: Array, stream: Stream) -> None:
        """Start copying the array to the GPU; the array itself is free at once."""
        self.reserve(array.nbytes)
        np.copyto(self.view(array.dtype, array.shape), array)
        self._copy(self._device, self._host, array.nbytes, stream, "cudaMemcpyHostToDevice")

    def receive(self, nbytes: int, stream: Stream) -> None:
        """Start copying from the GPU; `view` has the bytes once the stream is synchronized."""
        self._copy(self._host, self._device, nbytes, stream, "cudaMemcpyDeviceToHost")

    def view(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
        """The host's side as an array, which lives as long as the buffer does not grow."""
        count = int(np.prod(shape, dtype=np.int64))
        raw = (ctypes.c_ubyte * (count * dtype.itemsize)).from_address(self._host)
        return np.ndarray(shape, dtype=dtype, buffer=memoryview(raw))

    def _copy(self, to: int, source: int, nbytes: int, stream: Stream, kind: str) -> None:
        runtime = self._runtime
        direction = getattr(runtime.cudaMemcpyKind, kind)
        if nbytes:
            _checked(runtime, runtime.cudaMemcpyAsync(to, source, nbytes, direction, stream.handle))


def _nothing() -> None:
    """What is to be released of a buffer that holds nothing."""


def _free(runtime: Any, device: int, host: int) -> None:
    runtime.cudaFree(device)
    runtime.cudaFreeHost(host)


def _checked(runtime: Any, answer: tuple[Any, ...]) -> Any:
    """The result of a call, None if it has none. Raises EngineError with CUDA's own words."""
    status, *results = answer
    if int(status):
        _, words = runtime.cudaGetErrorString(status)
        text = words.decode() if isinstance(words, bytes) else str(words)
        raise EngineError(f"CUDA: {text}", field="provider", remedy=_REMEDY)
    return results[0] if results else None
