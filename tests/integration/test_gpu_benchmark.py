"""The GPU's benchmark on a machine that may have none: that it works, and no figure of it."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bundle.engine.plan import plans_missing

ROOT = Path(__file__).resolve().parents[2]
FORMS = {
    f"{runtime} {precision}"
    for runtime in ("torch", "torch.compile", "onnxruntime")
    for precision in ("fp32", "fp16")
}
SERVED = importlib.util.find_spec("litserve") is not None and shutil.which("wrk") is not None
PLANS = {"tensorrt fp32", "tensorrt fp16"}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "benchmarks/gpu.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_every_form_is_timed_or_missing_with_its_reason_when_quick(tmp_path):
    ended = run("--device=cpu", "--quick", f"--output={tmp_path}/gpu.json")
    assert ended.returncode == 0, ended.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["settings"]["device"] == "cpu"
    assert found["machine"]["device"] == found["machine"]["cpu"]
    assert {"torch", "onnxruntime", "cuda"} <= set(found["machine"])
    assert {name: each["unit"] for name, each in found["models"].items()} == {
        "resnet50": "images",
        "bert-base": "sequences",
    }
    for name, each in found["models"].items():
        assert f"{name} (a toy in its place: the figures mean nothing)" in ended.stdout
        assert each["toy"]
        assert set(each["forms"]) == FORMS, each["missing"]
        assert set(each["missing"]) == PLANS
        if plans_missing() is not None:
            assert f"tensorrt fp16 is missing: {plans_missing()}" in ended.stdout
        for form, sizes in each["forms"].items():
            assert set(sizes) == {"1", "2"}
            assert min(timing["samples_per_second"] for timing in sizes.values()) > 0
            assert {timing["low"] for timing in sizes.values()} == {None}  # of one round
            assert each["differences"][form] < 0.1
        if SERVED:
            (served,) = each["http"]["sides"]["http"]
            assert min(served["per_second"], served["p99_ms"]) > 0
            assert "requests/s, of the engine's" in each["http"]["claims"]
        else:
            assert f"{name} over HTTP is skipped: {each['http']['skipped']}" in ended.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_missing_gpu_is_told_before_the_work():
    ended = run()
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert "--device cuda: torch finds no CUDA device" in line
