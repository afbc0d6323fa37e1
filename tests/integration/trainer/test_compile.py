"""A compiled model is trained, saved, resumed and exported like any other."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.training_run import ROOT, TWO, TrainingRun, difference

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.soak,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler"),
]
LENGTH = ("trainer.max_steps=30", "trainer.max_epochs=-1")  # an epoch has 22 steps
MIDDLE = ("callbacks.save_every_steps=5", "callbacks.keep_last=20")
COMPILED = ("trainer.compile=true",)


@pytest.mark.parametrize("devices", [(), TWO], ids=["one", "two"])
def test_compiled_run_learns_resumes_and_exports_as_one_that_is_not(
    tmp_path: Path, devices: tuple[str, ...]
) -> None:
    plain = TrainingRun(tmp_path / "plain", *LENGTH, *devices).finish()
    whole = TrainingRun(tmp_path / "whole", *LENGTH, *MIDDLE, *devices, *COMPILED).finish()
    assert plain.weights().keys() == whole.weights().keys()
    assert not [name for name in whole.weights() if "_orig_mod" in name]
    assert difference(plain.weights(), whole.weights()) <= 1e-5

    middle = whole.folder / "checkpoints" / "step-00000025.ckpt"
    rest = TrainingRun(tmp_path / "rest", *LENGTH, *devices, *COMPILED, f"resume={middle}").finish()
    assert difference(rest.weights(), whole.weights()) == 0

    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "export.py"),
            f"checkpoint={rest.folder / 'checkpoints' / 'best.ckpt'}",
            f"output={tmp_path / 'bundle'}",
            "register=false",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "bundle" / "manifest.json").is_file()


def test_compiled_run_with_dropout_resumes_to_the_last_bit(tmp_path: Path) -> None:
    options = (*LENGTH, *COMPILED, "model.dropout=0.3")
    whole = TrainingRun(tmp_path / "whole", *options, *MIDDLE).finish()
    middle = whole.folder / "checkpoints" / "step-00000025.ckpt"
    rest = TrainingRun(tmp_path / "rest", *options, f"resume={middle}").finish()
    assert difference(rest.weights(), whole.weights()) == 0
