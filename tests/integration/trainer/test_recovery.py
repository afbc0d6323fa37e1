"""A run that was cut short ends as if nothing had been."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.integration.trainer.conftest import SAVES, STOPPED_AT, stop_at
from tests.training import same, train_tiny, weights
from trainer.data.module import DataModule
from trainer.errors import CheckpointError, ConfigError, Stopped
from trainer.events import read_events
from trainer.lightning_model import LightningModel
from trainer.metrics.metric import read_metrics
from trainer.run import _Run

pytestmark = [
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)`:FutureWarning"),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
]


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


@pytest.mark.parametrize("async_save", ["true", "false"])
def test_property_03_run_goes_on_as_itself_when_it_was_stopped(tmp_path, undisturbed, async_save):
    folder = tmp_path / "run"
    options = [*SAVES, f"callbacks.async_save={async_save}"]
    stop_at(folder, STOPPED_AT, *options)
    before = summary(folder)
    assert (before["status"], before["steps"]) == ("stopped", STOPPED_AT)
    metrics = train_tiny(folder, *options)
    after = summary(folder)
    assert (after["status"], after["steps"]) == ("finished", 20)
    assert after["run_id"] == before["run_id"]
    assert metrics == summary(undisturbed)["metrics"]
    for name in ("best.ckpt", "last.ckpt"):
        assert same(
            weights(folder / "checkpoints" / name), weights(undisturbed / "checkpoints" / name)
        )
    records = [read_metrics(path / "metrics.csv") for path in (folder, undisturbed)]
    assert records[0] == records[1]


def test_summary_knows_the_checkpoint_when_the_run_is_stopped_before_it_trains_on(
    stopped, tmp_path, monkeypatch
):
    folder = shutil.copytree(stopped, tmp_path / "run")

    def stopping(*args, **options):
        raise Stopped("stopped by SIGTERM")

    monkeypatch.setattr("trainer.run.make_trainer", stopping)
    with pytest.raises(Stopped):
        train_tiny(folder, *SAVES)
    found = summary(folder)
    assert (found["status"], found["steps"]) == ("stopped", STOPPED_AT)
    for name in ("best", "last"):
        assert found[f"{name}_checkpoint"] == str(folder / "checkpoints" / f"{name}.ckpt")


def test_mlflow_run_goes_on_when_the_run_was_stopped(tmp_path, tracking_uri):
    folder = tmp_path / "run"
    stop_at(folder, STOPPED_AT, *SAVES, "tracking=mlflow")
    train_tiny(folder, *SAVES, "tracking=mlflow", "callbacks.keep_last=4")
    client = MlflowClient(tracking_uri)
    (run,) = client.search_runs([client.get_experiment_by_name("trainyard").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.info.run_id == summary(folder)["run_id"]
    assert run.data.params["callbacks.keep_last"] == "3"
    assert run.data.tags["changed.callbacks.keep_last"] == "4"
    rows = read_metrics(folder / "metrics.csv")
    for name in {row.name for row in rows}:
        recorded = [metric.step for metric in client.get_metric_history(run.info.run_id, name)]
        assert recorded == [row.step for row in rows if row.name == name]


class Killed(BaseException):
    """Nobody hears of it."""


def kill_at(folder, step, *overrides):
    """Leave what kill -9 leaves of a run whose first checkpoint is still to come."""
    training_step = LightningModel.training_step

    def vanish(run, error):
        run.records._tracker._sender.stop()
        run.records._close()

    def dying(self, batch, batch_idx):
        if self.global_step == step:
            raise Killed
        return training_step(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LightningModel, "training_step", dying)
        patch.setattr(_Run, "abandon", vanish)
        with pytest.raises(Killed):
            train_tiny(folder, *overrides)


@pytest.mark.parametrize(
    ("overrides", "statuses"),
    [
        ((), ["FINISHED"]),
        (("resume=never",), ["FINISHED", "KILLED"]),
        (("optim.lr=0.002",), ["FINISHED", "KILLED"]),
    ],
    ids=["same", "never", "another"],
)
def test_no_mlflow_run_stays_open_when_the_process_was_killed_before_its_first_checkpoint(
    tmp_path, tracking_uri, overrides, statuses
):
    folder = tmp_path / "run"
    kill_at(folder, 3, "tracking=mlflow")
    assert summary(folder)["status"] == "running"
    train_tiny(folder, "tracking=mlflow", *overrides)
    client = MlflowClient(tracking_uri)
    found = client.search_runs([client.get_experiment_by_name("trainyard").experiment_id])
    assert sorted(run.info.status for run in found) == statuses
    (finished,) = (run for run in found if run.info.status == "FINISHED")
    assert finished.info.run_id == summary(folder)["run_id"]
    rows = read_metrics(folder / "metrics.csv")
    for name in {row.name for row in rows}:
        history = client.get_metric_history(finished.info.run_id, name)
        assert [(one.step, one.value) for one in history] == [
            (row.step, pytest.approx(row.value)) for row in rows if row.name == name
        ]


@pytest.mark.parametrize("others", [True, False], ids=["others", "same"])
def test_run_says_so_when_it_goes_on_with_other_data(
    stopped, tmp_path, caplog, monkeypatch, others
):
    folder = shutil.copytree(stopped, tmp_path / "run")
    if others:
        monkeypatch.setattr(DataModule, "fingerprint", "others")
    train_tiny(folder, *SAVES)
    changed = [event["given"] for event in read_events(folder) if event["kind"] == "data_changed"]
    assert changed == (["others"] if others else [])
    assert ("not those that it was trained on" in caplog.text) is others


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.training import train_tiny
from trainer.lightning_model import LightningModel

folder, options = Path(sys.argv[1]), sys.argv[2:]
training_step = LightningModel.training_step
for killed_at in (2, 3, 8, 13, 19, None):
    child = os.fork()
    if not child:
        def step(self, batch, batch_idx):
            if self.global_step == killed_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return training_step(self, batch, batch_idx)

        LightningModel.training_step = step
        train_tiny(folder, *options)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status == (signal.SIGKILL if killed_at else 0), (killed_at, status)
"""


@pytest.mark.slow
@pytest.mark.parametrize("async_save", ["true", "false"])
def test_property_03_run_ends_the_same_when_it_is_killed_again_and_again(
    tmp_path, undisturbed, async_save
):
    command = [sys.executable, "-c", KILLED, str(tmp_path), *SAVES]
    environment = os.environ | {"PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, f"callbacks.async_save={async_save}"], check=True, env=environment)
    for name in ("best.ckpt", "last.ckpt"):
        assert same(
            weights(tmp_path / "checkpoints" / name), weights(undisturbed / "checkpoints" / name)
        )
    assert set(read_metrics(tmp_path / "metrics.csv")) <= set(
        read_metrics(undisturbed / "metrics.csv")
    )
    assert "quarantine" not in {event["kind"] for event in read_events(tmp_path)}


def test_run_says_that_it_is_finished_when_asked_again(tmp_path, caplog):
    folder = tmp_path / "run"
    first = train_tiny(folder, "trainer.max_epochs=1")
    written = (folder / "checkpoints/last.ckpt").stat().st_mtime_ns
    with caplog.at_level(logging.INFO):
        again = train_tiny(folder, "trainer.max_epochs=1")
    assert again == first
    assert "finished" in caplog.text
    assert (folder / "checkpoints/last.ckpt").stat().st_mtime_ns == written
    train_tiny(folder, "trainer.max_epochs=2")
    assert summary(folder)["steps"] == 10
    with pytest.raises(ConfigError, match="another model"):
        train_tiny(folder, "trainer.max_epochs=2", "model.hidden=[8]")


def test_refused_resume_leaves_the_records_when_the_model_is_another(stopped, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    before = {name: (folder / name).read_bytes() for name in ("config.yaml", "metrics.csv")}
    with pytest.raises(ConfigError, match="of another model"):
        train_tiny(folder, *SAVES, "model.hidden=[8]")
    for name, content in before.items():
        assert (folder / name).read_bytes() == content
    assert summary(folder) | {"status": 0, "error": 0} == summary(stopped) | {
        "status": 0,
        "error": 0,
    }
    assert "of another model" in summary(folder)["error"]


def test_run_is_refused_when_another_process_trains_in_its_folder(tmp_path):
    holder = """if 1:
        import fcntl, sys
        lock = open(sys.argv[1], "a")
        fcntl.lockf(lock, fcntl.LOCK_EX)
        print("locked", flush=True)
        sys.stdin.read()
    """
    command = [sys.executable, "-c", holder, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(ConfigError, match="another process is training in it"):
            train_tiny(tmp_path)
        other.communicate()
    train_tiny(tmp_path, "trainer.max_epochs=1")


def test_run_starts_from_a_named_checkpoint_when_it_is_of_another_run(undisturbed, tmp_path):
    checkpoint = undisturbed / "checkpoints/step-00000018.ckpt"
    train_tiny(tmp_path / "run", f"resume={checkpoint}")
    assert summary(tmp_path / "run")["run_id"] != summary(undisturbed)["run_id"]
    assert same(
        weights(tmp_path / "run/checkpoints/last.ckpt"),
        weights(undisturbed / "checkpoints/last.ckpt"),
    )


def test_run_is_not_begun_when_the_named_checkpoint_is_damaged(stopped, tmp_path):
    copied = shutil.copytree(stopped, tmp_path / "other") / "checkpoints/last.ckpt"
    copied.write_bytes(copied.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="damaged"):
        train_tiny(tmp_path / "run", f"resume={copied}")
    assert copied.exists()
