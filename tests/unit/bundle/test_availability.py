"""What this machine can run."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from bundle.engine import availability
from bundle.engine.availability import provider_missing
from bundle.errors import RequestError


def test_smallest_model_is_one_identity():
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "g", tensors[:1], tensors[1:]
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)

    assert model.SerializeToString() == availability._SMALLEST_MODEL


def test_cpu_is_never_missing():
    assert provider_missing("cpu") is None


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_provider_that_does_not_run_is_missing_with_the_reason(provider):
    reason = provider_missing(provider)

    if reason is None:
        pytest.skip("this machine has it")
    assert provider in reason


@pytest.mark.parametrize("provider", ["auto", "tpu"])
def test_only_a_provider_can_be_missing(provider):
    with pytest.raises(RequestError, match=f"provider='{provider}'"):
        provider_missing(provider)
