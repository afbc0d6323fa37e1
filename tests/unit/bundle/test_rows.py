"""What a bare graph's first dimension is: a batch that requests may share, or something else."""

from __future__ import annotations

import re

import pytest
from onnx import TensorProto

from bundle.engine.onnx import OnnxEngine
from bundle.engine.rows import find_batch_dimension
from tests.bare_graphs import (
    added_onnx,
    convolved_onnx,
    cross_onnx,
    one_node_onnx,
    one_row_onnx,
    reshaped_onnx,
    squeezed_onnx,
)
from tests.served_bundles import double_onnx, identity_onnx, slow_onnx
from tests.tiny_bundle import image_model, text_model


def found(model: bytes):
    return find_batch_dimension(OnnxEngine(model, provider="cpu", threads=1, batchable=False))


@pytest.mark.parametrize(
    "model",
    [
        double_onnx(),
        image_model(),
        text_model(),
        slow_onnx(),
        identity_onnx({"a": TensorProto.STRING, "b": TensorProto.FLOAT16, "c": TensorProto.BOOL}),
        added_onnx("N", "N", "N"),
        added_onnx(None, None, None),
        added_onnx("unk__7", "unk__8", "unk__9"),
        added_onnx("a_dynamic_axes_1", "b_dynamic_axes_1", "Addy_dim_0"),
        added_onnx("batch", None, "unk__9"),
        one_node_onnx("Neg", ["N", 3], None),
        reshaped_onnx([-1, 4], ["N", 2, 2], None),
        convolved_onnx(),
    ],
)
def test_a_batch_is_one_where_each_row_is_answered_by_one(model):
    batch = found(model)

    assert (batch.shared, batch.reason) == (True, "")


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (cross_onnx(), "'a' has 'pictures' rows, but 'b' has 'texts'"),
        (cross_onnx(rows=(None, None)), r"'y' has the shape \[1, 1\] for one row, but \[2, 2\]"),
        (cross_onnx(rows=("N", "N")), "'N' is the first size of 'a', and a later one of 'y'"),
        (cross_onnx(rows=("unk__1", "unk__2")), "'unk__2' is the first size of 'b'"),
        (added_onnx("N", "N", "M"), "'a' has 'N' rows, but 'y' has 'M'"),
        (one_node_onnx("Neg", ["N", "N"]), "'N' is the first size of 'x', and a later one of 'x'"),
        (one_node_onnx("Neg", [2, 3]), r"'x' has the shape \[2, 3\]"),
        (one_node_onnx("Neg", []), r"'x' has the shape \[\]"),
        (one_node_onnx("Neg", None), "the graph tells no shape of 'x'"),
        (one_node_onnx("ReduceSum", ["N", 3], [], keepdims=0), r"'y' has the shape \[\]"),
        (one_node_onnx("Transpose", [None, None], perm=[1, 0]), "'y' has the shape .* two"),
        (one_row_onnx(), "it takes one row, but not two: .*MatMul"),
        (one_node_onnx("Softmax", ["N", 3], axis=0), "'y' has other values for one row"),
    ],
)  # fmt: skip
def test_what_is_no_batch_is_told_by_shapes_names_or_answers(model, reason):
    batch = found(model)

    assert not batch.shared
    assert re.match(reason, batch.reason), batch.reason


def test_names_and_sizes_tell_where_a_model_does_not_answer_ones():
    batch = found(reshaped_onnx([-1, 7], ["N", 3], ["N", 7]))

    assert batch.shared
    assert batch.reason.startswith("only names and sizes tell, because it does not answer ones: ")


def test_without_an_answer_nobody_knows_of_an_output_without_a_shape():
    batch = found(squeezed_onnx([-1, 7], ["N", 3]))

    assert not batch.shared
    assert batch.reason.startswith("of 'y' no shape is told, because it does not answer ones: ")
