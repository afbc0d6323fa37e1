"""A process that trains alone is killed or stopped at any moment, and started again.

One script imports what training needs, and forks: so it dies often in little time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.training import same, weights
from tests.training_run import ROOT
from trainer.events import read_events

if TYPE_CHECKING:
    import random
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.soak, pytest.mark.timeout(1200)]
LOOP = """
import json, os, random, signal, sys, time
from pathlib import Path

import matplotlib.pyplot  # what a run imports on its way
import torch._dynamo
from bundle.command import run_command
from tests.training import train_tiny
from trainer.checkpoints.checkpoint import verify_checkpoint

folder, dice, signum = Path(sys.argv[1]), random.Random(int(sys.argv[2])), int(sys.argv[3])
lost, options = int(sys.argv[4]), sys.argv[5:]

def start(name):
    child = os.fork()
    if not child:
        run_command(lambda: train_tiny(folder / name, *options) and None)
    return child

began = time.monotonic()
assert os.waitpid(start("calm"), 0)[1] == 0
whole = time.monotonic() - began
ended, number = [], 0
while len(ended) < lost:
    child = start(str(number))
    time.sleep(dice.uniform(0, whole / 4))
    os.kill(child, signum)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == 0:  # it was done
        number += 1
        continue
    assert code in ({-9} if signum == 9 else {143, -15}), code
    ended.append(code)
    last = folder / str(number) / "checkpoints" / "last.ckpt"
    if code == 143 and last.exists():
        summary = json.loads((folder / str(number) / "summary.json").read_text())
        assert summary["status"] == "stopped", summary
        assert verify_checkpoint(last)["step"] == summary["steps"], summary
assert os.waitpid(start(str(number)), 0)[1] == 0
print(json.dumps({"runs": number + 1, "ended": ended}))
"""


@pytest.mark.parametrize("signum", [9, 15], ids=["killed", "stopped"])
@pytest.mark.parametrize(
    "options",
    [(), ("callbacks.async_save=true",), ("data.num_workers=2",), ("callbacks.sharded=true",)],
    ids=["plain", "background", "loaders", "shards"],
)
def test_property_03_run_ends_the_same_when_its_process_is_lost_at_any_moment(
    tmp_path: Path, dice: random.Random, signum: int, options: tuple[str, ...]
) -> None:
    length = ("trainer.max_epochs=20", "trainer.val_every=0.5", "model.dropout=0.1")
    saves = ("callbacks.save_every_steps=2", "callbacks.keep_last=3")
    numbers = [str(dice.randrange(2**32)), str(signum), "10"]
    done = subprocess.run(
        [sys.executable, "-c", LOOP, str(tmp_path), *numbers, *length, *saves, *options],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout.splitlines()[-1])
    print(outcome)
    for number in range(outcome["runs"]):
        folder = tmp_path / str(number)
        assert "quarantine" not in {event["kind"] for event in read_events(folder)}
        for name in ("last", "best"):
            path = f"checkpoints/{name}.ckpt"
            assert same(weights(folder / path), weights(tmp_path / "calm" / path)), number
        records = [(path / "metrics.csv").read_text() for path in (folder, tmp_path / "calm")]
        assert records[0] == records[1], number
        summary = json.loads((folder / "summary.json").read_text())
        calm = json.loads((tmp_path / "calm" / "summary.json").read_text())
        assert summary["metrics"] == calm["metrics"]
        assert summary["steps"] == calm["steps"] == 100
