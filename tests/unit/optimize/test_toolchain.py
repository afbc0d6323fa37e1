from __future__ import annotations

import json

from optimize import toolchain


def test_toolchain_names_what_writes_and_runs_graphs():
    wanted = {"python", "torch", "onnx", "onnx-ir", "onnxruntime", "numpy", "protobuf"}
    assert wanted <= set(toolchain.packages())
    assert {"machine", "cores"} <= set(toolchain.machine())
    assert json.dumps([toolchain.packages(), toolchain.machine()])


def test_code_of_writing_and_of_answering_are_told_apart():
    assert toolchain.writing_code() != toolchain.answering_code()


def test_code_that_passes_run_is_part_of_writing():
    """Sensitivity asks engines, ranges are learned from preprocessed rows, probes are traced."""
    used = {"bundle/engine", "bundle/preprocessing", "optimize/probes.py", "optimize/samples.py"}
    assert used <= set(toolchain._WRITING)


def test_every_part_of_the_code_is_found():
    for names in (toolchain._WRITING, toolchain._ANSWERING):
        for name in names:
            path = toolchain._ROOT / name
            assert path.is_file() or list(path.rglob("*.py")), name
