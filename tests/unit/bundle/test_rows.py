"""What a bare graph's first dimension is: a batch that requests may share, or something else."""

from __future__ import annotations

import re

import pytest
from onnx import TensorProto

from bundle.engine.onnx import OnnxEngine
from bundle.engine.rows import find_batch_dimension
from bundle.engine.scales import scales_by_batch
from tests.bare_graphs import (
    added_onnx,
    attention_onnx,
    convolved_onnx,
    cross_onnx,
    joined_onnx,
    looked_up_onnx,
    masked_onnx,
    normalized_onnx,
    offset_onnx,
    one_node_onnx,
    one_row_onnx,
    quantizing_onnx,
    random_onnx,
    reshaped_onnx,
    squeezed_onnx,
    tireless_onnx,
)
from tests.served_bundles import double_onnx, identity_onnx, slow_onnx
from tests.tiny_bundle import image_model, text_model

OTHERWISE = "'y' has other values for one row than for the same beside another"


def found(model: bytes, **options):
    engine = OnnxEngine(model, provider="cpu", threads=1, batchable=False)
    return find_batch_dimension(engine, scales=scales_by_batch(model), **options)


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
        added_onnx("?", "?", "?"),
        added_onnx("s77", "u0", "s5"),
        added_onnx("a_d0", "b_d0", "Add_0_o0__d0"),
        added_onnx("batch_size", "batch_size", "output_batch"),
        one_node_onnx("Neg", ["N", 3], None),
        reshaped_onnx([-1, 4], ["N", 2, 2], None),
        one_node_onnx("Neg", ["?", 3, "?", "?"]),
        one_node_onnx("Neg", ["None", "None"]),
        one_node_onnx("Neg", ["-1", "-1"]),
        one_node_onnx("Exp", ["N", 3], kind=TensorProto.FLOAT16),
        one_node_onnx("Identity", ["N", 3], kind=TensorProto.BFLOAT16),
        attention_onnx(over_rows=False),
        looked_up_onnx(),
        masked_onnx(),
        quantizing_onnx(),
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
        (one_node_onnx("Neg", ["N", "N"]), "'N' is the first size of 'x', and a later one of 'x'"),
        (one_node_onnx("Neg", [2, 3]), r"'x' has the shape \[2, 3\]"),
        (one_node_onnx("Neg", []), r"'x' has the shape \[\]"),
        (one_node_onnx("Neg", None), "the graph tells no shape of 'x'"),
        (one_node_onnx("ReduceSum", ["N", 3], [], keepdims=0), r"'y' has the shape \[\]"),
        (one_node_onnx("Transpose", [None, None], perm=[1, 0]), "'y' has the shape .* two"),
        (one_row_onnx(), "it takes one row, but not two: .*MatMul"),
        (one_node_onnx("Softmax", ["N", 3], axis=0), OTHERWISE),
        (joined_onnx("ReduceMean", "Sub"), OTHERWISE),
        (joined_onnx("ReduceMax", "Add"), OTHERWISE),
        (joined_onnx("ReduceMax", "Add", kind=TensorProto.INT64), OTHERWISE),
        (joined_onnx("ReduceMax", "Add", kind=TensorProto.FLOAT16), OTHERWISE),
        (normalized_onnx(), OTHERWISE),
        (attention_onnx(over_rows=True), OTHERWISE),
        (reshaped_onnx([-1, 2], ["s77", 4], ["2*s77", 2]), "'y' has the shape"),
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


def test_an_output_with_a_name_of_its_own_is_a_batch_only_where_rows_show_it():
    batch = found(reshaped_onnx([-1, 7], ["N", 3], ["M", 7]))

    assert not batch.shared
    assert batch.reason.startswith("no input has 'M' rows as 'y' has, because it does not answer")


@pytest.mark.parametrize(
    ("model", "pair"),
    [
        (looked_up_onnx(), {"ids": [[1, 1], [0, 1]]}),
        (offset_onnx(), {"ids": [[1], [1]], "x": [[1, 1], [0, 1]]}),  # it does not take 0
    ],
)
def test_two_rows_are_as_different_as_the_model_takes_them(model, pair, monkeypatch):
    asked = []
    engine = OnnxEngine(model, provider="cpu", threads=1, batchable=False)
    run = engine._run
    monkeypatch.setattr(engine, "_run", lambda inputs: asked.append(inputs) or run(inputs))

    batch = find_batch_dimension(engine)

    assert (batch.shared, batch.reason) == (True, "")
    assert {name: array.tolist() for name, array in asked[-1].items()} == pair


@pytest.mark.parametrize("rows", ["N", "M"])
def test_names_and_sizes_tell_where_random_numbers_do_not(rows):
    batch = found(random_onnx(rows))

    assert batch.shared == (rows == "N")
    assert batch.reason.endswith(", because it does not answer one row twice in the same way")


@pytest.mark.parametrize("rows", ["N", "M"])
def test_names_and_sizes_tell_where_rows_take_too_long(rows):
    batch = found(tireless_onnx(rows), seconds=0.1)

    assert batch.shared == (rows == "N")
    assert batch.reason.endswith(", because its rows take too long to be compared")


def test_quantization_by_the_range_of_a_batch_is_told_from_other_influence():
    engine = OnnxEngine(quantizing_onnx(), provider="cpu", threads=1, batchable=False)

    assert find_batch_dimension(engine, scales=True).shared
    assert not find_batch_dimension(engine, scales=False).shared
