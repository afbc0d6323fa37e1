"""The Makefile: what is installed stays, until another setup is asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path):
    """As much of one as `make --dry-run` reads, with an environment for CUDA that is up to date."""
    for name in ("Makefile", "pyproject.toml", "requirements/dev.lock", "requirements/torch.lock"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/.ready-gpu").touch()
    return tmp_path


def plan(checkout: Path, *arguments: str, **environment: str) -> str:
    """What make would do, asked by a person rather than by the make that runs the tests."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    done = subprocess.run(
        ["make", "--dry-run", *arguments],
        cwd=checkout,
        env={**inherited, "EXTRAS": "", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("extras", ["", "cpu", "trt"])
def test_targets_take_the_environment_as_it_is(checkout, extras):
    assert "pip" not in plan(checkout, "test-fast", EXTRAS=extras)


def test_an_environment_that_is_out_of_date_is_renewed_for_what_it_was_made_for(checkout):
    (checkout / "requirements/dev.lock").touch()
    os.utime(checkout / ".venv/.ready-gpu", (0, 0))
    assert ".[gpu]" in plan(checkout, "test-fast")


def test_another_setup_is_made_where_it_is_asked_for(checkout):
    steps = plan(checkout, "setup", "EXTRAS=cpu")
    assert "uninstall -qq --yes onnxruntime-gpu" in steps
    assert ".[gpu]" not in steps


def test_onnx_runtimes_two_builds_are_never_installed_over_each_other(checkout):
    shutil.rmtree(checkout / ".venv")
    steps = plan(checkout, "setup", "EXTRAS=gpu")
    assert "uninstall -qq --yes onnxruntime\n" in steps
    assert "<(grep -v '^onnxruntime==' requirements/dev.lock)" in steps


def test_an_image_has_extras_of_its_own(checkout):
    assert plan(checkout, "image", "EXTRAS=trt").startswith("EXTRAS=trt ")
    assert plan(checkout, "image").startswith("EXTRAS=cpu ")
