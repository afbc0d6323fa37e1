from __future__ import annotations

import json
import sys
from types import SimpleNamespace

from bundle.engine import cuda
from bundle.engine.cuda import find_gpu
from optimize import toolchain
from tests.cuda_stand_in import CudaStandIn


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


def test_gpu_is_part_of_the_machine_where_torch_has_no_cuda(monkeypatch):
    monkeypatch.setattr(toolchain.torch.cuda, "is_available", lambda: False)
    assert "gpu" not in toolchain.machine() or find_gpu()
    monkeypatch.setattr(cuda, "load_cuda", CudaStandIn)
    assert toolchain.machine()["gpu"] == "NVIDIA H100 80GB HBM3"


def test_driver_is_named_where_its_library_tells(monkeypatch):
    answers = {"nvmlInit": None, "nvmlSystemGetDriverVersion": "580.95.05"}
    library = SimpleNamespace(**{name: lambda a=answer: a for name, answer in answers.items()})
    monkeypatch.setitem(sys.modules, "pynvml", library)
    assert toolchain._nvidia()["nvidia-driver"] == "580.95.05"
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "nvidia-driver" not in toolchain._nvidia()
