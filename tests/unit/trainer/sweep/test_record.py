"""The sweep's own run on the tracking server, which may be away."""

from __future__ import annotations

import pytest
from mlflow import MlflowClient

from trainer.compose import compose
from trainer.errors import PreflightError
from trainer.schema import register_schemas
from trainer.sweep.record import PARENT_TAG, SweepRecord

NOBODY = "http://127.0.0.1:1"


def record_on(uri, run_id=None, *overrides):
    tracking = ["tracking=mlflow", f"tracking.uri={uri}", *overrides]
    cfg = compose("train", tracking, schemas=register_schemas)
    return SweepRecord(cfg, name="sweep", run_id=run_id, tags={})


@pytest.mark.parametrize("run_id", [None, "a1b2"], ids=["begins", "goes-on"])
def test_sweep_runs_without_a_server_unless_it_must_be_there(run_id, caplog):
    record = record_on(NOBODY, run_id)
    assert "cannot be reached" in caplog.text
    parent = record.trial_tags(sweep="s", number=0).get(PARENT_TAG)
    assert parent == run_id
    record.finish("finished", files=[])
    with pytest.raises(PreflightError, match="cannot be reached") as caught:
        record_on(NOBODY, run_id, "tracking.when_away=fail")
    assert "when_away=spool" in caught.value.remedy


def test_sweep_that_went_on_without_a_server_ends_its_run_when_it_is_back(tracking_uri):
    run_id = record_on(tracking_uri).run_id
    record = record_on(NOBODY, run_id)
    record._uri = tracking_uri
    record.finish("finished", files=[])
    assert MlflowClient(tracking_uri).get_run(run_id).info.status == "FINISHED"


def test_sweep_is_refused_when_the_server_does_not_know_its_run(tracking_uri):
    with pytest.raises(PreflightError, match="the sweep's run a1b2 cannot go on") as caught:
        record_on(tracking_uri, "a1b2")
    assert "hydra.sweep.dir" in caught.value.remedy
