"""Stopwatch: times optimiser steps from within a process, whoever's loop makes them."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.loops.lap import Lap

TURN = "turn"
"""What a process reads from its stdin when it may go on."""


class Stopwatch:
    """After `warmup` steps the loop waits for its turn, makes `steps` steps, and so on.

    torch calls it after every step of every optimiser, so that all loops carry the same cost. What
    each lap took goes to the file descriptor `report`, a line of JSON a lap.
    """

    def __init__(self, *, warmup: int, steps: int, report: int) -> None:
        self._boundary = warmup
        self._steps = steps
        self._report = report
        self._count = 0
        self._wall: float | None = None
        self._cpu = 0.0

    def start(self) -> None:
        """Count from the next step on."""
        register_optimizer_step_post_hook(self._tick)

    def _tick(self, optimizer: Any, *_: Any) -> None:
        self._count += 1
        if self._count < self._boundary:
            return
        self._boundary += self._steps
        now, cpu = time.perf_counter(), time.process_time()
        if self._wall is not None:
            self._tell(optimizer, seconds=now - self._wall, cpu_seconds=cpu - self._cpu)
        # What threads do while the loop waits belongs to the lap after it.
        self._cpu = cpu
        self._wait()
        self._wall = time.perf_counter()

    def _wait(self) -> None:
        os.write(self._report, b"\n")
        if sys.stdin.readline().strip() != TURN:
            os._exit(0)  # enough was measured

    def _tell(self, optimizer: Any, *, seconds: float, cpu_seconds: float) -> None:
        weights = sum(v.numel() for group in optimizer.param_groups for v in group["params"])
        lap = Lap(
            steps=self._steps,
            seconds=seconds,
            cpu_seconds=cpu_seconds,
            threads=torch.get_num_threads(),
            load=os.getloadavg()[0],
            weights=weights,
        )
        os.write(self._report, json.dumps(asdict(lap)).encode())


def arguments(description: str) -> argparse.ArgumentParser:
    """What every loop can be told."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", choices=["mlp", "resnet_tiny"], default="mlp")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--warmup", type=int, default=20, help="steps before the first lap")
    parser.add_argument("--steps", type=int, default=100, help="steps of a lap")
    parser.add_argument("--laps", type=int, default=1, help="how many there will be")
    parser.add_argument("--report", type=int, help="the file descriptor that laps are told to")
    return parser


def watch(args: argparse.Namespace) -> int:
    """Start the stopwatch, if a report is wanted; the number of steps that the loop has to make."""
    if args.report is not None:
        Stopwatch(warmup=args.warmup, steps=args.steps, report=args.report).start()
    return int(args.warmup + args.steps * args.laps + 1)  # the last one is waited for in vain
