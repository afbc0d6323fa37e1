from __future__ import annotations

import logging
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnxruntime.transformers import optimizer
from torch import nn

from bundle.tensor import TensorSpec
from optimize.errors import ExportError, OpsetError
from optimize.passes.export import ExportPass, Lane
from optimize.probes import example_batch, probe_batches
from optimize.reference import TorchReference

if TYPE_CHECKING:
    from collections.abc import Callable

LOGITS = TensorSpec(name="logits", dtype="float32", shape=(-1, 3))
VECTOR = TensorSpec(name="x", dtype="float32", shape=(-1, 4))
EXAMPLE = {"x": torch.zeros(2, 4)}


def export(case, *, opset=18, lane=Lane.dynamo) -> bytes:
    example = example_batch(case.rows, case.preprocessor, max_length=case.max_length)
    return ExportPass(opset=opset, lane=lane, max_length=case.max_length).run(
        case.model,
        {name: torch.from_numpy(array) for name, array in example.items()},
        inputs=case.preprocessor.input_specs,
        output=LOGITS,
    )


def run(content: bytes, batch):
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(["logits"], dict(batch))[0]


def opsets(content: bytes) -> list[int]:
    return [entry.version for entry in onnx.load_model_from_string(content).opset_import]


@pytest.mark.parametrize(
    ("lane", "opset"),
    [
        *((Lane.torchscript, opset) for opset in (17, 18, 19, 20)),
        *((Lane.dynamo, opset) for opset in (18, 19, 20, 21)),
    ],
)
def test_written_opset_is_the_requested_one(lane, opset, image_case):
    content = export(image_case, opset=opset, lane=lane)
    assert opsets(content) == [opset]
    for batch in probe_batches(image_case.rows, image_case.preprocessor, max_length=None):
        expected = TorchReference(image_case.model)(batch)
        np.testing.assert_allclose(run(content, batch), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("lane", "opset", "other"),
    [
        (Lane.torchscript, 21, Lane.dynamo),
        (Lane.torchscript, 99, Lane.dynamo),
        (Lane.dynamo, 17, Lane.torchscript),
        (Lane.dynamo, 12, Lane.torchscript),
        (Lane.dynamo, 99, None),
    ],
)
def test_export_is_refused_when_the_exporter_cannot_write_the_opset(lane, opset, other, image_case):
    with pytest.raises(OpsetError, match=f"optimize.opset={opset}: the {lane} exporter") as caught:
        export(image_case, opset=opset, lane=lane)
    remedy = "use optimize.opset=18" + (f" or optimize.exporter={other}" if other else "")
    assert caught.value.remedy == remedy
    assert caught.value.exit_code == 2


class Exports(NamedTuple):
    """A text model between two exports of an image model, and what it left of the process."""

    image: bytes
    text: bytes
    image_again: bytes
    before: dict[str, Any]
    after: dict[str, Any]


@pytest.fixture(scope="module")
def exports_by(text_case, image_case) -> Callable[[Lane], Exports]:
    """Made once: some take ten seconds."""

    @cache
    def make(lane: Lane) -> Exports:
        model = text_case.model
        model.train()
        model.dropout.eval()
        image = export(image_case, lane=lane)
        before = state(model)
        text = export(text_case, lane=lane)
        return Exports(image, text, export(image_case, lane=lane), before, state(model))

    return make


@pytest.fixture(params=list(Lane))
def exports(request, exports_by) -> Exports:
    return exports_by(request.param)


@pytest.fixture
def text_graph(exports) -> bytes:
    return exports.text


def state(model) -> dict[str, Any]:
    """What an export must leave as it is."""
    return {
        "training": {name: part.training for name, part in model.named_modules()},
        "attention": model.encoder.config._attn_implementation,
        "random": torch.get_rng_state().tolist(),
        "filters": list(warnings.filters),
        "threads": torch.get_num_threads(),
        "level": logging.getLogger("onnxscript.version_converter").level,
    }


def test_text_model_answers_as_torch_does_at_every_length(text_graph, text_case):
    reference = TorchReference(text_case.model)
    probes = probe_batches(text_case.rows, text_case.preprocessor, max_length=text_case.max_length)
    for batch in probes:
        np.testing.assert_allclose(run(text_graph, batch), reference(batch), rtol=0, atol=1e-5)


def test_graph_names_its_tensors_as_the_preprocessor_does(text_graph):
    graph = onnx.load_model_from_string(text_graph).graph
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*graph.input, *graph.output]
    }
    assert shapes == {
        "input_ids": ["batch", "sequence"],
        "attention_mask": ["batch", "sequence"],
        "logits": ["batch", 3],
    }
    assert list(shapes) == ["input_ids", "attention_mask", "logits"]


def test_export_is_the_same_bytes_when_repeated_after_another_export(exports):
    assert exports.image == exports.image_again


def test_export_holds_no_trace_of_the_machine(text_graph):
    assert b".py" not in text_graph
    assert b"site-packages" not in text_graph
    assert not onnx.load_model_from_string(text_graph).metadata_props


def test_export_leaves_model_and_process_as_they_were(exports):
    assert exports.after == exports.before
    assert exports.before["training"][""]
    assert not exports.before["training"]["dropout"]
    assert exports.before["attention"] == "sdpa"


def test_text_graph_is_recognised_by_the_transformer_fusion(text_case, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(export(text_case, lane=Lane.torchscript))
    fused = optimizer.optimize_model(str(path), "bert", num_heads=2, hidden_size=16, opt_level=0)
    counts = fused.get_fused_operator_statistics()
    assert counts["Attention"] == 2
    assert counts["SkipLayerNormalization"] == 4


def test_inputs_are_bound_by_name_when_forward_orders_them_otherwise():
    class Swapped(nn.Module):
        def forward(self, second, first):
            return first - 2 * second

    specs = [TensorSpec(name=name, dtype="float32", shape=(-1, 3)) for name in ("first", "second")]
    example = {"first": torch.zeros(2, 3), "second": torch.ones(2, 3)}
    for lane in Lane:
        content = ExportPass(lane=lane).run(Swapped(), example, inputs=specs, output=LOGITS)
        batch = {"first": np.full((5, 3), 7.0, "f4"), "second": np.full((5, 3), 2.0, "f4")}
        np.testing.assert_array_equal(run(content, batch), np.full((5, 3), 3.0))
        graph = onnx.load_model_from_string(content).graph
        assert [value.name for value in graph.input] == ["first", "second"]


def test_export_is_refused_when_forward_takes_other_tensors():
    class Other(nn.Module):
        def forward(self, y):
            return y

    with pytest.raises(ExportError, match=r"Other\.forward\(y\) does not take .*\['x'\]"):
        ExportPass().run(Other(), EXAMPLE, inputs=[VECTOR], output=LOGITS)


@pytest.mark.parametrize("lane", list(Lane))
def test_export_is_refused_when_an_input_is_not_used(lane):
    class Deaf(nn.Module):
        def forward(self, x, ignored):
            return x[:, :3]

    ignored = TensorSpec(name="ignored", dtype="float32", shape=(-1, 4))
    example = {**EXAMPLE, "ignored": torch.zeros(2, 4)}
    if lane is Lane.torchscript:
        with pytest.raises(ExportError, match="does not use every input"):
            ExportPass(lane=lane).run(Deaf(), example, inputs=[VECTOR, ignored], output=LOGITS)
    else:  # this exporter keeps it
        ExportPass(lane=lane).run(Deaf(), example, inputs=[VECTOR, ignored], output=LOGITS)


def test_export_is_refused_when_the_model_branches_on_values():
    class Branching(nn.Module):
        def forward(self, x):
            return x[:, :3] if x.sum() > 0 else -x[:, :3]

    with pytest.raises(ExportError, match="the dynamo exporter cannot write this model"):
        ExportPass(lane=Lane.dynamo).run(Branching(), EXAMPLE, inputs=[VECTOR], output=LOGITS)


@pytest.mark.parametrize("shape", [(4, 3), (-1, -1, -1), (3, -1)])
def test_export_is_refused_when_axes_are_dynamic_in_an_unknown_way(shape):
    class Named(nn.Module):
        def forward(self, x):
            return x

    spec = TensorSpec(name="x", dtype="float32", shape=shape)
    with pytest.raises(ExportError, match="first axis must be dynamic"):
        ExportPass().run(Named(), EXAMPLE, inputs=[spec], output=LOGITS)
