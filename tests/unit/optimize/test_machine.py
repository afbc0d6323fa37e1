from __future__ import annotations

import errno
import tempfile
from pathlib import Path

import pytest

from bundle.errors import EngineError
from optimize.errors import MachineError, OptimizeError, PlanError
from optimize.machine import machine_errors, reason_of


def caused(cause: Exception) -> OptimizeError:
    error = OptimizeError(f"fuse: {cause}")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "field"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/a"), "TMPDIR"),
        (PermissionError(errno.EACCES, "Permission denied"), "TMPDIR"),
        (RuntimeError("write failed: No space left on device"), "TMPDIR"),
        (ValueError("INVALID_PROTOBUF : Protobuf serialization failed."), "TMPDIR"),
        (MemoryError(), "optimize.batch_size"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough"), "optimize.batch_size"),
        (ValueError("Failed to allocate memory for requested buffer"), "optimize.batch_size"),
        (EngineError("CUDA: out of memory"), "optimize.batch_size"),
        (EngineError("the model failed: CUBLAS_STATUS_ALLOC_FAILED"), "optimize.batch_size"),
        (
            PlanError("TensorRT cannot build a plan: OutOfMemory"),
            "optimize.batch_size",
        ),
    ],
)
def test_what_the_machine_refuses_is_told_as_such(error, field):
    for raised in (error, caused(error), caused(caused(error))):
        with pytest.raises(MachineError, match=r"^int8: ") as caught, machine_errors("int8"):
            raise raised
        assert caught.value.field == field
        assert caught.value.remedy


def test_what_is_wrong_with_a_graph_stays_what_it_is():
    for error in (OptimizeError("no Conv"), caused(ValueError("bad shape")), FileNotFoundError()):
        with pytest.raises(type(error)) as caught, machine_errors("int8"):
            raise error
        assert caught.value is error


def test_machine_error_is_told_once():
    with pytest.raises(MachineError, match=r"^the cache is full$"), machine_errors("int8"):
        raise MachineError("the cache is full")


def test_reasons_are_the_same_in_every_run():
    told = []
    for _ in range(2):
        with tempfile.TemporaryDirectory(prefix="trainyard-export-") as folder:
            graph = Path(folder) / "graph.onnx"
            loose = Path(f"{folder}.data")
            told.append(
                reason_of(
                    OptimizeError(
                        f"Load model from {graph} failed: '{loose}' <Node at 0x7f{id(graph):x}>"
                    )
                )
            )
    assert told == ["Load model from graph.onnx failed: 'a temporary file' <Node at 0x…>"] * 2


def test_paths_that_are_not_scratch_are_kept():
    assert reason_of(OptimizeError("/data/a.png is broken")) == "/data/a.png is broken"
