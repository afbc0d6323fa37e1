"""Looking at graphs, and running them, in tests of passes."""

from __future__ import annotations

import functools
from collections import Counter

import numpy as np
import onnx

from bundle.engine.onnx import OnnxEngine

MICROSOFT = "com.microsoft"


def nodes(graph: bytes) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load_model_from_string(graph).graph.node)


def opsets(graph: bytes) -> dict[str, int]:
    imports = onnx.load_model_from_string(graph).opset_import
    return {entry.domain: entry.version for entry in imports}


def weights(graph: bytes, data_type: int) -> dict[str, np.ndarray]:
    return {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load_model_from_string(graph).graph.initializer
        if tensor.data_type == data_type
    }


def answers(graph: bytes, batch) -> np.ndarray:
    return _engine(graph).predict_batch(dict(batch))["logits"]


@functools.lru_cache(maxsize=8)
def _engine(graph: bytes) -> OnnxEngine:
    return OnnxEngine(graph, provider="cpu", threads=1)


def difference(graph: bytes, other: bytes, batch) -> float:
    return float(np.abs(answers(graph, batch) - answers(other, batch)).max())


def company_changes(graph: bytes, case) -> float:
    """Largest change of a logit between a row alone and the same row among all."""
    together = answers(graph, case.preprocessor.collate(case.rows))
    alone = np.concatenate([answers(graph, case.preprocessor.collate([row])) for row in case.rows])
    return float(np.abs(together - alone).max())
