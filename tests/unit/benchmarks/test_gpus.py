"""What no CPU shows of the GPU's benchmark: plans, large batches, and what goes wrong."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch

from benchmarks import gpu
from benchmarks.gpus import forms
from benchmarks.gpus.subject import subjects
from benchmarks.servers.loads import binary
from bundle.engine.onnx import OnnxEngine
from bundle.errors import EngineError
from optimize.passes.float16 import Float16
from optimize.recipe import recipes_for
from optimize.schema import Target
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


@pytest.mark.parametrize("number", [0, 1])
def test_largest_batch_is_run_in_one_piece(number, monkeypatch):
    subject, sizes = subjects(small=True)[number], []
    run = OnnxEngine._run

    def noting(self, inputs):
        sizes.append(len(next(iter(inputs.values()))))
        return run(self, inputs)

    monkeypatch.setattr(OnnxEngine, "_run", noting)
    forms._onnx(subject, "cpu", "fp32", sizes=[1, 65])(subject.batch(65))
    assert sizes == [65]


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("target", [Target.cuda, Target.tensorrt])
def test_graphs_are_made_by_the_recipes_of_an_export(target, number, monkeypatch):
    subject = subjects(small=True)[number]
    asked = []
    monkeypatch.setattr(Float16, "run", lambda self, graph, material: asked.append(graph) or b"16")
    assert subject.graph(target, "fp16") == b"16"
    assert asked == [subject.graph(target, "fp32")]
    assert set(subject._exports) == {
        recipe.lane for recipe in recipes_for(target, subject.task) if recipe.precision == "fp16"
    }


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_torch_convolves_channels_last_in_either_precision(precision):
    model = forms._in_torch(subjects(small=True)[0], precision)
    (first, *_) = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d)]
    assert first.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.fixture
def prepared(monkeypatch):
    """What becomes of forms that answer so many times what the baseline does."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: forms.THREADS)
    subject = subjects(small=True)[0]

    def prepare(**factors):
        expected = np.array([[1.0, -2.0]])
        loaders = {
            name.replace("_", " "): lambda factor=factor: lambda batch: factor * expected
            for name, factor in {"torch_fp32": 1.0, **factors}.items()
        }
        monkeypatch.setattr(forms, "_loaders", lambda *_, **__: loaders)
        return forms.prepare(subject, "cpu", {1: {}})

    return prepare


def test_form_that_answers_otherwise_is_not_timed(prepared):
    ready = prepared(a_fp32=1.01, b_fp32=1.03, c_fp16=1.03, d_fp16=1.06, e_fp16=np.nan)
    assert set(ready.runs) == {"torch fp32", "a fp32", "c fp16"}
    assert ready.differences["a fp32"] == pytest.approx(0.01)
    assert "differ by 0.03 of the largest logit" in ready.missing["b fp32"]
    assert set(ready.missing) == {"b fp32", "d fp16", "e fp16"}


def test_form_on_other_threads_is_not_timed(prepared, monkeypatch):
    threads = iter([forms.THREADS, forms.THREADS + 1])
    monkeypatch.setattr(torch, "get_num_threads", lambda: next(threads, forms.THREADS + 1))
    ready = prepared(a_fp32=1.0)
    assert "torch has 2 threads instead of 1" in ready.missing["a fp32"]


@pytest.fixture
def benchmark(monkeypatch, tmp_path):
    """Run it with these forms missing; its figures."""
    monkeypatch.setattr(gpu, "subjects", lambda small: subjects(small=True)[:1])
    monkeypatch.setattr(gpu, "check_serving", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda precision: None)
    output = tmp_path / "gpu.json"

    def run(serve, *, missing=()):
        ready = forms.Ready(
            runs={"torch fp32": lambda batch: None},
            differences={"torch fp32": 0.0},
            missing=dict.fromkeys(missing, "no"),
        )
        monkeypatch.setattr(gpu, "prepare", lambda *_: ready)
        monkeypatch.setattr(gpu, "serve", serve)
        arguments = ["gpu.py", "--device", "cpu", "--quick", "--output", str(output)]
        monkeypatch.setattr(sys, "argv", arguments)
        gpu.main()
        return json.loads(output.read_text())["models"]["resnet50"]

    run.output = output
    return run


def test_figures_of_the_forms_are_kept_when_serving_fails(benchmark):
    def serve(*_, **__):
        before = json.loads(benchmark.output.read_text())["models"]["resnet50"]
        assert before["forms"]["torch fp32"]
        raise EngineError("CUDA: out of memory")

    found = benchmark(serve)
    assert found["http"] == {"skipped": "CUDA: out of memory"}
    assert found["forms"]["torch fp32"]


def test_form_that_is_missing_is_not_served(benchmark):
    found = benchmark(None, missing=["onnxruntime fp16"])
    assert found["http"] == {"skipped": "onnxruntime fp16 is missing"}


def test_gpu_without_a_form_that_every_gpu_has_is_a_failure():
    models = {"bert": {"missing": {"tensorrt fp16": "no"}}}
    gpu._check_whole(models)
    models["bert"]["missing"]["torch.compile fp32"] = "no compiler"
    with pytest.raises(EngineError, match=r"not measured: bert in torch\.compile fp32;"):
        gpu._check_whole(models)
