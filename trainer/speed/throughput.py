"""StepClock: how fast a run gets on, and how much of that time it waits for data.

A step costs it two readings of the clock; all the rest happens when the window is read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

from trainer.data.samples import LABEL
from trainer.parallel.group import is_joined

if TYPE_CHECKING:
    from collections.abc import Mapping

TOKENS = "input_ids"
_SHARE = 0.95


@dataclass(frozen=True, kw_only=True)
class Window:
    """The optimiser steps since the last reading."""

    seconds: tuple[float, ...]
    """Of each, waiting for data included."""
    waited: float
    """Seconds of all of them in which the loader had no batch ready."""
    samples: int
    """Of all processes."""
    tokens: int
    """Of all processes, padding included; 0 if the data are no texts."""

    @property
    def total(self) -> float:
        return sum(self.seconds)

    def metrics(self) -> dict[str, float]:
        """Times in seconds, rates a second."""
        total = self.total
        found = {
            "time/step": total / len(self.seconds),
            "time/step_p95": sorted(self.seconds)[math.ceil(_SHARE * len(self.seconds)) - 1],
            "time/data_share": self.waited / total,
            "throughput/samples": self.samples / total,
        }
        return found | ({"throughput/tokens": self.tokens / total} if self.tokens else {})


class StepClock:
    """Runs from the end of a batch to the end of the next; whatever else is done is left out."""

    def __init__(self) -> None:
        self._mark = perf_counter()
        self._step = 0.0
        self._seconds: list[float] = []
        self._waited = 0.0
        self._samples = 0
        self._tokens = 0

    def skip(self) -> None:
        """What was done since the last batch is not part of a step."""
        self._mark = perf_counter()

    def begin(self) -> None:
        """The next batch is here."""
        now = perf_counter()
        waited = now - self._mark
        self._mark = now
        self._waited += waited
        self._step += waited

    def end(self, batch: Mapping[str, Any], *, stepped: bool) -> None:
        """This batch is trained on; `stepped`: and the weights have moved."""
        now = perf_counter()
        self._step += now - self._mark
        self._mark = now
        self._samples += len(batch[LABEL])
        if TOKENS in batch:
            self._tokens += batch[TOKENS].numel()
        if stepped:
            self._seconds.append(self._step)
            self._step = 0.0

    def read(self) -> Window | None:
        """The window, which starts anew; None if there was no step. All processes call this."""
        if not self._seconds:
            return None
        samples, tokens = self._samples, self._tokens
        if is_joined():
            counts = torch.tensor([samples, tokens], dtype=torch.int64)
            distributed.all_reduce(counts)
            samples, tokens = counts.tolist()
        window = Window(
            seconds=tuple(self._seconds), waited=self._waited, samples=samples, tokens=tokens
        )
        self._seconds, self._waited, self._samples, self._tokens = [], 0.0, 0, 0
        return window
