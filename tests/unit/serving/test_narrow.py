"""Which models are held twice, so that their batches can run beside each other."""

from __future__ import annotations

import time

import numpy as np
import onnx
import pytest

import serving.narrow
from bundle.errors import EngineError
from serving.narrow import open_narrow


class Engine:
    """Takes so long for a batch, and for each of its samples."""

    batchable = True

    def __init__(self, fixed: float, each: float) -> None:
        self.fixed, self.each = fixed, each

    def predict_batch(self, batch):
        ends = time.thread_time() + self.fixed + self.each * len(batch["x"])
        while time.thread_time() < ends:
            pass


def passes(engine) -> None: ...


SAMPLE = {"x": np.zeros((1, 2), np.float32)}


@pytest.mark.parametrize(
    ("fixed", "each", "held"),
    [(0.0, 0.004, True), (0.004, 0.004, True), (0.02, 0.001, False), (0.0, 0.0001, False)],
    ids=["all of it by samples", "half of one by samples", "hardly by samples", "short"],
)
def test_a_model_has_a_narrow_engine_whose_batches_take_as_long_as_their_samples(
    tmp_path, fixed, each, held
):
    file = tmp_path / "model.onnx"
    file.touch()
    engine = Engine(fixed, each)
    found = open_narrow(lambda: engine, check=passes, file=file, sample=SAMPLE, batch_size=8)
    assert (found is engine) == held


@pytest.mark.parametrize(("seconds", "held"), [(0.01, True), (0.001, False)])
def test_a_model_that_takes_one_sample_has_one_if_it_takes_long(tmp_path, seconds, held):
    file = tmp_path / "model.onnx"
    file.touch()
    engine = Engine(seconds, 0.0)
    found = open_narrow(lambda: engine, check=passes, file=file, sample=SAMPLE, batch_size=1)
    assert (found is engine) == held
    engine.batchable = False
    found = open_narrow(lambda: engine, check=passes, file=file, sample=SAMPLE, batch_size=8)
    assert (found is engine) == held


def test_a_large_model_is_not_even_opened_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(serving.narrow, "MOST_BYTES", 10)
    file = tmp_path / "model.onnx"
    file.write_bytes(b"." * 11)

    def load():
        raise AssertionError("it is opened")

    assert open_narrow(load, check=passes, file=file, sample=SAMPLE, batch_size=8) is None


def test_weights_in_other_files_are_not_held_twice(tmp_path):
    weight = onnx.numpy_helper.from_array(np.zeros((64, 64), np.float32), "w")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, ["n", 64])],
        [onnx.helper.make_tensor_value_info("y", 1, ["n", 64])],
        [weight],
    )
    file = tmp_path / "model.onnx"
    onnx.save(onnx.helper.make_model(graph), file, save_as_external_data=True, size_threshold=0)
    engine = Engine(0.0, 0.004)
    options = {"check": passes, "sample": SAMPLE, "batch_size": 8}
    assert open_narrow(lambda: engine, file=file, **options) is None


@pytest.mark.parametrize("fails", ["load", "run", "check"])
def test_a_narrow_engine_that_fails_is_done_without(tmp_path, caplog, fails):
    def fail(*_):
        raise EngineError("no memory")

    file = tmp_path / "model.onnx"
    file.touch()
    engine = Engine(0.0, 0.004)
    if fails == "run":
        engine.predict_batch = fail
    found = open_narrow(
        fail if fails == "load" else lambda: engine,
        check=fail if fails == "check" else passes,
        file=file,
        sample=SAMPLE,
        batch_size=8,
    )
    assert found is None
    assert "model.onnx runs no batches beside each other: no memory" in caplog.text
