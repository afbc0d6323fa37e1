from __future__ import annotations

from trainer.checkpoints.manager import CheckpointManager
from trainer.metrics.metric import read_metrics
from trainer.run import train


def test_a_steps_metrics_are_on_record_before_its_checkpoint_is_written(
    config, tmp_path, monkeypatch
):
    recorded = []
    save = CheckpointManager._save

    def after_a_look(self, trainer, path):
        rows = read_metrics(tmp_path / "run" / "metrics.csv")
        steps = [row.step for row in rows if row.name == "train/loss"]
        recorded.append((trainer.global_step, steps[-1]))
        save(self, trainer, path)

    monkeypatch.setattr(CheckpointManager, "_save", after_a_look)
    train(
        config("callbacks.save_every_steps=5", "trainer.log_every=5", "callbacks.save_best=false"),
        folder=tmp_path / "run",
    )
    assert recorded == [(step, step) for step in (5, 10, 15, 20, 22)]
