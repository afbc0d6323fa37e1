"""Comparison: one graph in every runtime that this machine has, and why the others are missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from bundle.archive import sha256_file
from bundle.engine.availability import provider_missing
from bundle.engine.openvino import openvino_missing
from bundle.engine.plan import PlanKey
from bundle.engine.providers import PROVIDERS
from bundle.engine.select import shape_profile
from bundle.errors import RequestError, TrainyardError
from bundle.golden import read_golden
from bundle.tensor import DYNAMIC
from optimize import toolchain
from optimize.benchmark import run_contest
from optimize.contestant import Contestant, Kind
from optimize.passes.tensorrt import TensorRTPass
from optimize.tables import (
    circumstances,
    doubt,
    markdown,
    measured,
    milliseconds,
    rate,
    speedup,
)

if TYPE_CHECKING:
    from pathlib import Path

    from bundle.archive import Bundle
    from bundle.engine.profile import ShapeProfile
    from bundle.manifest import Manifest, Variant
    from bundle.tensor import TensorSpec
    from optimize.reference import Tensors
    from optimize.schema import BenchmarkConfig
    from optimize.timing import Contest, Timing

BASELINE = "onnxruntime cpu"
OPENVINO = ("fp32", "bf16")
"""What its layers compute in; the graph is the same."""
Offer = Callable[[str], Contestant]
"""A name becomes a contestant, or an error says why not."""

_LENGTH = 128
"""Of a dynamic size that no golden sample shows."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What was found, of every runtime that was thought of."""

    model: str
    variant: str
    contest: Contest
    missing: dict[str, str]
    """Name → why it was not timed."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "model": self.model,
            "variant": self.variant,
            "machine": toolchain.machine(),
            "packages": toolchain.packages(),
            **self.contest.to_dict(),
            "busy": self.contest.busy,
            "missing": self.missing,
        }

    def text(self) -> str:
        """In Markdown: the table, and how it came about."""
        told = f"{self.model}, variant {self.variant}. {circumstances(self.contest)}"
        lines = [f"{each}.\n" for each in doubt(self.contest, remedy="measure on an idle machine")]
        return "\n".join([self.table(), "", *lines, told])

    def table(self) -> str:
        """A row a runtime."""
        sizes = list(self.contest.timings[self.contest.baseline])
        header = ["runtime", *(f"batch {size}" for size in sizes)]
        rows = [
            [name, *(measured(_cell(by_size[size]), self.contest) for size in sizes)]
            for name, by_size in self.contest.timings.items()
        ]
        rows += [
            [name, f"not available: {reason}", *[""] * (len(sizes) - 1)]
            for name, reason in self.missing.items()
        ]
        return "\n".join(markdown(header, rows))


def compare(
    bundle: Bundle,
    settings: BenchmarkConfig,
    *,
    variant: str,
    threads: int,
    workspace: Path,
    checkpoint: Path | None = None,
) -> Comparison:
    """Time the variant, which is ONNX, in every runtime that can be had here.

    `checkpoint`: the same weights for torch. Plans are built in `workspace`.
    Raises OptimizeError if not even ONNX Runtime on the CPU can be timed, and RequestError for a
    checkpoint of other weights.
    """
    manifest = bundle.manifest
    weights = None if checkpoint is None else _weights(checkpoint, manifest)
    chosen = manifest.variant(variant)
    graph = bundle.file(chosen.file or "")
    sizes = sorted(set(settings.batch_sizes))
    batches = {size: _batch(bundle, size) for size in sizes}
    profile = shape_profile(manifest.inputs, manifest.preprocessing, max_batch_size=sizes[-1])

    offers: dict[str, Offer] = {
        **{
            f"onnxruntime {each}": partial(_onnx, graph, chosen, each, profile=profile)
            for each in PROVIDERS[1:]
        },
        "tensorrt": partial(_plan, graph, chosen, profile=profile, workspace=workspace),
        **{f"openvino {each}": partial(_openvino, graph, chosen, each) for each in OPENVINO},
        **{f"torch {each}": partial(_torch, weights, each) for each in ("cpu", "cuda")},
    }
    contestants, missing = _accept(offers)
    contest = run_contest(contestants, batches, settings, threads=threads, baseline=BASELINE)
    return Comparison(
        model=manifest.name, variant=variant, contest=contest, missing={**missing, **contest.failed}
    )


def _weights(checkpoint: Path, manifest: Manifest) -> tuple[Path, str]:
    """The checkpoint and its sha256. Of a bundle that does not say what it was made of any will do.

    Raises RequestError.
    """
    if not checkpoint.is_file():
        raise RequestError(
            f"checkpoint={checkpoint}: there is no such file",
            field="checkpoint",
            remedy="give the bundle's own checkpoint, or none",
        )
    made_of = manifest.lineage.get("checkpoint")
    expected = made_of.get("sha256") if isinstance(made_of, dict) else None
    found = sha256_file(checkpoint)
    if expected is not None and found != expected:
        raise RequestError(
            f"checkpoint={checkpoint} (sha256 {found[:12]}…) is not the one that the bundle was "
            f"made of (sha256 {expected[:12]}…)",
            field="checkpoint",
            remedy="give the bundle's own checkpoint, or none",
        )
    return checkpoint, found


class _MissingError(TrainyardError):
    """A runtime cannot take part."""


def _accept(offers: dict[str, Offer]) -> tuple[list[Contestant], dict[str, str]]:
    contestants, missing = [], {}
    for name, offer in offers.items():
        try:
            contestants.append(offer(name))
        except TrainyardError as error:
            missing[name] = str(error)
    return contestants, missing


def _onnx(
    graph: Path, variant: Variant, provider: str, name: str, *, profile: ShapeProfile
) -> Contestant:
    _refuse(provider_missing(provider))
    return Contestant(
        name=name,
        kind=Kind.onnx,
        path=graph,
        sha256=variant.sha256,
        precision=variant.precision,
        provider=provider,
        profile=profile if provider == "tensorrt" else None,
    )


def _plan(
    graph: Path, variant: Variant, name: str, *, profile: ShapeProfile, workspace: Path
) -> Contestant:
    key = PlanKey.here()
    build = TensorRTPass(key=key, profile=profile)
    path = workspace / key.file_name(graph.stem)
    path.write_bytes(build.build(graph))
    return Contestant(
        name=name,
        kind=Kind.plan,
        path=path,
        sha256=sha256_file(path),
        precision=variant.precision,
        provider="tensorrt",
    )


def _openvino(graph: Path, variant: Variant, precision: str, name: str) -> Contestant:
    _refuse(openvino_missing())
    return Contestant(
        name=name,
        kind=Kind.openvino,
        path=graph,
        sha256=variant.sha256,
        precision=precision,
        provider="openvino",
    )


def _torch(weights: tuple[Path, str] | None, provider: str, name: str) -> Contestant:
    if weights is None:
        raise _MissingError("no checkpoint was given with --checkpoint")
    import torch  # seconds, and only needed where there is a checkpoint

    if provider == "cuda" and not torch.cuda.is_available():
        raise _MissingError("torch finds no CUDA device")
    path, sha256 = weights
    return Contestant(
        name=name,
        kind=Kind.torch,
        path=path,
        sha256=sha256,
        provider=provider,
    )


def _refuse(reason: str | None) -> None:
    if reason is not None:
        raise _MissingError(reason)


def _batch(bundle: Bundle, size: int) -> Tensors:
    """Golden samples, over and over; ones for a model that has none."""
    golden = read_golden(bundle)
    if golden:
        inputs, _ = golden[0]
        return {name: np.resize(array, (size, *array.shape[1:])) for name, array in inputs.items()}
    return {spec.name: _ones(spec, size) for spec in bundle.manifest.inputs}


def _ones(spec: TensorSpec, size: int) -> np.ndarray[Any, np.dtype[Any]]:
    shape = [size, *(_LENGTH if each == DYNAMIC else each for each in spec.shape[1:])]
    return np.ones(shape, dtype=spec.dtype)


def _cell(timing: Timing) -> str:
    return f"{milliseconds(timing.p50_ms)} ms, {rate(timing)}/s, x {speedup(timing)}"
