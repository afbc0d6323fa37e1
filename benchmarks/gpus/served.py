"""A subject behind `serve.py`, against the engine that serves it there."""

from __future__ import annotations

import importlib.util
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.gpus.subject import THREADS
from benchmarks.servers.bench import Bench, saturate
from benchmarks.servers.engine import full_speed
from benchmarks.servers.loads import Load, binary
from benchmarks.servers.models import Models
from benchmarks.servers.scenario import Claim, Figures, Scenario, play, quotient
from benchmarks.servers.wrk import check_installed
from bundle.engine.onnx import OnnxEngine
from optimize.schema import Target

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.gpus.subject import Subject
    from benchmarks.servers.wrk import Post

PRECISION = "fp16"
CONNECTIONS, BATCH_SIZE, DELAY_MS = 64, 32, 2.0
_SAMPLES = 16


def check_serving() -> None:
    """Raises SystemExit where nothing can be served or asked."""
    if importlib.util.find_spec("litserve") is None:
        raise SystemExit("error: litserve is not installed")
    check_installed()


def serve(
    subject: Subject, device: str, folder: Path, *, rounds: int, seconds: float
) -> dict[str, Any]:
    """Requests a second with their p99, and the engine's. The tensors lie behind the JSON, as the
    Open Inference Protocol has it. Raises SystemExit where requests fail.
    """
    graph = folder / f"{subject.name}.onnx"
    graph.write_bytes(subject.graph(Target.cuda, PRECISION))
    load = Load(
        subject.name, subject.name, CONNECTIONS, BATCH_SIZE, DELAY_MS, THREADS, list,
        provider=device,
    )  # fmt: skip
    batch = subject.batch(_SAMPLES)
    rows = [{name: array[index] for name, array in batch.items()} for index in range(_SAMPLES)]
    scenario = Scenario(
        f"{subject.name} {PRECISION}",
        f"{CONNECTIONS} connections, against the engine in batches of {BATCH_SIZE}",
        {
            "engine": partial(_engine, subject, graph, device),
            "http": partial(_http, f"{subject.name}={graph}", binary(subject.name, rows), load),
        },
        (Claim("requests/s, of the engine's", quotient("per_second", "http", "engine")),),
    )
    bench = Bench(Models(folder), folder, seconds)
    return play(scenario, bench, rounds=rounds)


def _engine(subject: Subject, graph: Path, device: str, bench: Bench) -> Figures:
    engine = OnnxEngine(graph, provider=device, threads=THREADS)
    batch = dict(subject.batch(BATCH_SIZE))
    per_second, batch_ms = full_speed(engine, batch, size=BATCH_SIZE, seconds=bench.seconds)
    return {"per_second": per_second, "batch_ms": batch_ms}


def _http(uri: str, post: Post, load: Load, bench: Bench) -> Figures:
    with bench.serve(uri, post, load) as server:
        return saturate(server, post, load, seconds=bench.seconds)
