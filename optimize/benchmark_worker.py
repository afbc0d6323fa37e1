"""The process of one contestant: `python -m optimize.benchmark_worker`, spoken to in lines of JSON.

First line in: {contestant, threads, batches}; then a line a turn: {batch, seconds}. Out: {"ready"}
and a line a turn, or {"error"}. The end of its input is the end of it.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from optimize.contestant import Contestant, load, take_turn

if TYPE_CHECKING:
    from typing import TextIO

WARM_UP_CALLS = 3
SPARE_CORES = 0.5
"""What a process may use beyond its threads before it is said to cheat."""


def main() -> None:
    """Serve turns until the input ends."""
    # What libraries print must not come between the lines.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        _serve(json.loads(sys.stdin.readline()), out)
    except Exception as error:  # noqa: BLE001 - runtimes raise anything, and the parent must know
        text = str(error).strip().splitlines()
        _tell(out, {"error": f"{type(error).__name__}: {text[0] if text else ''}".rstrip(": ")})


def _serve(order: dict[str, Any], out: TextIO) -> None:
    contestant = Contestant.from_dict(order["contestant"])
    threads = int(order["threads"])
    run = load(contestant, threads=threads)
    with np.load(order["batches"], allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    batches: dict[str, dict[str, Any]] = {}
    for key, array in arrays.items():
        size, _, name = key.partition("/")
        batches.setdefault(size, {})[name] = array
    for batch in batches.values():
        for _ in range(WARM_UP_CALLS):
            run(batch)
    gc.collect()
    gc.disable()
    _tell(out, {"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        turn = take_turn(run, batches[str(request["batch"])], seconds=request["seconds"])
        if turn.cores > threads + SPARE_CORES:
            raise RuntimeError(f"it kept {turn.cores:.1f} cores busy with {threads} threads")
        _tell(out, asdict(turn))


def _tell(out: TextIO, message: dict[str, Any]) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()


if __name__ == "__main__":
    main()
