"""Hydra's multirun: jobs in several processes, and jobs that a launcher starts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.training_run import TWO, TrainingRun

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def _sweep(tmp_path: Path, *overrides: str) -> list[Path]:
    """The folders of the jobs of a multirun that ended well, with a run on the server for each."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    run = TrainingRun(
        tmp_path / "unused",
        "trainer.max_epochs=1",
        "tracking=mlflow",
        f"tracking.uri={uri}",
        f"hydra.sweep.dir={tmp_path}/sweep",
        *overrides,
        model=(),
        flags=("-m",),
    ).finish()
    folders = sorted(path.parent for path in (tmp_path / "sweep").glob("*/summary.json"))
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in folders]
    assert [summary["status"] for summary in summaries] == ["finished"] * len(folders), run.text
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("trainyard")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    assert {one.info.run_id for one in found} == {summary["run_id"] for summary in summaries}
    assert {one.info.status for one in found} == {"FINISHED"}
    return folders


def test_multirun_of_two_processes_leaves_a_run_for_every_job(tmp_path):
    assert len(_sweep(tmp_path, *TWO, "model=mlp", "seed=1,2")) == 2


@pytest.mark.soak
def test_multirun_of_two_processes_leaves_a_run_for_every_job_when_models_differ(tmp_path):
    assert len(_sweep(tmp_path, *TWO, "model=resnet_tiny,mlp", "seed=1,2")) == 4


@pytest.mark.soak
@pytest.mark.parametrize(
    ("launcher", "overrides"),
    [
        ("joblib", ("hydra.launcher.n_jobs=2",)),
        ("submitit_local", ()),
        ("submitit_local", TWO),
    ],
    ids=["joblib", "submitit", "submitit-two-processes"],
)
def test_multirun_leaves_a_run_for_every_job_when_a_launcher_starts_them(
    tmp_path: Path, launcher: str, overrides: tuple[str, ...]
) -> None:
    package = launcher.partition("_")[0]
    pytest.importorskip(f"hydra_plugins.hydra_{package}_launcher")  # pip install '.[launchers]'
    chosen = (f"hydra/launcher={launcher}", *overrides)
    assert len(_sweep(tmp_path, *chosen, "model=mlp", "seed=1,2")) == 2
