from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from trainer.errors import ConfigError
from trainer.metrics.metrics_file import MetricsFile
from trainer.sweep.lock import locked
from trainer.sweep.outcome import explain_failure, is_finished, read_values
from trainer.sweep.process import MetricTail

if TYPE_CHECKING:
    from pathlib import Path


def write(folder: Path, **summary: object) -> None:
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")


def test_values_are_the_best_checkpoints_else_the_last_recorded(tmp_path: Path) -> None:
    record = MetricsFile(tmp_path / "metrics.csv")
    for step, value in enumerate([0.7, 0.9, 0.8]):
        record.log_metrics({"val/accuracy": value, "val/f1": value / 2}, step=step)
    record.close()
    write(tmp_path, status="finished", metrics={"val/accuracy": 0.9}, seconds=3.5)
    values = read_values(tmp_path, ["val/accuracy", "val/f1", "seconds"])
    assert values == {"val/accuracy": 0.9, "val/f1": 0.4, "seconds": 3.5}
    assert is_finished(tmp_path)


def test_values_are_refused_when_missing_or_not_finite(tmp_path: Path) -> None:
    write(tmp_path, status="finished", metrics={"val/loss": float("nan")})
    with pytest.raises(ValueError, match=r"sweep\.metric=val/f1"):
        read_values(tmp_path, ["val/f1"])
    with pytest.raises(ValueError, match="val/loss is nan"):
        read_values(tmp_path, ["val/loss"])


def test_failure_is_explained_by_summary_log_or_signal(tmp_path: Path) -> None:
    assert explain_failure(tmp_path, 3) == "exit code 3"
    (tmp_path / "train.log").write_text("noise\nerror: no data\n", encoding="utf-8")
    assert explain_failure(tmp_path, 2) == "no data"
    write(tmp_path, status="failed", error="DataError: empty")
    assert explain_failure(tmp_path, 1) == "DataError: empty"
    assert explain_failure(tmp_path, -signal.SIGKILL) == "killed by SIGKILL"


def test_tail_reads_whole_lines_and_starts_anew_when_the_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    tail = MetricTail(path, "val/accuracy")
    assert tail.read() == []
    with path.open("w", encoding="utf-8") as stream:
        stream.write("step,name,value\n1,val/accuracy,0.5\n1,val/loss,2.0\n2,val/acc")
        stream.flush()
        assert tail.read() == [(0, 0.5)]
        stream.write("uracy,0.75\n")
        stream.flush()
        assert tail.read() == [(1, 0.75)]
    other = tmp_path / "other.csv"
    other.write_text("step,name,value\n1,val/accuracy,0.25\n", encoding="utf-8")
    other.replace(path)
    assert tail.read() == [(0, 0.25)]


def test_folder_is_refused_while_a_sweep_or_its_trials_are_in_it(tmp_path: Path) -> None:
    with locked(tmp_path, wait=0) as lock:
        said = rf"a sweep runs in it \(process {os.getpid()}\)"
        with pytest.raises(ConfigError, match=said), locked(tmp_path, wait=0):
            pass
        # A trial inherits the lock, and has it still when the sweep is gone.
        trial = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock]
        )
    with pytest.raises(ConfigError, match="its trials"), locked(tmp_path, wait=0.2):
        pass
    trial.communicate(b"\n", timeout=60)
    with locked(tmp_path, wait=0):
        pass
