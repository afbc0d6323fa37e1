"""Batches beside each other: many who ask at once are answered as each is alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.bare_graphs import waves_onnx
from tests.running_server import running_server

CLIENTS, ASKED, WIDTH = 8, 5, 2_000
BESIDE = "runs batches beside each other"


@pytest.mark.parametrize(("streams", "beside"), [("2", True), ("1", False)])
def test_answers_are_the_same_whoever_else_asks(tmp_path, streams, beside):
    (tmp_path / "waves.onnx").write_bytes(waves_onnx(WIDTH, deep=400))
    rows = np.random.default_rng(0).normal(0, 1, (CLIENTS, WIDTH)).astype(np.float32)
    with running_server(
        *("--model", str(tmp_path / "waves.onnx"), "--batch-size", "8"),
        *("--threads", "2", "--streams", streams),
        folder=tmp_path,
    ) as server:

        def ask(row):
            with server.client() as client:
                return [
                    client.post("/predict", json={"inputs": {"x": row.tolist()}}).json()
                    for _ in range(ASKED)
                ]

        alone = [ask(row)[0]["outputs"]["y"] for row in rows]
        with ThreadPoolExecutor(CLIENTS) as pool:
            together = list(pool.map(ask, rows))
        assert (BESIDE in server.log) == beside
        ran = server.metric("trainyard_batch_size_sum")
    for expected, answers in zip(alone, together, strict=True):
        for answer in answers:
            np.testing.assert_allclose(answer["outputs"]["y"], expected, rtol=1e-5)
    assert ran == 2 * CLIENTS * ASKED
