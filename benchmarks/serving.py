"""The server against stock LitServe, a bare Starlette and its own bare engine: ratios of one run.

    python benchmarks/serving.py [--scenario NAME …] [--rounds N] [--seconds S] [--quick]
                                 [--model URI] [--output FILE]

The sides of a scenario take turns; each turn starts its server anew, warms it for a second and
loads it with `wrk`, a compiled client, on the same machine. Light models compute on one thread,
heavy ones on every core, on all sides alike; every session proves its number, and with heavy models
the threads that compute are counted from outside. A table shows medians and, for each claim, the
median over the rounds with its 95 % bootstrap interval (of fewer than 6 rounds: the lowest and the
highest) beside the aim. Nothing is asserted.

--model measures a bundle of your own against its bare engine instead.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)  # this file's own folder would offer itself as the package `serving`

from benchmarks.machine import machine
from benchmarks.rounds import brackets
from benchmarks.servers.bench import Bench
from benchmarks.servers.loads import loads
from benchmarks.servers.models import Models
from benchmarks.servers.own import own_scenario
from benchmarks.servers.scenario import play, table
from benchmarks.servers.scenarios import scenarios
from benchmarks.servers.wrk import check_installed
from bundle.command import run_command
from bundle.engine.cores import available_cores

if TYPE_CHECKING:
    from benchmarks.servers.scenario import Scenario

NAMES = list(scenarios(loads(1)))
PACKAGES = ("litserve", "starlette", "uvicorn", "onnxruntime")


def main() -> None:
    """Measure, print, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenario", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--model", help="URI of a bundle to measure instead")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a load")
    parser.add_argument("--quick", action="store_true", help="one short round, to see it work")
    parser.add_argument("--threads", type=int, help="of heavy models; default: one a core")
    parser.add_argument("--connections", type=int, default=32, help="with --model")
    parser.add_argument("--batch-size", type=int, default=32, help="with --model")
    parser.add_argument("--batch-delay-ms", type=float, default=2.0, help="with --model")
    parser.add_argument("--output", type=Path, help="also write the figures here, as JSON")
    args = parser.parse_args()
    check_installed()
    rounds, seconds = (1, 2.0) if args.quick else (args.rounds, args.seconds)
    figures: dict[str, Any] = {
        "settings": {"rounds": rounds, "seconds": seconds, "client": "wrk, 1 thread"},
        "machine": machine(*PACKAGES),
        "scenarios": {},
    }
    print(*(f"{key}: {value}" for key, value in figures["machine"].items()), sep=" · ")
    print(f"{rounds} round(s) of {seconds:g} s, medians; claims [{brackets(rounds)}]", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench = Bench(Models(folder), folder, seconds)
        for scenario in chosen(args):
            found = play(scenario, bench, rounds=rounds)
            figures["scenarios"][scenario.name] = found
            print(f"\n{table(scenario.name, found)}", flush=True)
            if args.output:  # each time: what comes next may fail
                args.output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def chosen(args: argparse.Namespace) -> list[Scenario]:
    """The scenarios that were asked for."""
    threads = args.threads or available_cores()
    if args.model:
        return [
            own_scenario(
                args.model, threads=threads, batch_size=args.batch_size,
                delay_ms=args.batch_delay_ms, connections=args.connections,
            )
        ]  # fmt: skip
    known = scenarios(loads(threads))
    return [known[name] for name in args.scenario]


if __name__ == "__main__":
    run_command(main)
