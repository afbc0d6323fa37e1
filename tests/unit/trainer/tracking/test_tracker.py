from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient

from trainer.errors import PreflightError, TrackingError
from trainer.events import record
from trainer.replay import replay
from trainer.tracking.journal import Journal
from trainer.tracking.mlflow_run import MlflowRun
from trainer.tracking.tracker import (
    LONGEST_VALUE,
    ExperimentTracker,
    MlflowTracker,
    flatten,
    shorten,
)

ROOT = Path(__file__).resolve().parents[4]


def test_flatten_names_every_leaf():
    nested = {"a": {"b": 1, "c": {"d": None, "e": [1, "x"]}}, "f": "text", "g": {}, "h": 1e-5}
    assert flatten(nested) == {
        "a.b": "1",
        "a.c.d": "null",
        "a.c.e": '[1, "x"]',
        "f": "text",
        "g": "{}",
        "h": "1e-05",
    }


@given(st.text(max_size=20_000))
def test_shorten_fits_and_tells_different_texts_apart(text):
    short = shorten(text)
    assert len(short) <= LONGEST_VALUE
    assert (short == text) is (len(text) <= LONGEST_VALUE)


def test_shorten_differs_when_only_the_end_does():
    assert shorten("x" * 9000) != shorten("x" * 9001)


NOBODY = "http://127.0.0.1:1"


def tracker_in(folder, uri, *, experiment="e", **options):
    return MlflowTracker(
        uri, folder=folder, experiment=experiment, run_name="r", tags={}, **options
    )


def runs(uri):
    client = MlflowClient(uri)
    return client.search_runs([client.get_experiment_by_name("e").experiment_id])


def test_tracker_refuses_at_once_when_the_server_is_away_and_must_not_be(tmp_path):
    with pytest.raises(PreflightError, match="cannot be reached") as caught:
        tracker_in(tmp_path, NOBODY, must_answer=True)
    assert "tracking=none" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "uri",
    ["gopher://nowhere", "http://", "http://host:99999", "sqlite:////no/such/folder/x.db", "foo"],
)
def test_tracker_refuses_an_address_that_can_never_be_right(tmp_path, uri):
    with pytest.raises(PreflightError, match=f"tracking.uri={uri}"):
        tracker_in(tmp_path, uri)
    assert list(tmp_path.iterdir()) == []


def test_tracker_refuses_a_file_that_is_no_database(tmp_path):
    (tmp_path / "notes.db").write_text("not a database at all")
    with pytest.raises(PreflightError, match="is not a sqlite database"):
        tracker_in(tmp_path, f"sqlite:///{tmp_path}/notes.db")


def test_records_wait_for_a_server_that_is_away_and_arrive_once(tmp_path, tracking_uri, caplog):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "kept.txt").write_text("here")
    tracker = tracker_in(folder, NOBODY)
    own_name = tracker.run_id
    tracker.log_params({"a": {"b": 1}})
    for step in range(1500):
        tracker.log_metrics({"loss": step / 7, "other": 1.0}, step=step)
    tracker.log_tags({"k": "v"})
    tracker.log_file(folder / "kept.txt", folder="files")
    tracker.finish("finished")
    assert "records of this run wait in" in caplog.text
    assert f"-m trainer.replay {folder}" in caplog.text

    for _ in range(2):
        (sent,) = replay(folder, uri=tracking_uri)
    (run,) = runs(tracking_uri)
    assert sent["run_id"] == run.info.run_id
    assert run.info.status == "FINISHED"
    assert run.data.tags["trainyard.run"] == own_name
    journal = [json.loads(line) for line in (folder / "tracking.jsonl").read_text().splitlines()]
    assert run.info.start_time == journal[0]["time"]
    (end,) = (line["time"] for line in journal if line["kind"] == "status")
    assert run.info.end_time == end
    assert run.data.params == {"a.b": "1"}
    assert run.data.tags["k"] == "v"
    client = MlflowClient(tracking_uri)
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(step, step / 7) for step in range(1500)]
    assert [item.path for item in client.list_artifacts(run.info.run_id, "files")] == [
        "files/kept.txt"
    ]


def test_records_are_sent_once_when_the_crash_came_before_the_note_of_it(tmp_path, tracking_uri):
    tracker = tracker_in(tmp_path, tracking_uri)
    tracker.log_params({"a": 1})
    tracker.log_metrics({"loss": 0.5}, step=3)
    tracker.finish("stopped")
    path = tmp_path / "tracking.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(x for x in lines if '"sent"' not in x and '"id"' not in x))
    replay(tmp_path, uri=tracking_uri)
    (run,) = runs(tracking_uri)
    assert run.info.run_id == tracker.run_id
    assert run.info.status == "KILLED"
    assert len(MlflowClient(tracking_uri).get_metric_history(run.info.run_id, "loss")) == 1


def test_records_go_to_a_new_run_when_the_server_has_lost_the_old_one(
    tmp_path, tracking_uri, empty_registry
):
    tracker = tracker_in(tmp_path, tracking_uri)
    tracker.log_metrics({"loss": 0.5}, step=3)
    tracker.finish("stopped")
    (tmp_path / "other.db").write_bytes(empty_registry.read_bytes())
    other = f"sqlite:///{tmp_path}/other.db"
    again = tracker_in(tmp_path, other, run_id=tracker.run_id)
    again.log_metrics({"loss": 0.4}, step=4)
    again.finish("finished")
    (run,) = runs(other)
    assert run.info.run_id == again.run_id != tracker.run_id
    history = MlflowClient(other).get_metric_history(run.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(3, 0.5), (4, 0.4)]


def test_run_goes_on_without_its_journal_and_repeats_nothing(tmp_path, tracking_uri):
    tracker = tracker_in(tmp_path, tracking_uri)
    tracker.log_metrics({"loss": 0.5}, step=3)
    tracker.finish("stopped")
    (tmp_path / "tracking.jsonl").unlink()
    again = tracker_in(tmp_path, tracking_uri, run_id=tracker.run_id)
    again.log_metrics({"loss": 0.5}, step=3)
    again.log_metrics({"loss": 0.4}, step=4)
    again.finish("finished")
    (run,) = runs(tracking_uri)
    history = MlflowClient(tracking_uri).get_metric_history(run.info.run_id, "loss")
    assert [m.step for m in history] == [3, 4]
    assert run.info.status == "FINISHED"


def test_refused_record_is_told_and_the_others_arrive(tmp_path, tracking_uri, caplog):
    tracker = tracker_in(tmp_path, tracking_uri)
    tracker.log_metrics({"loss": 0.5}, step=1)
    tracker.log_metrics({"no?name": 0.5}, step=1)
    tracker.log_metrics({"loss": 0.4}, step=2)
    tracker.log_file(tmp_path / "missing")
    tracker.finish("finished")
    assert "no?name" in caplog.text
    assert "2 records were refused" in caplog.text
    (run,) = runs(tracking_uri)
    assert run.info.status == "FINISHED"
    assert len(MlflowClient(tracking_uri).get_metric_history(run.info.run_id, "loss")) == 2
    refused = [x for x in (tmp_path / "tracking.jsonl").read_text().splitlines() if "refused" in x]
    assert len(refused) == 2


def test_damaged_record_is_told_and_the_others_arrive(tmp_path, tracking_uri, caplog):
    tracker = tracker_in(tmp_path, tracking_uri)
    journal = tmp_path / "tracking.jsonl"
    for line in (
        '{"kind": "metrics", "time": 1, "metrlcs": {}, "step": 1}',
        '{"kind": "metrics", "time": 1, "metrics": null, "step": 1}',
        '{"kind": "metrics", "time": 1, "metrics": {"loss": 1.0}, "step": "x"}',
        '{"kind": "metrics", "time": 1, "metrics": {"loss": "x"}, "step": 1}',
        '{"kind": "status", "time": 1, "status": "odd"}',
        '{"kind": "parbms", "time": 1}',
    ):
        with journal.open("a") as file:
            file.write(line + "\n")
        tracker.log_metrics({"loss": 0.5}, step=len(journal.read_text()))
    tracker.finish("finished")
    assert "a damaged record of metrics" in caplog.text
    assert "6 records were refused" in caplog.text
    (run,) = runs(tracking_uri)
    assert run.info.status == "FINISHED"
    assert len(MlflowClient(tracking_uri).get_metric_history(run.info.run_id, "loss")) == 6


def test_error_ends_the_run_when_the_server_must_answer(tmp_path, tracking_uri):
    tracker = tracker_in(tmp_path, tracking_uri, must_answer=True)
    tracker.log_metrics({"no?name": 0.5}, step=1)
    with pytest.raises(TrackingError, match="refuses metrics"):
        tracker.flush()
    with pytest.raises(TrackingError):
        tracker.log_metrics({"loss": 0.5}, step=2)


def test_finished_run_stays_so_when_going_on_with_it_was_refused(tmp_path, tracking_uri):
    tracker = tracker_in(tmp_path, tracking_uri)
    tracker.finish("finished")
    with pytest.raises(PreflightError):
        tracker_in(tmp_path, NOBODY, run_id=tracker.run_id, must_answer=True)
    replay(tmp_path, uri=tracking_uri)
    (run,) = runs(tracking_uri)
    assert run.info.status == "FINISHED"


@pytest.mark.soak
def test_locked_database_is_waited_for(tmp_path, tracking_uri, monkeypatch):
    senders = []
    send = MlflowRun.send

    def noting(self, entries):
        senders.append(threading.current_thread())
        send(self, entries)

    monkeypatch.setattr(MlflowRun, "send", noting)
    tracker = tracker_in(tmp_path, tracking_uri)
    holder = sqlite3.connect(tracking_uri.removeprefix("sqlite:///"), check_same_thread=False)
    holder.execute("BEGIN EXCLUSIVE")
    tracker.log_metrics({"loss": 0.5}, step=1)
    tracker.flush()
    assert senders  # somebody has waited for the database, but not the run
    assert threading.current_thread() not in senders
    assert Journal(tmp_path / "tracking.jsonl").is_pending
    holder.rollback()
    tracker.finish("finished")
    (run,) = runs(tracking_uri)
    assert run.data.metrics == {"loss": 0.5}


def test_events_are_counted_on_the_server(tmp_path, tracking_uri):
    record(tmp_path, "quarantine", checkpoint="last.ckpt")
    tracker = tracker_in(tmp_path, tracking_uri)
    tracker.log_metrics({"loss": 0.5}, step=1)
    record(tmp_path, "restart", number=1)
    record(tmp_path, "restart", number=2)
    tracker.log_metrics({"loss": 0.5}, step=2)
    tracker.finish("stopped")
    again = tracker_in(tmp_path, tracking_uri, run_id=tracker.run_id)
    record(tmp_path, "restart", number=3)
    again.finish("finished")
    (run,) = runs(tracking_uri)
    assert run.data.metrics["events/quarantine"] == 1
    client = MlflowClient(tracking_uri)
    points = client.get_metric_history(run.info.run_id, "events/restart")
    assert sorted(point.value for point in points) == [1, 2, 3]
    assert json.loads(run.data.tags["event.restart"])["number"] == 3


def test_journal_of_another_run_is_set_aside_and_still_sent(tmp_path, tracking_uri):
    for step in (1, 2):
        tracker = tracker_in(tmp_path, NOBODY)
        tracker.log_metrics({"loss": 0.5}, step=step)
        tracker.finish("failed")
    assert (tmp_path / "tracking.1.jsonl").exists()
    replay(tmp_path, uri=tracking_uri)
    assert len(runs(tracking_uri)) == 2


START = """
import sys, tempfile, time
from pathlib import Path
from trainer.tracking.tracker import MlflowTracker
time.sleep(max(0, float(sys.argv[2]) - time.time()))
folder = Path(tempfile.mkdtemp())
tracker = MlflowTracker(sys.argv[1], folder=folder, experiment="e", run_name="r", tags={})
tracker.finish("finished")
print(tracker.run_id)
"""


@pytest.mark.soak
def test_trackers_share_a_database_that_none_of_them_found(tmp_path):
    uri = f"sqlite:///{tmp_path}/new.db"
    command = [sys.executable, "-c", START, uri, str(time.time() + 8)]
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(3)
    ]
    ids = {run.communicate(timeout=120)[0].strip() for run in runs}
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert len(ids) == 3


def test_tracker_keeps_its_artifacts_beside_a_database_file(tmp_path):
    (tmp_path / "kept").write_text("here")
    tracker = tracker_in(tmp_path, f"sqlite:///{tmp_path}/mlflow.db")
    tracker.log_file(tmp_path / "kept")
    tracker.flush()
    assert list((tmp_path / "mlruns" / "e").rglob("kept"))


def test_tracker_without_a_server_takes_everything(tmp_path):
    tracker = ExperimentTracker()
    tracker.log_params({"a": 1})
    tracker.log_metrics({"loss": 1.0}, step=1)
    tracker.log_tags({"a": "b"})
    tracker.log_file(tmp_path)
    tracker.finish("finished")
    assert len(tracker.run_id) == 32


@pytest.mark.parametrize(
    ("status", "shown"), [("finished", "FINISHED"), ("failed", "FAILED"), ("stopped", "KILLED")]
)
def test_tracker_closes_the_run_as_it_ended(tmp_path, tracking_uri, status, shown):
    tracker = MlflowTracker(
        tracking_uri, folder=tmp_path, experiment="e", run_name="r", tags={"k": "v"}
    )
    tracker.log_metrics({"loss": 0.5}, step=3)
    tracker.finish(status)
    run = MlflowClient(tracking_uri).get_run(tracker.run_id)
    assert run.info.status == shown
    assert run.info.run_name == "r"
    assert run.data.metrics == {"loss": 0.5}
    assert run.data.tags["k"] == "v"


def test_files_that_can_be_stored_nowhere_are_refused_and_all_else_arrives(
    tmp_path, tracking_uri, caplog
):
    (tmp_path / "file").touch()
    client = MlflowClient(tracking_uri)
    client.create_experiment("nowhere", artifact_location=str(tmp_path / "file" / "artifacts"))
    tracker = tracker_in(tmp_path, tracking_uri, experiment="nowhere")
    tracker.log_file(tmp_path / "file")
    tracker.log_metrics({"loss": 0.5}, step=1)
    tracker.finish("finished")
    assert "refuses file" in caplog.text
    (run,) = client.search_runs([client.get_experiment_by_name("nowhere").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["loss"] == 0.5
