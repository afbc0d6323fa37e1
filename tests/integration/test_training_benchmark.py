from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.loops import subject
from trainer.build import build_data, build_model
from trainer.compose import compose
from trainer.schema import register_schemas

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["mlp", "resnet_tiny"])
def test_benchmark_trains_the_model_of_the_config(name, tmp_path):
    cfg = compose("train", ["data=mnist", f"model={name}"], schemas=register_schemas)
    data = build_data(cfg, assets_dir=tmp_path)
    data.setup()
    ours = build_model(cfg, num_classes=10, preprocessor=data.preprocessor)
    theirs = subject.make_model(name)
    assert [module.extra_repr() for module in ours.modules()] == [
        module.extra_repr() for module in theirs.modules()
    ]
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: v.shape for k, v in theirs.state_dict().items()
    }


@pytest.mark.soak
def test_benchmark_compares_every_side_when_quick(tmp_path):
    output = tmp_path / "training.json"
    command = [sys.executable, "benchmarks/training.py", "--quick", "--model=mlp"]
    ended = subprocess.run(
        [*command, f"--output={output}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    figures = json.loads(output.read_text())
    mlp = figures["models"]["mlp"]
    assert set(mlp["laps"]) == {"plain", "lightning", "ours", "ours, saving"}
    for laps in mlp["laps"].values():
        assert {lap["threads"] for lap in laps} == {1}
        assert all(lap["seconds"] > 0 and lap["cpu_seconds"] > 0 for lap in laps)
    for both in mlp["ratios"].values():
        assert both["wall"]["low"] <= both["wall"]["median"] <= both["wall"]["high"]
    assert all(value > 0 for side in figures["first_step"]["seconds"].values() for value in side)
    assert "ours / plain" in ended.stdout
