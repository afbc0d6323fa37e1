"""Lineage: where a bundle's weights come from and how it was made, as JSON."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import asdict
from importlib import metadata
from typing import TYPE_CHECKING, Any

import onnx
import onnxruntime
from omegaconf import OmegaConf

from trainer import environment

if TYPE_CHECKING:
    from optimize.findings import Findings
    from optimize.forge import Graph
    from optimize.passes.export import Lane
    from optimize.schema import OptimizeConfig
    from optimize.subject import Subject
    from trainer.restore import Restored

_FROM_CHECKPOINT = (
    "run_id",
    "git_commit",
    "data_fingerprint",
    "step",
    "epoch",
    "metrics",
    "versions",
)
"""What is copied from the checkpoint's own description."""


def describe_export(
    subject: Subject, findings: Findings, *, lane: Lane, settings: OptimizeConfig
) -> dict[str, Any]:
    """All of it. It holds no time of day and no measured time, so that the same checkpoint, data,
    config and versions give the same bytes: the registry knows when a version was made, and the
    report beside the bundle what was measured.
    """
    held_out = subject.held_out
    return {
        "checkpoint": describe_checkpoint(subject.restored),
        "export": {"exporter": str(lane), "opset": settings.opset},
        "target": findings.target.to_dict(),
        "data": {
            "split": held_out.split,
            "fingerprint": held_out.fingerprint,
            "samples": len(held_out.labels),
        },
        "versions": versions(),
        "selection": {
            "measured": findings.contest is not None,
            "margin": settings.select.margin,
            "batch_sizes": list(settings.benchmark.batch_sizes),
        },
        "passes": {
            candidate.name: _describe_passes(candidate.graph)
            for candidate in findings.candidates
            if candidate.graph is not None
        },
        **findings.proof.to_dict(),
    }


def _describe_passes(graph: Graph) -> dict[str, Any]:
    """What was done, on which samples, and of a plan the TensorRT and the GPU that can run it."""
    return {
        "steps": [step.to_dict() for step in graph.steps],
        "sources": [asdict(source) for source in graph.sources],
        **({} if graph.plan is None else {"plan": asdict(graph.plan)}),
    }


def describe_checkpoint(restored: Restored) -> dict[str, Any]:
    """The checkpoint's hash and what it says of its own origin; null for what it does not say."""
    config = json.dumps(OmegaConf.to_container(restored.config), sort_keys=True)
    return {
        "sha256": restored.sha256,
        "config_sha256": hashlib.sha256(config.encode()).hexdigest(),
        **{key: restored.metadata.get(key) for key in _FROM_CHECKPOINT},
    }


def versions() -> dict[str, str]:
    """Of everything that has a part in an exported graph and its golden answers."""
    found = {**environment.versions(), "onnx": onnx.__version__}
    found["onnxruntime"] = onnxruntime.__version__  # its distribution has several names
    for name in ("trainyard", "onnxscript"):
        with contextlib.suppress(metadata.PackageNotFoundError):  # a checkout, not installed
            found[name] = metadata.version(name)
    return found
