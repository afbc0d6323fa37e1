"""What a GPU gives: ResNet-50 and BERT-base in torch, ONNX Runtime and TensorRT, and over HTTP.

    python benchmarks/gpu.py [--batch-sizes N …] [--rounds N] [--seconds S] [--output FILE]
                             [--device cuda|cpu] [--quick]

Weights are as they are drawn: speed does not depend on them. Every form takes host arrays and
returns host arrays, copies included, ONNX Runtime by I/O binding; the forms take turns, and the
tables show medians, the ratio to eager torch fp32 with its 95 % interval (from 6 rounds on), and
how far the answers differ from its own: a form that answers otherwise is not timed. Float32
products may take TF32, and convolutions in torch are channels-last, on all sides alike. Then each
model is asked through `serve.py`, against its bare engine. The exit code is 1 where a form of torch
or of ONNX Runtime is missing on a GPU.
`--device cpu --quick` shows on any machine, with small models, that it works; its figures mean
nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(
    ROOT
)  # this file's own folder would offer its serving.py as the package `serving`

from benchmarks.gpus.forms import BASELINE, prepare
from benchmarks.gpus.served import PRECISION, check_serving, serve
from benchmarks.gpus.subject import THREADS, subjects
from benchmarks.rounds import take_turns
from benchmarks.servers.process import NotStartedError
from benchmarks.servers.scenario import table as table_of_scenario
from bundle.command import run_command
from bundle.errors import EngineError, RequestError, TrainyardError
from bundle.table import format_table
from optimize import toolchain
from optimize.contestant import take_turn
from optimize.tables import milliseconds, rate, speedup
from optimize.timing import summarize
from trainer.memory import release

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.gpus.subject import Subject
    from optimize.timing import Timing

    Timings = Mapping[str, Mapping[int, Timing]]


def main() -> None:
    """Measure, print, and write JSON if asked. Raises RequestError without such a device."""
    args = _parser().parse_args()
    if args.quick:
        args.batch_sizes, args.rounds, args.seconds = [1, 2], 1, 0.05
    if args.device == "cuda" and not torch.cuda.is_available():
        raise RequestError(
            "--device cuda: torch finds no CUDA device",
            field="device",
            remedy="run it on a machine with a GPU, or use --device cpu --quick to see it work",
        )
    torch.set_num_threads(THREADS)
    torch.set_float32_matmul_precision("high")  # TF32, as ONNX Runtime and TensorRT take by default
    figures: dict[str, Any] = {
        "settings": {key: value for key, value in vars(args).items() if key != "output"},
        "machine": _machine(args.device),
        "models": {},
    }
    print(*(f"{key}: {value}" for key, value in figures["machine"].items()), sep=" · ", flush=True)
    for subject in subjects(small=args.quick):
        found = figures["models"][subject.name] = _measure(subject, args)
        _write(figures, args.output)  # each time: what comes next may fail
        torch.compiler.reset()  # the forms are gone: the server has the device to itself
        release()
        found["http"] = _over_http(subject, args, found["missing"])
        _write(figures, args.output)
    if args.device == "cuda":
        _check_whole(figures["models"])


def _write(figures: Mapping[str, Any], output: Path | None) -> None:
    if output is not None:
        output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _check_whole(models: Mapping[str, Any]) -> None:
    """Raises EngineError where a form is missing that any machine with a GPU has."""
    missing = [
        f"{model} in {form}"
        for model, found in models.items()
        for form in found["missing"]
        if not form.startswith("tensorrt")
    ]
    if missing:
        raise EngineError(f"not measured: {', '.join(missing)}; the reasons are above")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/gpu.py", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument(
        "--batch-sizes", type=_positive, nargs="+", default=[1, 8, 32, 128], metavar="N"
    )
    parser.add_argument("--rounds", type=_positive, default=7, metavar="N")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of one turn")
    parser.add_argument("--quick", action="store_true", help="small models, short turns")
    parser.add_argument("--output", type=Path, help="also write the figures here, as JSON")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def _machine(device: str) -> dict[str, Any]:
    """What the figures depend on besides the code."""
    here = toolchain.machine()
    return {
        "device": here.get("gpu" if device == "cuda" else "cpu", "unknown"),
        "cuda": torch.version.cuda,
        "load_before": os.getloadavg()[0],
        **here,
        **toolchain.packages(),
    }


def _measure(subject: Subject, args: argparse.Namespace) -> dict[str, Any]:
    batches = {size: subject.batch(size) for size in sorted(set(args.batch_sizes))}
    ready = prepare(subject, args.device, batches)
    turns: dict[str, dict[int, list[list[int]]]] = {name: {} for name in ready.runs}
    for size, batch in batches.items():
        sides = {
            name: partial(take_turn, run, batch, seconds=args.seconds)
            for name, run in ready.runs.items()
        }
        for name, taken in take_turns(sides, rounds=args.rounds).items():
            turns[name][size] = [turn.nanoseconds for turn in taken]
    timings = summarize(turns, baseline=BASELINE)
    table = _table(subject, timings, ready.differences)
    print(f"\n{subject.title} ({subject.unit})\n{table}")
    print(*(f"{name} is missing: {why}" for name, why in ready.missing.items()), sep="\n")
    return {
        "unit": subject.unit,
        "toy": subject.toy,
        "forms": {
            name: {str(size): asdict(timing) for size, timing in by_size.items()}
            for name, by_size in timings.items()
        },
        "differences": ready.differences,
        "missing": ready.missing,
    }


def _table(subject: Subject, timings: Timings, differences: Mapping[str, float]) -> str:
    header = [
        "form",
        "batch",
        "p50, ms",
        "p99, ms",
        f"{subject.unit}/s",
        f"x {BASELINE}",
        "differs",
    ]
    rows = [
        [
            name,
            str(size),
            milliseconds(timing.p50_ms),
            milliseconds(timing.p99_ms),
            rate(timing),
            speedup(timing),
            f"{differences[name]:.1e}",
        ]
        for name, by_size in timings.items()
        for size, timing in by_size.items()
    ]
    return format_table(header, rows)


def _over_http(
    subject: Subject, args: argparse.Namespace, missing: Mapping[str, str]
) -> dict[str, Any]:
    """What fails here takes no figure of the forms with it."""
    form = f"onnxruntime {PRECISION}"
    try:
        if form in missing:
            raise EngineError(f"{form} is missing")
        check_serving()
        with tempfile.TemporaryDirectory() as folder:
            found = serve(
                subject, args.device, Path(folder), rounds=args.rounds, seconds=args.seconds
            )
    except (NotStartedError, TrainyardError, SystemExit) as error:
        print(f"over HTTP: {subject.title} is skipped: {error}", flush=True)
        return {"skipped": str(error)}
    print(table_of_scenario(f"over HTTP: {subject.title}", found), flush=True)
    return found


if __name__ == "__main__":
    run_command(main)
