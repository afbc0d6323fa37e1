"""docs/training.md: its file of a recipe composes, its Python trains."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.docs.markdown import page
from trainer import compose as composing
from trainer.compose import compose
from trainer.schema import register_schemas


def example(language: str) -> str:
    [block] = [b for b in page("docs/training.md").blocks if b.language == language]
    return block.text


def test_recipe_of_the_page_composes_and_wins_over_the_model(tmp_path, monkeypatch):
    for group in composing.CONF.iterdir():
        (tmp_path / group.name).symlink_to(group)
    (tmp_path / "experiment").unlink()
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "small_photos.yaml").write_text(example("yaml"), encoding="utf-8")
    monkeypatch.setattr(composing, "CONF", tmp_path)
    cfg = compose("train", ["experiment=small_photos"], schemas=register_schemas)
    wanted = yaml.safe_load(example("yaml"))
    assert cfg.data.root == wanted["data"]["root"]
    assert cfg.optim.lr == wanted["optim"]["lr"]
    assert cfg.trainer.max_epochs == wanted["trainer"]["max_epochs"]
    assert cfg.model.name == "resnet18"
    assert cfg.callbacks.patience is not None


@pytest.mark.docs
def test_python_of_the_page_trains(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    scope: dict[str, Any] = {}
    exec(compile(example("python"), "training.md", "exec"), scope)
    assert float(capsys.readouterr().out.splitlines()[-1]) == scope["metrics"]["test/accuracy"]
    assert (tmp_path / "outputs" / "from-python" / "summary.json").is_file()
