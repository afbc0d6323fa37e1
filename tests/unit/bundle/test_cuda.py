"""CUDA without a GPU, and through a stand-in; I/O binding with the real ONNX Runtime."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from bundle.engine import binding, cuda
from bundle.engine.availability import provider_missing
from bundle.engine.binding import Binding
from bundle.engine.cuda import DeviceBuffer, Gpu, Stream, find_gpu, load_cuda
from bundle.engine.onnx import OnnxEngine
from bundle.errors import EngineError
from tests.bare_graphs import one_node_onnx
from tests.cuda_stand_in import CudaStandIn
from tests.tiny_bundle import image_model, tensor_model, text_model


@pytest.fixture
def gpu(monkeypatch):
    runtime = CudaStandIn()
    monkeypatch.setattr(cuda, "load_cuda", lambda: runtime)
    return runtime


def test_missing_bindings_are_an_error_with_a_remedy():
    if importlib.util.find_spec("cuda") is not None:
        pytest.skip("NVIDIA's bindings are installed")

    with pytest.raises(EngineError, match="cannot be imported") as found:
        load_cuda()

    assert "trainyard[gpu]" in found.value.remedy


def test_missing_driver_is_an_error_in_cudas_words():
    pytest.importorskip("cuda.bindings.runtime", reason="NVIDIA's bindings are not installed")
    if provider_missing("cuda") is None:
        pytest.skip("this machine has a GPU")

    for ask in (find_gpu, Stream, lambda: DeviceBuffer().reserve(1)):
        with pytest.raises(EngineError, match="CUDA: "):
            ask()


def test_gpu_is_named_with_its_capability(gpu):
    assert find_gpu() == Gpu(name="NVIDIA H100 80GB HBM3", capability="9.0")


def test_what_is_sent_comes_back(gpu):
    buffer, stream = DeviceBuffer(), Stream()
    array = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float16)

    buffer.send(array.T, stream)  # not contiguous
    buffer.view(np.dtype(np.float16), (15,))[:] = 0
    buffer.receive(array.nbytes, stream)

    np.testing.assert_array_equal(buffer.view(np.dtype(np.float16), (5, 3)), array.T)


def test_buffer_grows_by_need_and_is_released(gpu):
    buffer = DeviceBuffer()
    for nbytes in (0, 8, 4, 8, 16):
        buffer.reserve(nbytes)
        assert buffer.address in gpu.blocks
    assert len(gpu.blocks) == 2
    del buffer

    assert not gpu.blocks


def test_refused_memory_leaves_nothing_behind(gpu):
    buffer = DeviceBuffer()
    gpu.memory = 4

    with pytest.raises(EngineError, match="out of memory"):
        buffer.reserve(8)

    assert not gpu.blocks


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (image_model(), {"image": np.arange(5 * 90, dtype=np.uint8).reshape(5, 3, 6, 5)}),
        (
            text_model(),
            {"input_ids": np.ones((2, 5), np.int64), "attention_mask": np.ones((2, 5), np.int64)},
        ),
        (tensor_model(), {"x": np.zeros((0, 4), np.float32)}),
        (one_node_onnx("Neg", []), {"x": np.array(1.5, np.float32)}),
    ],
)
def test_bound_buffers_give_what_plain_arrays_give(model, inputs, gpu, monkeypatch):
    """The stand-in's GPU is the host, so that the real ONNX Runtime can run there."""
    monkeypatch.setattr(binding, "DEVICE", "cpu")
    engine = OnnxEngine(model, provider="cpu", threads=1)
    expected = engine._session.run(None, inputs)
    bound = Binding(engine._session, Stream(), engine._output_names)

    for _ in range(2):
        for found, array in zip(bound.run(inputs), expected, strict=True):
            np.testing.assert_array_equal(found, array)
    assert gpu.calls.count("synchronize") == 2


def test_a_model_that_fails_on_bound_buffers_is_told_as_one(gpu, monkeypatch):
    monkeypatch.setattr(binding, "DEVICE", "cpu")
    engine = OnnxEngine(text_model(), provider="cpu", threads=1)
    bound = Binding(engine._session, Stream(), engine._output_names)
    out_of_vocabulary = np.full((1, 3), 10_000)

    with pytest.raises(EngineError, match=r"the model failed: .*Gather"):
        bound.run({"input_ids": out_of_vocabulary, "attention_mask": np.ones((1, 3), np.int64)})
