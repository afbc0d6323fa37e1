"""Measure: who takes part in the benchmark of a subject; its result is kept with the cache."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import torch

from bundle.engine.cores import available_cores
from bundle.engine.openvino import openvino_missing
from optimize import toolchain
from optimize.benchmark import run_contest
from optimize.contestant import Contestant, Kind
from optimize.machine import machine_errors
from optimize.probes import timing_batch
from optimize.timing import ANEW, Contest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bundle.engine.profile import ShapeProfile
    from optimize.cache import ContentCache
    from optimize.forge import Graph
    from optimize.progress import StageProgress
    from optimize.reference import Tensors
    from optimize.schema import OptimizeConfig
    from optimize.subject import Subject
    from optimize.variants import Candidate

VERSION = 5
"""Raised when the same contestants would be measured otherwise."""
TORCH_FP32 = "torch fp32"
TORCH_BF16 = "torch bf16"
BASELINES = {TORCH_FP32: "fp32", TORCH_BF16: "bf16"}
"""Eager torch, by precision; speed-ups are over the first."""
OPENVINO = {"openvino fp32": "fp32", "openvino bf16": "bf16"}
"""The same, in the runtime that its extra brings."""
CPU, GPU = "cpu", "gpu"
"""Devices, between which no ratio says anything of a variant."""
_NO_CUDA = "torch finds no CUDA device"


@machine_errors("the benchmark")
def hold_contest(
    subject: Subject,
    candidates: Sequence[Candidate],
    settings: OptimizeConfig,
    *,
    provider: str,
    cache: ContentCache,
    progress: StageProgress,
) -> tuple[Contest, dict[str, Any]]:
    """Eager torch, OpenVINO, and every candidate that runs, refused ones too: what they would have
    gained is worth knowing. The contest, and when and where it took place.

    Ratios are over eager torch on the GPU, if any candidate runs there, else on the CPU; where
    torch cannot use the GPU, over the first candidate there. What runs elsewhere has none.
    A contest in which someone failed is not kept: it may have been the machine's fault. Raises
    OptimizeError if the baseline cannot run, and MachineError.
    """
    most = settings.tensorrt.max_batch_size
    profile = subject.profile(max_batch_size=most) if provider == "tensorrt" else None
    graphs = [
        _contestant(candidate, candidate.graph, provider=provider, profile=profile)
        for candidate in candidates
        if candidate.graph is not None and candidate.assessment is not None
    ]
    device = GPU if any(each.device == GPU for each in graphs) else CPU
    torches = _torch_baselines(subject, device=device)
    others = [] if provider != CPU else _openvino_baselines(candidates[0])
    contestants = [*torches, *others, *graphs]
    baseline = next(each.name for each in contestants if each.device == device)
    apart = {
        each.name: f"it runs on the {each.device}, and {baseline} on the {device}"
        for each in contestants
        if each.device != device
    }
    contest, occasion = _measure(
        subject,
        contestants,
        settings,
        baseline=baseline,
        apart=apart,
        cache=cache,
        progress=progress,
    )
    absent = {} if torches else dict.fromkeys(BASELINES, _NO_CUDA)
    return replace(contest, failed={**absent, **contest.failed}), occasion


def _contestant(
    candidate: Candidate, graph: Graph, *, provider: str, profile: ShapeProfile | None
) -> Contestant:
    """A plan runs in TensorRT itself, a graph in ONNX Runtime."""
    planned = graph.plan is not None
    return Contestant(
        name=candidate.name,
        kind=Kind.plan if planned else Kind.onnx,
        path=graph.path,
        sha256=graph.sha256,
        precision=candidate.precision,
        provider="tensorrt" if planned else provider,
        profile=None if planned else profile,
    )


def _torch_baselines(subject: Subject, *, device: str) -> list[Contestant]:
    """What a model runs on if nothing is done about it; none where torch cannot use the GPU."""
    if device == GPU and not torch.cuda.is_available():
        return []
    restored = subject.restored
    return [
        Contestant(
            name=name,
            kind=Kind.torch,
            path=restored.path,
            sha256=restored.sha256,
            precision=precision,
            provider="cuda" if device == GPU else CPU,
        )
        for name, precision in BASELINES.items()
    ]


def _openvino_baselines(fp32: Candidate) -> list[Contestant]:
    """The exported model in OpenVINO, if that is installed."""
    if fp32.graph is None or openvino_missing() is not None:
        return []
    return [
        Contestant(
            name=name,
            kind=Kind.openvino,
            path=fp32.graph.path,
            sha256=fp32.graph.sha256,
            precision=precision,
            provider="openvino",
        )
        for name, precision in OPENVINO.items()
    ]


def _measure(
    subject: Subject,
    contestants: Sequence[Contestant],
    settings: OptimizeConfig,
    *,
    baseline: str,
    apart: Mapping[str, str],
    cache: ContentCache,
    progress: StageProgress,
) -> tuple[Contest, dict[str, Any]]:
    bench = settings.benchmark
    threads = bench.threads or settings.threads or available_cores()
    batches: dict[int, Tensors] = {
        size: timing_batch(subject.rows, subject.preprocessor, size=size, length=bench.length)
        for size in sorted(set(bench.batch_sizes))
    }
    key = {
        "kind": "benchmark",
        "version": VERSION,
        "contestants": [each.identity() for each in contestants],
        "baseline": baseline,
        "batches": {str(size): _fingerprint(batch) for size, batch in batches.items()},
        "rounds": bench.rounds,
        "seconds": bench.seconds,
        "threads": threads,
        "packages": toolchain.packages(),
        "machine": toolchain.machine(),
        "code": toolchain.answering_code(),
    }

    def run() -> tuple[bytes, dict[str, Any]]:
        turns = bench.rounds * len(batches) * len(contestants) + len(contestants)
        stage = f"time {len(contestants)} forms of the model, {threads} threads"
        with progress.stage(stage, total=turns) as advance:
            contest = run_contest(
                contestants,
                batches,
                bench,
                threads=threads,
                baseline=baseline,
                remedy="use optimize.benchmark.enabled=false",
                apart=apart,
                advance=advance,
            )
        measured = datetime.now(UTC).isoformat(timespec="seconds")
        return json.dumps(contest.to_dict()).encode(), {"measured": measured}

    entry = cache.get_or_make(key, run, anew=bench.anew, worth_keeping=_whole)
    contest = Contest.from_dict(json.loads(entry.content))
    if contest.busy:
        progress.notice(
            f"other processes used {contest.load['others']:.0%} of the cores while the variants "
            f"were timed: {ANEW}"
        )
    return contest, {**entry.facts, "found": entry.found, "machine": toolchain.machine()}


def _whole(content: bytes) -> bool:
    """Whether everyone in it was timed."""
    return not json.loads(content)["failed"]


def _fingerprint(batch: Tensors) -> str:
    total = hashlib.sha256()
    for name, array in sorted(batch.items()):
        total.update(f"{name} {array.dtype} {array.shape}\0".encode())
        total.update(array.tobytes())
    return total.hexdigest()
