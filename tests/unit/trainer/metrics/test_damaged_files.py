"""Damaged files of results: left out or refused in one line, never a library's own error."""

from __future__ import annotations

import numpy as np

from trainer.errors import DataError
from trainer.metrics.metric import Metric, read_metrics
from trainer.metrics.predictions import read_predictions


def test_metrics_are_read_past_a_byte_that_is_no_text(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"step,name,value\n1,loss,0.5\n2,lo\xffss,x\n3,loss,0.25\n4,loss,0.")
    assert read_metrics(path) == [Metric(1, "loss", 0.5), Metric(3, "loss", 0.25)]


def test_predictions_are_refused_whichever_bit_is_flipped(tmp_path):
    path = tmp_path / "predictions.npz"
    count = 20
    columns = {
        "index": np.arange(count),
        "label": np.arange(count, dtype=np.int32) % 2,
        "predicted": np.zeros(count, dtype=np.int32),
        "confidence": np.full(count, 0.5, dtype=np.float32),
        "squared_error": np.zeros(count, dtype=np.float32),
    }
    np.savez_compressed(path, labels=np.array(["a", "b"]), **columns)
    assert len(read_predictions(path)) == count
    whole = path.read_bytes()
    refused = 0
    for offset in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[offset] ^= 4
        path.write_bytes(damaged)
        try:
            read_predictions(path)  # a bit of a time stamp may be anything
        except DataError:
            refused += 1
    assert refused > len(whole) // 6
