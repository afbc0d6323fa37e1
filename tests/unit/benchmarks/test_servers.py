from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from benchmarks.servers.engine import Engine, cut
from benchmarks.servers.loads import loads
from benchmarks.servers.models import PACKAGE, Models
from benchmarks.servers.port import free_port
from benchmarks.servers.process import NotStartedError, busy_threads, running
from benchmarks.servers.subject import Order, Subject
from benchmarks.servers.texts import lengths, texts
from bundle.model import Model
from trainer.models.pretrained import tokenizer_bytes

LOADS = loads(1)


def test_order_travels_through_the_environment(monkeypatch):
    order = Order(Path("a/model.onnx"), threads=2, batch_size=16, delay_ms=2.5, port=80)
    for key, value in order.environment().items():
        monkeypatch.setenv(key, value)
    assert Order.read() == order


@pytest.mark.parametrize(("name", "tensor"), [("null", "y"), ("cnn", "logits")])
def test_other_servers_answer_what_ours_answers(name, tensor, tmp_path):
    models = Models(tmp_path)
    samples = LOADS[name].samples()[:3]
    theirs = Subject(models.graph(name), threads=1).answer([{"input": s} for s in samples])
    field = {"null": "x", "cnn": "pixels"}[name]
    ours = Model.load(models.uri(name), provider="cpu", threads=1).predict_batch(
        [{"inputs": {field: sample}} for sample in samples]
    )
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine["outputs"][tensor], other, rtol=1e-4, atol=1e-4)


def test_engine_is_timed_in_full_batches(tmp_path):
    load = LOADS["cnn"]
    engine = Engine(load, Models(tmp_path).graph("cnn"))
    per_second, batch_ms = engine.full(0.05)
    assert per_second == pytest.approx(load.batch_size / batch_ms * 1e3, rel=0.9)
    assert engine.lone_ms(0.05) > 0


def test_batches_hold_no_more_tokens_than_allowed_with_padding():
    rows = [{"input_ids": np.zeros(length)} for length in sorted([3, 4, 10, 30, 30, 100, 600])]
    batches = [
        [len(row["input_ids"]) for row in part] for part in cut(rows, batch_size=3, tokens=90)
    ]
    assert batches == [[3, 4, 10], [30, 30], [100], [600]]


def test_texts_are_as_long_as_they_are_asked_to_be():
    drawn = lengths(640)
    assert min(drawn) >= 3
    assert max(drawn) == 128
    assert 28 < np.mean(drawn) < 34
    tokenizer = Tokenizer.from_buffer(tokenizer_bytes(PACKAGE))
    tokenizer.no_padding()
    assert [len(tokenizer.encode(text).ids) for text in texts(drawn)] == drawn


def test_threads_compute_that_are_nearly_as_busy_as_the_busiest():
    before = {(1, 1): 5.0, (1, 2): 5.0, (1, 3): 1.0, (9, 9): 0.0}
    after = {(1, 1): 7.0, (1, 2): 6.5, (1, 3): 1.1, (1, 4): 0.1, (9, 9): 2.5}
    assert busy_threads(before, after) == 2
    assert busy_threads({}, {}) == 0


def test_server_that_ends_tells_its_last_words(tmp_path):
    command = [sys.executable, "-c", "raise SystemExit('no model here')"]
    post = LOADS["null"].plain()
    with (
        pytest.raises(NotStartedError, match="no model here"),
        running(command, post, port=free_port(), log=tmp_path / "log"),
    ):
        pass


def test_subject_needs_nothing_that_a_peer_lacks():
    code = (
        "import sys; import benchmarks.servers.subject, benchmarks.servers.port;"
        "print(sorted({'torch', 'onnx', 'litserve', 'httpx', 'psutil'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
