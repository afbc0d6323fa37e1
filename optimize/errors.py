"""What can go wrong between a checkpoint and a bundle; every message is ready for a user.

bundle.errors.TrainyardError
└── OptimizeError
    ├── SourceError    the checkpoint or run that was named cannot be had (exit 2)
    ├── OpsetError     the asked opset cannot be written by the asked exporter (exit 2)
    ├── ExportError    the model cannot be written as ONNX, or the file is not valid (exit 1)
    ├── MachineError   no memory, no disk, no permission: of a variant it says nothing (exit 1)
    ├── PlanError      TensorRT cannot build a plan of the graph (exit 1)
    └── ParityError    the exported model does not answer as the checkpoint does (exit 1)
"""

from __future__ import annotations

from bundle.errors import RequestError, TrainyardError

__all__ = [
    "ExportError",
    "MachineError",
    "OpsetError",
    "OptimizeError",
    "ParityError",
    "PlanError",
    "SourceError",
]


class OptimizeError(TrainyardError):
    """Root of the optimizer's errors."""


class SourceError(OptimizeError, RequestError):
    """What was to be exported does not exist, or was named in two ways."""


class OpsetError(OptimizeError, RequestError):
    """The exporter cannot write the opset that was asked for."""


class ExportError(OptimizeError):
    """The model cannot be written as ONNX, or what was written does not hold up."""


class MachineError(OptimizeError):
    """The machine has no room left, or does not let anything be written: never a verdict."""


class PlanError(OptimizeError):
    """TensorRT does not take the graph, or finds no way to run it."""


class ParityError(OptimizeError):
    """The exported model's answers differ from the checkpoint's, or are not finite."""
