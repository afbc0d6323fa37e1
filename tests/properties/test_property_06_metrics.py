"""Property 6: every metric that a run computes is on the tracking server, value and step."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient

from trainer.compose import compose
from trainer.metrics.metric import read_metrics
from trainer.run import train
from trainer.schema import register_schemas
from trainer.tracking.tracker import MlflowTracker

NAMES = {"train/loss", "train/accuracy", "lr", "val/loss", "val/accuracy", "val/f1"}
NAMES |= {"test/loss", "test/accuracy", "test/f1"}


def _history(uri: str, run_id: str, names: set[str]) -> dict[str, list[tuple[int, float]]]:
    client = MlflowClient(uri)
    return {
        name: sorted((point.step, point.value) for point in client.get_metric_history(run_id, name))
        for name in names
    }


def test_property_06_server_and_file_agree_on_every_value(tracking_uri, tmp_path):
    overrides = [
        "data=digits",
        "data.batch_size=64",
        "model=mlp",
        "trainer.max_epochs=3",
        "trainer.log_every=5",
    ]
    quiet = ["trainer.progress=none", "trainer.threads=1"]
    cfg = compose("train", [*overrides, *quiet], schemas=register_schemas)
    metrics = train(cfg, folder=tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())

    own = _rows(tmp_path / "run" / "metrics.csv")
    assert set(own) == NAMES
    measured = _rows(tmp_path / "run" / "performance.csv")
    assert set(measured) > {"time/step", "throughput/samples", "time/epoch"}
    assert not set(measured) & NAMES
    server = MlflowClient(tracking_uri).get_run(summary["run_id"]).data.metrics
    assert set(server) == set(own) | set(measured)
    assert _history(tracking_uri, summary["run_id"], set(server)) == {
        k: sorted(v) for k, v in (own | measured).items()
    }

    every_five = [*range(5, 67, 5)]
    ends = [22, 44, 66]
    assert [step for step, _ in own["train/loss"]] == sorted({*every_five, *ends})
    assert [step for step, _ in own["val/accuracy"]] == ends
    assert own["test/accuracy"] == [(66, metrics["test/accuracy"])]
    assert summary["metrics"] == metrics


def _rows(path: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for row in read_metrics(path):
        found[row.name].append((row.step, row.value))
    return dict(found)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    values=st.lists(
        st.tuples(
            st.sampled_from(["a", "b/c", "d e"]),
            st.floats(-1e300, 1e300),
            st.integers(0, 10**9),
        ),
        unique_by=lambda point: (point[0], point[2]),
        max_size=30,
    )
)
def test_property_06_any_value_arrives(tracking_uri, tmp_path, values):
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    tracker = MlflowTracker(tracking_uri, folder=folder, experiment="e", run_name="r", tags={})
    for name, value, step in values:
        tracker.log_metrics({name: value}, step=step)
    tracker.finish("finished")
    found = _history(tracking_uri, tracker.run_id, {name for name, _, _ in values})
    for name, points in found.items():
        assert points == sorted((step, value) for other, value, step in values if other == name)


@pytest.mark.parametrize("count", [999, 1000, 2345])
def test_property_06_many_values_arrive_in_batches(tracking_uri, tmp_path, count):
    tracker = MlflowTracker(tracking_uri, folder=tmp_path, experiment="e", run_name="r", tags={})
    for step in range(count):
        tracker.log_metrics({"loss": step / 7}, step=step)
    tracker.flush()
    found = _history(tracking_uri, tracker.run_id, {"loss"})["loss"]
    assert found == [(step, step / 7) for step in range(count)]


def test_property_06_a_failed_run_keeps_what_it_had(tracking_uri, tmp_path):
    overrides = ["data=digits", "model=mlp", "optim=sgd", "optim.lr=1e30", "trainer.log_every=1"]
    quiet = ["trainer.progress=none", "trainer.gradient_clip=null", "trainer.threads=1"]
    cfg = compose("train", [*overrides, *quiet], schemas=register_schemas)
    with pytest.raises(Exception, match="no longer a number"):
        train(cfg, folder=tmp_path / "run")
    run_id = json.loads((tmp_path / "run" / "summary.json").read_text())["run_id"]
    run = MlflowClient(tracking_uri).get_run(run_id)
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert run.info.status == "FAILED"
    assert rows
    measured = read_metrics(tmp_path / "run" / "performance.csv")
    assert {row.name for row in [*rows, *measured]} | {"events/failure"} == set(run.data.metrics)
