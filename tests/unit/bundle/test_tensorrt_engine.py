"""Running a plan: the calls that TensorRT 11 and CUDA get, on stand-ins for both."""

from __future__ import annotations

import ctypes
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from bundle.engine import cuda
from bundle.engine.plan import PlanKey
from bundle.engine.tensorrt import TensorRTEngine
from bundle.errors import EngineError, InputError
from bundle.tensor import TensorSpec
from tests.cuda_stand_in import CudaStandIn
from tests.tensorrt_stand_in import tensorrt_stand_in

KEY = PlanKey(tensorrt="11.1.0.106", gpu="NVIDIA H100 80GB HBM3", capability="9.0")
X = TensorSpec(name="x", dtype="float32", shape=(-1, 4))


class Negation:
    """What a plan of y = -x answers, for batches of 1 to 8."""

    def __init__(self):
        self.addresses, self.shape = {}, ()

    def answers(self, module):
        mode = module().TensorIOMode
        return {
            "num_io_tensors": 2,
            "get_tensor_name": lambda index: "xy"[index],
            "get_tensor_mode": {"x": mode.INPUT, "y": mode.OUTPUT}.get,
            "get_tensor_location": lambda name: module().TensorLocation.DEVICE,
            "get_tensor_dtype": lambda name: module().DataType.FLOAT,
            "get_tensor_shape": lambda name: self.shape or (-1, 4),
            "get_tensor_profile_shape": lambda name, index: [(1, 4), (4, 4), (8, 4)],
            "set_input_shape": self.set_shape,
            "infer_shapes": [],
            "set_tensor_address": self.set_address,
            "execute_async_v3": self.execute,
        }

    def set_shape(self, name, shape):
        self.shape = shape
        return shape[0] <= 8

    def set_address(self, name, address):
        self.addresses[name] = address
        return address != 0

    def execute(self, stream):
        count = int(np.prod(self.shape))
        x, y = ((ctypes.c_float * count).from_address(self.addresses[name]) for name in "xy")
        y[:] = [-value for value in x]
        return True


@pytest.fixture
def gpu(monkeypatch):
    runtime = CudaStandIn()
    monkeypatch.setattr(cuda, "load_cuda", lambda: runtime)
    return runtime


@pytest.fixture
def tensorrt(monkeypatch, gpu):
    """Puts a stand-in where `import tensorrt` finds it."""

    def install(**answers):
        module = tensorrt_stand_in()
        made = tensorrt_stand_in(**{**Negation().answers(lambda: module), **answers})
        for name in ("TensorIOMode", "TensorLocation", "DataType"):
            setattr(made, name, getattr(module, name))
        monkeypatch.setitem(sys.modules, "tensorrt", made)
        return made

    return install


def test_plan_is_run_by_the_calls_of_tensorrt_11_in_their_order(tensorrt, gpu):
    module = tensorrt()
    engine = TensorRTEngine(b"plan")
    module.calls.clear()

    y = engine.predict_batch({"x": np.arange(8, dtype=np.float32).reshape(2, 4)})["y"]

    np.testing.assert_array_equal(y, -np.arange(8, dtype=np.float32).reshape(2, 4))
    assert [call for call in module.calls if call[0] != "get_tensor_shape"] == [
        ("set_input_shape", "x", (2, 4)),
        ("infer_shapes",),
        ("set_tensor_address", "x", engine._buffers["x"].address),
        ("set_tensor_address", "y", engine._buffers["y"].address),
        ("execute_async_v3", 77),
    ]
    assert gpu.calls == ["send", "receive", "synchronize"]


def test_engine_knows_the_plans_tensors_and_limits(tensorrt):
    tensorrt()
    engine = TensorRTEngine(b"plan", max_batch_size=64)

    assert engine.inputs == (X,)
    assert [spec.name for spec in engine.outputs] == ["y"]
    assert engine.max_batch_size == 8
    assert (engine.name, engine.provider, engine.fallback_reason) == ("tensorrt", "tensorrt", None)
    metadata = json.loads(json.dumps(engine.metadata()))
    assert metadata["engine_version"] == KEY.tensorrt
    assert metadata["gpu"] == KEY.gpu


def test_batches_of_any_size_share_the_buffers_and_stay_apart(tensorrt, gpu):
    tensorrt()
    engine = TensorRTEngine(b"plan")
    batches = [np.full((size, 4), size, np.float32) for size in (1, 20, 3, 8, 1)]

    results = [engine.predict_batch({"x": batch})["y"] for batch in batches]

    for batch, result in zip(batches, results, strict=True):
        np.testing.assert_array_equal(result, -batch)
    assert len(gpu.blocks) == 4  # two tensors, on both sides
    engine._buffers.clear()
    assert not gpu.blocks


def test_threads_take_turns(tensorrt):
    tensorrt()
    engine = TensorRTEngine(b"plan")
    batches = [np.full((index % 8 + 1, 4), index, np.float32) for index in range(40)]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda x: engine.predict_batch({"x": x})["y"], batches))

    for batch, result in zip(batches, results, strict=True):
        np.testing.assert_array_equal(result, -batch)


def test_shape_outside_of_the_profile_is_refused_by_name(tensorrt):
    tensorrt(set_input_shape=lambda name, shape: False)

    with pytest.raises(InputError, match=r"inputs\.x has shape \[2, 4\].* \[1, 4\] to \[8, 4\]"):
        TensorRTEngine(b"plan").predict_batch({"x": np.zeros((2, 4), np.float32)})


def raising(*_):
    raise RuntimeError("infer_shapes error code: -1")


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"deserialize_cuda_engine": None}, "cannot load the plan: TensorRT gives no reason"),
        ({"create_execution_context": None}, "cannot prepare the plan"),
        ({"get_tensor_location": None}, "'x' is no tensor of the GPU"),
        ({"get_tensor_dtype": SimpleNamespace(name="FP8")}, "element type FP8"),
        ({"infer_shapes": ["x"]}, "cannot tell the shape of x"),
        ({"infer_shapes": raising}, "takes no such shapes"),
        ({"get_tensor_shape": (-1, 4)}, "'y' depends on the data"),
        ({"set_tensor_address": False}, "refuses memory"),
        ({"execute_async_v3": False}, "the model failed"),
    ],
)
def test_every_refusal_of_tensorrt_is_an_error(answers, message, tensorrt):
    tensorrt(**answers)

    with pytest.raises(EngineError, match=message):
        TensorRTEngine(b"plan").predict_batch({"x": np.zeros((2, 4), np.float32)})


def test_errors_that_tensorrt_logs_are_told_and_not_printed(tensorrt, capfd):
    def refuse(plan):
        module.logger.log(module.ILogger.ERROR, "Serialization assertion failed")

    module = tensorrt(deserialize_cuda_engine=refuse)

    with pytest.raises(EngineError, match="Serialization assertion failed"):
        TensorRTEngine(b"torn")

    assert capfd.readouterr() == ("", "")


def test_memory_that_the_gpu_lacks_is_an_error_in_cudas_words(tensorrt, gpu):
    tensorrt()
    gpu.memory = 16
    engine = TensorRTEngine(b"plan")

    with pytest.raises(EngineError, match="CUDA: out of memory"):
        engine.predict_batch({"x": np.zeros((2, 4), np.float32)})

    gpu.memory = 2**20
    assert engine.predict_batch({"x": np.ones((2, 4), np.float32)})["y"].sum() == -8


def test_plan_of_this_machine_is_loaded_by_its_name(tensorrt, tmp_path):
    module = tensorrt()
    (tmp_path / KEY.file_name("fp16")).write_bytes(b"plan")

    TensorRTEngine(tmp_path / KEY.file_name("fp16"))

    assert ("deserialize_cuda_engine", b"plan") in module.calls
    assert KEY.file_name("fp16") == "fp16-trt11.1.0.106-sm90-nvidia-h100-80gb-hbm3.plan"


def test_plan_of_another_machine_is_refused_before_it_is_read(tensorrt, tmp_path):
    tensorrt()
    other = PlanKey(tensorrt="11.0.0", gpu="NVIDIA A100", capability="8.0").file_name("fp16")

    with pytest.raises(EngineError, match="was not built for this machine") as found:
        TensorRTEngine(tmp_path / other)

    assert "ONNX variant" in found.value.remedy


def test_plan_that_is_gone_is_an_error(tensorrt, tmp_path):
    tensorrt()

    with pytest.raises(EngineError, match="cannot be read"):
        TensorRTEngine(tmp_path / KEY.file_name("fp16"))


def test_machine_without_a_gpu_runs_no_plan(tensorrt, gpu):
    tensorrt()
    gpu.gpus = 0

    with pytest.raises(EngineError, match="no CUDA-capable device") as found:
        TensorRTEngine(b"plan")

    assert "driver" in found.value.remedy
