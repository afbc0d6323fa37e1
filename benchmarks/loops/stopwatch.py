"""Stopwatch: times optimiser steps from within a process, whoever's loop makes them."""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.loops.laps import Laps


class Stopwatch:
    """Runs from the end of step `warmup` to the end of step `warmup + steps`.

    torch calls it after every step of every optimiser, so that all loops carry the same cost.
    """

    def __init__(self, *, warmup: int, steps: int) -> None:
        self._first = warmup
        self._last = warmup + steps
        self._count = 0
        self._wall: list[float] = []
        self._cpu: list[float] = []
        self._threads: set[int] = set()
        self._weights = 0

    def start(self) -> None:
        """Count from the next step on."""
        register_optimizer_step_post_hook(self._tick)

    def _tick(self, optimizer: Any, *_: Any) -> None:
        self._count += 1
        if self._count not in (self._first, self._last):
            return
        self._wall.append(time.perf_counter())
        self._cpu.append(time.process_time())
        self._threads.add(torch.get_num_threads())
        self._weights = sum(
            value.numel() for group in optimizer.param_groups for value in group["params"]
        )

    def read(self) -> Laps:
        """Raises RuntimeError if the loop ended too early, or changed its number of threads."""
        if len(self._wall) != 2:
            raise RuntimeError(f"the loop made {self._count} steps where {self._last} were needed")
        (threads,) = self._threads
        return Laps(
            steps=self._last - self._first,
            seconds=self._wall[1] - self._wall[0],
            cpu_seconds=self._cpu[1] - self._cpu[0],
            threads=threads,
            load=os.getloadavg()[0],
            weights=self._weights,
        )


def arguments(description: str) -> argparse.ArgumentParser:
    """What every loop can be told."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", choices=["mlp", "resnet_tiny"], default="mlp")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--warmup", type=int, default=20, help="steps before the watch starts")
    parser.add_argument("--steps", type=int, default=100, help="steps on the watch")
    parser.add_argument("--output", type=Path, required=True, help="where the laps go, as JSON")
    return parser


def write_laps(path: Path, laps: Laps) -> None:
    """For the process that started this one."""
    path.write_text(json.dumps(asdict(laps)), encoding="utf-8")
