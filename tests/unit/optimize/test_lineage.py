from __future__ import annotations

from optimize import lineage


def test_versions_name_everything_that_has_a_part_in_the_graph():
    assert {"python", "torch", "onnx", "onnxruntime", "onnxscript", "trainyard"} <= set(
        lineage.versions()
    )
