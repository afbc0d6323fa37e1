"""Training against a plain PyTorch loop and bare Lightning: steps a second, as ratios of one run.

    python benchmarks/training.py [--starts N] [--rounds N] [--threads N] [--model NAME …]
                                  [--quick] [--output FILE]

Three loops train the same model on the same 5,000 MNIST digits in batches of 64, with AdamW, a
cosine schedule and clipped gradients: one by hand, bare Lightning with one `self.log`, and
`train(cfg)` with its records in MLflow and its bar drawn. Each runs in a process of its own; all
of them wait while one makes the steps of a lap, so that what a machine does from minute to minute
meets them all, and all are started anew several times. Every process proves its number of
threads. Where other programs need the machine, the time of the CPU is the better figure.

What differs: ours takes its batches whole, its optimiser in torch's fused or foreach form, seeds
dropout anew in every step, records loss, accuracy and rate every 10 steps, and writes a checkpoint
in the background after every epoch; the others shuffle with torch's DataLoader and its collation,
and take AdamW as it comes. The hand-written loop records and keeps nothing. The side that saves
does so every 50 steps besides.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)  # this file's own folder would offer itself as packages of other names

from benchmarks.loops.lap import Lap
from benchmarks.loops.request import overrides
from benchmarks.loops.side import Side
from benchmarks.machine import machine
from benchmarks.rounds import Interval, brackets, interval, ratio, take_turns

if TYPE_CHECKING:
    from collections.abc import Callable

_SAVE_EVERY = 50
_PATIENCE = 900.0
"""Longest a process may take, in seconds."""


@dataclass(frozen=True)
class Length:
    """Steps before the first lap, and of each."""

    warmup: int
    steps: int


LENGTHS = {"mlp": Length(125, 200), "resnet_tiny": Length(25, 50)}
"""Every lap of the side that saves has its saves in it, and the time to write them."""
QUICK = {"mlp": Length(25, 50), "resnet_tiny": Length(1, 3)}


def main() -> None:
    """Measure, print, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--starts", type=int, default=3, help="of every process")
    parser.add_argument("--rounds", type=int, default=8, help="laps of every process")
    parser.add_argument("--threads", type=int, default=1, help="of every process")
    parser.add_argument("--model", nargs="+", choices=list(LENGTHS), default=list(LENGTHS))
    parser.add_argument("--quick", action="store_true", help="one short round, to see it work")
    parser.add_argument("--output", type=Path, help="also write the figures here, as JSON")
    args = parser.parse_args()
    starts, rounds = (1, 2) if args.quick else (args.starts, args.rounds)
    lengths = {name: (QUICK if args.quick else LENGTHS)[name] for name in args.model}
    figures: dict[str, Any] = {
        "settings": {
            "starts": starts,
            "rounds": rounds,
            "threads": args.threads,
            "lengths": {name: asdict(length) for name, length in lengths.items()},
        },
        "machine": machine("torch", "pytorch-lightning", "mlflow"),
        "models": {
            name: compare(name, length, starts=starts, rounds=rounds, threads=args.threads)
            for name, length in lengths.items()
        },
        "first_step": first_steps(rounds=2 * starts - 1, threads=args.threads),
    }
    print_table(figures)
    if args.output:
        args.output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def compare(
    model: str, length: Length, *, starts: int, rounds: int, threads: int
) -> dict[str, Any]:
    """The laps of every side, and the ratios of their speeds to the hand-written loop's."""
    laps: dict[str, list[Lap]] = {}
    for _ in range(starts):
        for side, found in one_start(model, length, rounds=rounds, threads=threads).items():
            laps.setdefault(side, []).extend(found)
    if {lap.threads for side in laps.values() for lap in side} != {threads}:
        sys.exit(f"error: not every side ran {threads} threads")
    if len({lap.weights for side in laps.values() for lap in side}) != 1:
        sys.exit(f"error: the sides did not train the same {model}")
    pairs = {
        "ours / plain": ("ours", "plain"),
        "lightning / plain": ("lightning", "plain"),
        "saving / not saving": ("ours, saving", "ours"),
    }
    return {
        "laps": {side: [asdict(lap) for lap in found] for side, found in laps.items()},
        "ratios": {
            name: {
                # Speed is steps a second: the other side's time is above.
                "wall": asdict(ratio(times(laps[other]), times(laps[one]))),
                "cpu": asdict(ratio(times(laps[other], cpu=True), times(laps[one], cpu=True))),
            }
            for name, (one, other) in pairs.items()
        },
    }


def times(laps: list[Lap], *, cpu: bool = False) -> list[float]:
    """Seconds a step."""
    return [(lap.cpu_seconds if cpu else lap.seconds) / lap.steps for lap in laps]


def one_start(model: str, length: Length, *, rounds: int, threads: int) -> dict[str, list[Lap]]:
    """Every side in a process, one lap a round."""
    flags = [
        f"--model={model}", f"--warmup={length.warmup}", f"--steps={length.steps}",
        f"--laps={rounds}", f"--threads={threads}",
    ]  # fmt: skip
    loops = {
        "plain": ["plain"],
        "lightning": ["bare_lightning"],
        "ours": ["ours"],
        "ours, saving": ["ours", f"--save-every={_SAVE_EVERY}"],
    }
    with ExitStack() as stack:
        sides = {
            name: stack.enter_context(Side(*loop, *flags, environment=environment(threads)))
            for name, loop in loops.items()
        }
        return take_turns({name: side.lap for name, side in sides.items()}, rounds=rounds)


def first_steps(*, rounds: int, threads: int) -> dict[str, Any]:
    """Seconds from the command to the end of its first step."""
    found = take_turns(
        {"ours": partial(time_train, threads), "lightning": partial(time_lightning, threads)},
        rounds=rounds,
    )
    return {
        "seconds": found,
        "medians": {side: asdict(interval(values)) for side, values in found.items()},
        "ours / lightning": asdict(ratio(found["ours"], found["lightning"])),
    }


def time_train(threads: int) -> float:
    """`python train.py`: the first line of its metrics comes with the first step."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asked = overrides("mlp", steps=1000, threads=threads, folder=folder)
        asked += ["trainer.log_every=1", f"hydra.run.dir={folder}/run"]
        rows = folder / "run" / "metrics.csv"
        command = [sys.executable, str(ROOT / "train.py"), *asked]
        return _until(command, lambda: _lines(rows) > 1, threads=threads, folder=folder)


def time_lightning(threads: int) -> float:
    """A script with bare Lightning, which makes a file when its first step is done."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        done = folder / "first"
        command = [
            sys.executable, "-m", "benchmarks.loops.bare_lightning", f"--threads={threads}",
            "--steps=1000", f"--first-step={done}",
        ]  # fmt: skip
        return _until(command, done.exists, threads=threads, folder=folder)


def _until(
    command: list[str], condition: Callable[[], bool], *, threads: int, folder: Path
) -> float:
    """Seconds from the start of `command` until the condition; then it is ended."""
    log = folder / "log"
    began = time.perf_counter()
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, env=environment(threads), cwd=folder, stdout=stream, stderr=stream
        )
    try:
        while not condition():
            if process.poll() is not None or time.perf_counter() - began > _PATIENCE:
                sys.exit(f"error: {' '.join(command)} made no step:\n{log.read_text()}")
            time.sleep(0.01)
        return time.perf_counter() - began
    finally:
        process.kill()
        process.wait()


def _lines(path: Path) -> int:
    return path.read_text(encoding="utf-8").count("\n") if path.exists() else 0


def environment(threads: int) -> dict[str, str]:
    """For every side the same; the bar is drawn as on a terminal."""
    return os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "FORCE_COLOR": "1",
        "PYTHONPATH": str(ROOT),
    }


def print_table(figures: dict[str, Any]) -> None:
    """The figures, for people."""
    print(*(f"{key}: {value}" for key, value in figures["machine"].items()), sep=" · ")
    settings = figures["settings"]
    print(", ".join(f"{settings[key]} {key}" for key in ("threads", "starts", "rounds")))
    for model, found in figures["models"].items():
        print(f"\n{model}, batch 64 {'':<19} wall ms a step   CPU ms a step   load")
        for side, laps in found["laps"].items():
            sides = [Lap(**lap) for lap in laps]
            wall, cpu = interval(times(sides)).median, interval(times(sides, cpu=True)).median
            load = interval([lap.load for lap in sides]).median
            print(f"  {side:<36} {wall * 1e3:12.2f} {cpu * 1e3:15.2f} {load:8.1f}")
        print(f"  speed, as a ratio [{brackets(settings['rounds'])}]")
        for name, both in found["ratios"].items():
            wall_ratio, cpu_ratio = Interval(**both["wall"]), Interval(**both["cpu"])
            print(f"  {name:<28} wall {_shown(wall_ratio)}   CPU {_shown(cpu_ratio)}")
    first = figures["first_step"]
    print("\nmlp, from the command to the first step")
    for side, value in first["medians"].items():
        print(f"  {side:<28} {_shown(Interval(**value))} s")
    print(f"  {'ours / lightning':<28} {_shown(Interval(**first['ours / lightning']))}")


def _shown(value: Interval) -> str:
    return value.shown("{:.3f}".format)


if __name__ == "__main__":
    main()
