"""The frontier of quantization: what each CPU recipe gains in speed and size, and what it costs.

    python benchmarks/quantization.py CHECKPOINT [--samples N] [--rounds N] [--json FILE]

Every recipe of target=cpu is made from the checkpoint (ranges and tuning from its validation
split) and judged on its test split against the checkpoint in torch: change of accuracy with its
one-sided 95 % bound, agreement, and answers that change in company. Speed is measured on one
thread, in interleaved rounds in one process, as a ratio to torch eager float32; each round's figure
is CPU time, which other processes on the machine disturb less than they disturb the clock.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)  # as in the other benchmarks: the rooms, whatever this folder holds

from bundle.engine.onnx import OnnxEngine
from optimize.bound import paired_lower_bound
from optimize.errors import OptimizeError
from optimize.passes.base import Calibration, Material, Tuning
from optimize.passes.export import ExportPass
from optimize.probes import example_batch
from optimize.recipe import recipes_for
from optimize.reference import LOGITS, Array, Predictor, Tensors
from optimize.schema import Target
from optimize.subject import Subject, load_subject
from optimize.verify import measure_invariance
from trainer.restore import restore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from optimize.passes.export import Lane
    from optimize.recipe import Recipe

TORCH = "torch-fp32"
BATCH_SIZES = (1, 8, 32)
BATCH = 32
CALIBRATION_SAMPLES = 128
COMPANY_SAMPLES = 128


def main() -> None:
    """Make, judge, time; print a table, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--samples", type=int, default=None, help="test samples; default: all")
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds a batch size")
    parser.add_argument("--only", nargs="*", help="recipes to make; default: all")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    subject = load_subject(restore(options.checkpoint), max_samples=options.samples, rows=BATCH)
    graphs = make(subject, options.only)
    models: dict[str, Predictor] = {TORCH: subject.reference}
    models.update((name, engine(graph)) for name, graph in graphs.items())
    largest = max(len(graph) for graph in graphs.values())
    report = judge(subject, models)
    for name, ratios in speed(subject, models, rounds=options.rounds).items():
        report[name]["speed"] = ratios
        report[name]["size"] = len(graphs[name]) / largest if name in graphs else 1.0
    show(report, subject)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def make(subject: Subject, only: list[str] | None) -> dict[str, bytes]:
    """Each recipe's graph, beside the plain export; a refused recipe tells why and is left out."""
    exported: dict[Lane, bytes] = {}
    material = _material(subject)
    graphs: dict[str, bytes] = {}
    for recipe in recipes_for(target=Target.cpu, task=subject.restored.task):
        if only and recipe.name not in only:
            continue
        if recipe.lane not in exported:
            exported[recipe.lane] = _export(subject, recipe.lane)
            graphs.setdefault("fp32", exported[recipe.lane])
        started = time.monotonic()
        try:
            graphs[recipe.name] = _apply(recipe, exported[recipe.lane], material)
        except OptimizeError as error:
            print(f"{recipe.name}: refused: {error}", file=sys.stderr)
        print(f"{recipe.name}: {time.monotonic() - started:.1f} s", file=sys.stderr)
    return graphs


def engine(graph: bytes) -> Predictor:
    """On one thread, which is asserted."""
    loaded = OnnxEngine(graph, provider="cpu", threads=1, max_batch_size=1024)
    _one_thread(loaded.metadata()["threads"])
    return lambda batch: loaded.predict_batch(dict(batch))[LOGITS]


def judge(subject: Subject, models: dict[str, Predictor]) -> dict[str, dict[str, Any]]:
    """Answers to the test split; samples of a like length share a batch, to pad less."""
    held_out, preprocessor = subject.held_out, subject.preprocessor
    rows = [preprocessor(raw) for raw in held_out.raw]
    order = sorted(range(len(rows)), key=lambda index: _length(rows[index]))
    logits: dict[str, list[Array]] = {name: [] for name in models}
    for start in range(0, len(order), BATCH):
        batch = preprocessor.collate([rows[index] for index in order[start : start + BATCH]])
        for name, predict in models.items():
            logits[name].append(predict(batch))
    labels = held_out.labels[order]
    answers = {name: np.concatenate(parts).argmax(axis=1) for name, parts in logits.items()}
    company = held_out.rows(preprocessor, COMPANY_SAMPLES)
    report: dict[str, dict[str, Any]] = {}
    for name, predict in models.items():
        right, before = answers[name] == labels, answers[TORCH] == labels
        gains, losses = int((right & ~before).sum()), int((before & ~right).sum())
        report[name] = {
            "samples": len(labels),
            "accuracy": float(right.mean()),
            "delta": (gains - losses) / len(labels),
            "bound": paired_lower_bound(gains=gains, losses=losses, samples=len(labels)),
            "agreement": float((answers[name] == answers[TORCH]).mean()),
            "company": measure_invariance(predict, company, preprocessor, company=BATCH).flips,
        }
    return report


def speed(
    subject: Subject, models: dict[str, Predictor], *, rounds: int
) -> dict[str, dict[str, float]]:
    """Model → batch size → how many times faster than torch, the median over the rounds."""
    ratios: dict[str, dict[str, float]] = {name: {} for name in models}
    for size in BATCH_SIZES:
        rows = [subject.rows[index % len(subject.rows)] for index in range(size)]
        batch = subject.preprocessor.collate(rows)
        for predict in models.values():
            predict(batch)
        times: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(rounds):
            for name, predict in models.items():
                times[name].append(_cpu_seconds(predict, batch))
        for name, found in times.items():
            pairs = zip(times[TORCH], found, strict=True)
            ratios[name][str(size)] = statistics.median(base / own for base, own in pairs)
    return ratios


def show(report: dict[str, dict[str, Any]], subject: Subject) -> None:
    flags = _cpu_flags()
    print(f"{platform.machine()}, VNNI: {'yes' if 'vnni' in flags else 'no'}; one thread")
    print(f"onnxruntime {onnxruntime.__version__}, torch {torch.__version__}")
    print(f"split {subject.held_out.split}, lengths of the timed batches as in the data")
    columns = ("x b1", "x b8", "x b32", "size", "accuracy", "delta", "bound", "agrees", "company")
    print(f"{'variant':14}" + "".join(f"{column:>10}" for column in columns))
    for name, found in report.items():
        figures = [f"{found['speed'][str(size)]:.2f}" for size in BATCH_SIZES]
        figures += [f"{found['size']:.3f}", f"{found['accuracy']:.2%}", f"{found['delta']:+.2%}"]
        figures += [f"{found['bound']:+.2%}", f"{found['agreement']:.2%}", str(found["company"])]
        print(f"{name:14}" + "".join(f"{figure:>10}" for figure in figures))
    print("company: answers of", COMPANY_SAMPLES, "that are another one in a batch than alone")


def _export(subject: Subject, lane: Lane) -> bytes:
    example = example_batch(subject.rows, subject.preprocessor, max_length=subject.max_length)
    return ExportPass(opset=18, lane=lane, max_length=subject.max_length).run(
        subject.restored.model,
        {name: torch.from_numpy(array) for name, array in example.items()},
        inputs=subject.inputs,
        output=subject.output,
    )


def _apply(recipe: Recipe, graph: bytes, material: Material) -> bytes:
    for step in recipe.passes:
        graph = step.run(graph, material)
    return graph


def _material(subject: Subject) -> Material:
    data = subject.data
    raw = data.samples("val").raw[: 2 * CALIBRATION_SAMPLES]
    if not len(raw):
        raise SystemExit("the checkpoint's data have no validation split to calibrate on")

    def batches(first: int) -> Iterator[Tensors]:
        chosen = raw[first : first + CALIBRATION_SAMPLES]
        for start in range(0, len(chosen), BATCH):
            rows = [subject.preprocessor(sample) for sample in chosen[start : start + BATCH]]
            yield subject.preprocessor.collate(rows)

    common: dict[str, Any] = {
        "split": "val",
        "fingerprint": data.fingerprint,
        "samples": CALIBRATION_SAMPLES,
    }
    return Material(
        calibration=Calibration(**common, batches=lambda: batches(0)),
        tuning=Tuning(**common, batches=lambda: batches(CALIBRATION_SAMPLES)),
        transformer=subject.transformer,
        threads=1,
    )


def _cpu_seconds(predict: Predictor, batch: Tensors) -> float:
    _one_thread(torch.get_num_threads())
    started = time.process_time()
    predict(batch)
    return time.process_time() - started


def _one_thread(count: int) -> None:
    """An import that changes the number of threads has spoiled a table before."""
    if count != 1:
        raise SystemExit(f"{count} threads compute, and not one: the figures would not compare")


def _length(row: Any) -> int:
    return max(int(array.shape[0]) for array in row.values())


def _cpu_flags() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8") if path.is_file() else ""


if __name__ == "__main__":
    main()
