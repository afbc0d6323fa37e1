"""What no CPU shows of the GPU's benchmark: plans, and requests with several tensors."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.gpus import forms
from benchmarks.gpus.subject import subjects
from benchmarks.servers.loads import binary
from tests.simulated_tensorrt import SimulatedTensorRT


@pytest.mark.parametrize("number", [0, 1])
def test_plan_is_built_for_the_sizes_that_it_is_timed_on(number, monkeypatch):
    subject = subjects(small=True)[number]
    tensorrt = SimulatedTensorRT(monkeypatch)

    run = forms._plan(subject, "cuda", "fp16", sizes=[1, 4])

    assert run(subject.batch(4)).shape == (4, 1000)
    name = subject.inputs[0].name
    shapes = [subject.batch(size)[name].shape for size in (1, 4, 4)]
    assert [name, *shapes] in tensorrt.calls("set_shape")


def test_request_has_every_tensor_behind_its_json():
    row = {"input_ids": np.arange(3), "attention_mask": np.ones(3, np.int64)}

    post = binary("bert", [row])

    head = int(post.headers["Inference-Header-Content-Length"])
    (body,) = post.bodies
    told = json.loads(body[:head])["inputs"]
    assert [(each["name"], each["datatype"], each["shape"]) for each in told] == [
        ("input_ids", "INT64", [1, 3]),
        ("attention_mask", "INT64", [1, 3]),
    ]
    assert body[head:] == b"".join(array.tobytes() for array in row.values())


def test_model_stays_where_it_can_be_exported_when_a_form_moves_to_another_device():
    subject = subjects(small=True)[0]
    forms._torch(subject, "meta", "fp32")
    assert {parameter.device.type for parameter in subject.model.parameters()} == {"cpu"}
