"""Benchmark: every contestant in a process of its own, taking turns on an otherwise idle machine.

A machine's speed drifts, so times of different minutes do not compare: in every round each
contestant has one turn at each batch size, and what is claimed is the median over rounds of the
ratio within a round, with a bootstrap interval.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from optimize.errors import OptimizeError
from optimize.load import LoadMeter
from optimize.machine import reason_of
from optimize.scratch import scratch
from optimize.timing import Contest, summarize

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from optimize.contestant import Contestant
    from optimize.reference import Tensors
    from optimize.schema import BenchmarkConfig

_ROOT = Path(__file__).resolve().parent.parent
_PATIENCE = 900.0
"""Longest wait for an answer of a process, in seconds, loading and warm-up included."""


def run_contest(
    contestants: Sequence[Contestant],
    batches: Mapping[int, Tensors],
    settings: BenchmarkConfig,
    *,
    threads: int,
    baseline: str,
    remedy: str | None = None,
    apart: Mapping[str, str] | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Contest:
    """Time all of them on `batches`, by size. One that fails is left out, with its reason.

    `apart`: who is not compared with the baseline → why.
    Raises OptimizeError, with the `remedy`, if the baseline fails.
    """
    failed: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(scratch("bench"))
        arrays = {
            f"{size}/{name}": array
            for size, batch in batches.items()
            for name, array in batch.items()
        }
        np.savez(folder / "batches.npz", allow_pickle=False, **arrays)
        processes: dict[str, _Process] = {}
        for each in contestants:  # one after the other: loading is not to disturb warm-up
            process = stack.enter_context(_Process(each, folder / "batches.npz", threads))
            try:
                process.expect("ready")
                processes[each.name] = process
            except OptimizeError as error:
                failed[each.name] = reason_of(error)
                _check_baseline(baseline, failed, remedy)
            advance(1)
        meter = LoadMeter([process.pid for process in processes.values()])
        turns = _take_turns(
            processes,
            list(batches),
            settings,
            baseline=baseline,
            failed=failed,
            remedy=remedy,
            advance=advance,
        )
        load = meter.stop()
    return Contest(
        threads=threads,
        rounds=settings.rounds,
        baseline=baseline,
        timings=summarize(turns, baseline=baseline, apart=apart or {}),
        failed=failed,
        load=load,
        apart=apart or {},
    )


def _check_baseline(baseline: str, failed: Mapping[str, str], remedy: str | None) -> None:
    """At once: without it the others' turns would be for nothing."""
    if baseline in failed:
        raise OptimizeError(
            f"the baseline {baseline} cannot be timed: {failed[baseline]}",
            field="baseline",
            remedy=remedy,
        )


def _take_turns(
    processes: dict[str, _Process],
    sizes: Sequence[int],
    settings: BenchmarkConfig,
    *,
    baseline: str,
    failed: dict[str, str],
    remedy: str | None,
    advance: Callable[[int], None],
) -> dict[str, dict[int, list[list[int]]]]:
    """Contestant → batch size → the nanoseconds of each round's calls."""
    order = random.Random(0)
    turns: dict[str, dict[int, list[list[int]]]] = {
        name: {size: [] for size in sizes} for name in processes
    }
    for _ in range(settings.rounds):
        for size in sizes:
            names = list(turns)
            order.shuffle(names)  # nobody always follows the same one, who heats or fills caches
            for name in names:
                try:
                    answer = processes[name].ask(
                        {"batch": size, "seconds": settings.seconds}, "nanoseconds"
                    )
                except OptimizeError as error:
                    failed[name] = reason_of(error)
                    _check_baseline(baseline, failed, remedy)
                    del turns[name]
                    continue
                turns[name][size].append(answer)
                advance(1)
    return turns


class _Process:
    """A running benchmark_worker."""

    def __init__(self, contestant: Contestant, batches: Path, threads: int) -> None:
        self._name = contestant.name
        self._order = {
            "contestant": contestant.to_dict(),
            "threads": threads,
            "batches": str(batches),
        }
        pools = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        self._environment = {
            **os.environ,
            **dict.fromkeys(pools, str(threads)),
            "PYTHONPATH": path,
        }

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "optimize.benchmark_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self._environment,
        )
        self._send(self._order)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, request: Mapping[str, Any], answer: str) -> Any:
        """The field `answer` of what it says. Raises OptimizeError where it says something else."""
        self._send(request)
        return self.expect(answer)

    def expect(self, answer: str) -> Any:
        """The same, of what it says unasked."""
        if self._process.stdout is None:
            raise AssertionError("unreachable: its output is a pipe")
        timer = threading.Timer(_PATIENCE, self._process.kill)
        timer.daemon = True  # what ends this process does not wait for it
        try:
            timer.start()  # a signal may interrupt it when the timer already runs
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            code = self._process.wait()
            raise OptimizeError(f"the process of {self._name} ended with code {code}")
        message = json.loads(line)
        if answer not in message:
            raise OptimizeError(str(message.get("error", "it answered something else")))
        return message[answer]

    def _send(self, message: Mapping[str, Any]) -> None:
        if self._process.stdin is None:
            raise AssertionError("unreachable: its input is a pipe")
        with contextlib.suppress(BrokenPipeError):  # reading its answer tells why
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
