"""Which models are held twice, so that their batches can run beside each other."""

from __future__ import annotations

import time

import numpy as np
import pytest

import serving.narrow
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
    found = open_narrow(lambda: engine, file=file, sample=SAMPLE, batch_size=8)
    assert (found is engine) == held


@pytest.mark.parametrize(("seconds", "held"), [(0.01, True), (0.001, False)])
def test_a_model_that_takes_one_sample_has_one_if_it_takes_long(tmp_path, seconds, held):
    file = tmp_path / "model.onnx"
    file.touch()
    engine = Engine(seconds, 0.0)
    found = open_narrow(lambda: engine, file=file, sample=SAMPLE, batch_size=1)
    assert (found is engine) == held
    engine.batchable = False
    found = open_narrow(lambda: engine, file=file, sample=SAMPLE, batch_size=8)
    assert (found is engine) == held


def test_a_large_model_is_not_even_opened_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(serving.narrow, "MOST_BYTES", 10)
    file = tmp_path / "model.onnx"
    file.write_bytes(b"." * 11)

    def load():
        raise AssertionError("it is opened")

    assert open_narrow(load, file=file, sample=SAMPLE, batch_size=8) is None
