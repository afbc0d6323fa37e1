from __future__ import annotations

import onnx
import pytest

from optimize.errors import OptimizeError
from optimize.passes.export import Lane
from optimize.passes.float16 import Float16
from tests.unit.optimize.passes.conftest import material_of, written
from tests.unit.optimize.passes.graphs import answers, difference, weights


@pytest.mark.parametrize("lane", list(Lane))
@pytest.mark.parametrize("kind", ["image", "text"])
def test_float16_answers_nearly_as_before(kind, lane, image_case, outliers):
    case = image_case if kind == "image" else outliers
    graph = written(case, lane=lane)
    converted = Float16().run(graph, material_of(case))
    batch = case.preprocessor.collate(case.rows)
    assert difference(graph, converted, batch) < 0.01 * abs(answers(graph, batch)).max()
    assert not [a for a in weights(converted, onnx.TensorProto.FLOAT).values() if a.size > 1]


def test_inputs_and_outputs_keep_their_types(image_graph, image_material):
    converted = onnx.load_model_from_string(Float16().run(image_graph, image_material)).graph
    assert converted.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert converted.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_float16_is_refused_when_it_was_done_already(image_graph, image_material):
    once = Float16().run(image_graph, image_material)
    with pytest.raises(OptimizeError, match="no float32 weight"):
        Float16().run(once, image_material)
