"""A compiled model is trained, saved, resumed and exported like any other."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.training import same, train_tiny, weights
from tests.training_run import ROOT, TWO, TrainingRun, difference

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.soak,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler"),
    # torch's compiler asks itself for what it calls deprecated.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch"),
]
MIDDLE = ("callbacks.save_every_steps=4", "callbacks.keep_last=20")
COMPILED = ("trainer.compile=true",)


def test_compiled_run_learns_what_another_learns_and_is_exported(tmp_path: Path) -> None:
    train_tiny(tmp_path / "plain", "model.dropout=0")
    train_tiny(tmp_path / "compiled", "model.dropout=0", *COMPILED)
    plain, compiled = (
        weights(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("plain", "compiled")
    )
    assert not [name for name in compiled if "_orig_mod" in name]
    assert difference(plain, compiled) <= 1e-5

    best = tmp_path / "compiled" / "checkpoints" / "best.ckpt"
    options = ("output=bundle", "register=false", "optimize.exporter=torchscript")
    done = subprocess.run(
        [sys.executable, str(ROOT / "export.py"), f"checkpoint={best}", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "bundle" / "manifest.json").is_file()


def test_compiled_run_with_dropout_resumes_to_the_last_bit(tmp_path: Path) -> None:
    train_tiny(tmp_path / "whole", *COMPILED, *MIDDLE, "model.dropout=0.3")
    middle = tmp_path / "whole" / "checkpoints" / "step-00000012.ckpt"
    train_tiny(tmp_path / "rest", *COMPILED, "model.dropout=0.3", f"resume={middle}")
    last = "checkpoints/last.ckpt"
    assert same(weights(tmp_path / "whole" / last), weights(tmp_path / "rest" / last))


def test_compiled_run_in_two_processes_ends_where_one_does_and_resumes(tmp_path: Path) -> None:
    options = ("trainer.max_steps=30", "trainer.max_epochs=-1", *COMPILED)
    one = TrainingRun(tmp_path / "one", *options).finish()
    two = TrainingRun(tmp_path / "two", *options, *MIDDLE, *TWO).finish()
    assert difference(one.weights(), two.weights()) <= 1e-5
    middle = two.folder / "checkpoints" / "step-00000024.ckpt"
    rest = TrainingRun(tmp_path / "rest", *options, *TWO, f"resume={middle}").finish()
    assert difference(rest.weights(), two.weights()) == 0
