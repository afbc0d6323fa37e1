"""A stand-in for `cuda.bindings.runtime` where no GPU is: both sides are the host's memory."""
# ruff: noqa: N802, N815 - the names are NVIDIA's

from __future__ import annotations

import ctypes
from types import SimpleNamespace


class CudaStandIn:
    """What the engines use of the module; copies are made at once, and recorded."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)

    def __init__(self, *, gpus: int = 1, memory: int = 2**20):
        self.gpus, self.memory = gpus, memory
        self.blocks: dict[int, ctypes.Array] = {}
        self.calls: list[str] = []

    def cudaGetDeviceCount(self):
        return (0, self.gpus) if self.gpus else (100, None)

    def cudaGetDeviceProperties(self, index):
        return 0, SimpleNamespace(name=b"NVIDIA H100 80GB HBM3", major=9, minor=0)

    def cudaGetErrorString(self, status):
        return 0, {100: b"no CUDA-capable device is detected", 2: b"out of memory"}[status]

    def cudaStreamCreate(self):
        return 0, 77

    def cudaStreamDestroy(self, stream):
        return (0,)

    def cudaStreamSynchronize(self, stream):
        self.calls.append("synchronize")
        return (0,)

    def cudaMalloc(self, size):
        if size > self.memory:
            return 2, None
        block = ctypes.create_string_buffer(size)
        self.blocks[ctypes.addressof(block)] = block
        return 0, ctypes.addressof(block)

    cudaMallocHost = cudaMalloc

    def cudaFree(self, address):
        del self.blocks[address]
        return (0,)

    cudaFreeHost = cudaFree

    def cudaMemcpyAsync(self, to, source, size, kind, stream):
        self.calls.append("send" if kind == 1 else "receive")
        ctypes.memmove(to, source, size)
        return (0,)
