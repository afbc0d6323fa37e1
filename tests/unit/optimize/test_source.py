from __future__ import annotations

import hashlib

import pytest
from mlflow.tracking import MlflowClient

from bundle.errors import NotFoundError, RegistryError
from bundle.registry import ModelRegistry
from optimize.errors import SourceError
from optimize.source import locate
from tests.tiny_bundle import image_parts


@pytest.fixture
def client(tracking_uri, tmp_path) -> MlflowClient:
    client = MlflowClient(tracking_uri)
    client.create_experiment("trainyard", artifact_location=str(tmp_path / "artifacts"))
    return client


def make_run(client, folder, *names, status="FINISHED", end_time=1000, content=b"weights") -> str:
    """A run with these files among its checkpoints."""
    experiment = client.get_experiment_by_name("trainyard").experiment_id
    run_id = client.create_run(experiment).info.run_id
    for name in names:
        for file in (folder / name, folder / f"{name}.json"):
            file.write_bytes(content)
            client.log_artifact(run_id, str(file), "checkpoints")
    client.set_terminated(run_id, status=status, end_time=end_time)
    return run_id


def find(workspace, *, checkpoint=None, run=None, version=None):
    workspace.mkdir(exist_ok=True)
    return locate(
        checkpoint=checkpoint, run=run, version=version, tracking_uri=None, workspace=workspace
    )


def test_checkpoint_is_the_file_itself(tmp_path):
    file = tmp_path / "best.ckpt"
    file.touch()
    assert find(tmp_path, checkpoint=str(file)) == file


def test_run_gives_its_best_checkpoint_and_the_sidecar_beside_it(client, tmp_path):
    run_id = make_run(client, tmp_path, "best.ckpt", "last.ckpt")
    found = find(tmp_path / "work", run=run_id)
    assert found.name == "best.ckpt"
    assert found.read_bytes() == b"weights"
    assert found.with_name("best.ckpt.json").is_file()


def test_run_gives_its_last_checkpoint_when_it_has_no_best_one(client, tmp_path):
    run_id = make_run(client, tmp_path, "last.ckpt")
    assert find(tmp_path / "work", run=run_id).name == "last.ckpt"


def test_unfinished_run_is_taken_when_it_is_named(client, tmp_path):
    run_id = make_run(client, tmp_path, "best.ckpt", status="FAILED")
    assert find(tmp_path / "work", run=run_id).is_file()


@pytest.mark.parametrize("run", [None, "latest"])
def test_latest_run_is_the_one_that_finished_last_with_a_checkpoint(run, client, tmp_path):
    make_run(client, tmp_path, "best.ckpt", end_time=3000, content=b"newest")
    make_run(client, tmp_path, "best.ckpt", end_time=2000, content=b"older")
    make_run(client, tmp_path, end_time=4000)
    make_run(client, tmp_path, "best.ckpt", end_time=5000, status="FAILED", content=b"failed")
    deleted = make_run(client, tmp_path, "best.ckpt", end_time=6000, content=b"deleted")
    client.delete_run(deleted)
    assert find(tmp_path / "work", run=run).read_bytes() == b"newest"


def test_source_is_refused_when_both_ways_are_given(tmp_path):
    with pytest.raises(SourceError, match="checkpoint=a and run=b were both given"):
        find(tmp_path, checkpoint="a", run="b")


@pytest.mark.parametrize("url", ["http://host/best.ckpt", "s3://bucket/best.ckpt"])
def test_source_is_refused_when_it_is_a_url(url, tmp_path):
    with pytest.raises(SourceError, match="is a URL") as caught:
        find(tmp_path, checkpoint=url)
    assert "download" in caught.value.remedy


def test_source_is_refused_when_the_file_is_missing(tmp_path):
    with pytest.raises(SourceError, match="there is no such file"):
        find(tmp_path, checkpoint=str(tmp_path / "none.ckpt"))


def test_source_is_refused_when_it_is_a_folder_and_a_file_in_it_is_proposed(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(SourceError, match="is a folder") as caught:
        find(tmp_path, checkpoint=str(tmp_path))
    assert caught.value.remedy.endswith("checkpoints/last.ckpt")


def test_source_is_refused_when_the_run_is_unknown(client, tmp_path):
    with pytest.raises(SourceError, match="run=abc: there is no such run in sqlite:///"):
        find(tmp_path, run="abc")


@pytest.mark.parametrize("run", ["", " ", "../../x", "a/b"])
def test_source_is_refused_when_the_run_can_be_none(run, client, tmp_path):
    with pytest.raises(SourceError, match="there is no such run in sqlite:///"):
        find(tmp_path, run=run)


def test_source_is_refused_in_its_own_words_when_it_is_empty_or_no_plain_file(tmp_path):
    with pytest.raises(SourceError, match="checkpoint is empty"):
        find(tmp_path, checkpoint="")
    with pytest.raises(SourceError, match="checkpoint=/dev/zero: it is not a plain file"):
        find(tmp_path, checkpoint="/dev/zero")


def test_source_is_refused_when_the_run_has_no_checkpoint(client, tmp_path):
    run_id = make_run(client, tmp_path)
    with pytest.raises(SourceError, match=f"run={run_id} has no artifact checkpoints/best.ckpt"):
        find(tmp_path, run=run_id)


def test_source_is_refused_when_no_run_has_a_checkpoint(client, tmp_path):
    make_run(client, tmp_path)
    with pytest.raises(SourceError, match="no finished run"):
        find(tmp_path, run="latest")


def test_source_is_refused_when_there_are_no_runs_yet(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(SourceError, match="there are no runs yet") as caught:
        find(tmp_path, run="latest")
    assert "run train.py first" in caught.value.remedy
    assert not (tmp_path / "mlflow.db").exists()


def test_source_is_refused_when_the_server_cannot_be_reached(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(RegistryError, match="cannot be reached"):
        find(tmp_path, run="latest")


def register(folder, run_id, *, content=b"weights") -> None:
    """Version 1 of "digits", made of a checkpoint of this content out of the run."""
    origin = {"run_id": run_id, "sha256": hashlib.sha256(content).hexdigest()}
    bundle = image_parts(checkpoint=origin).write(folder / "bundle")
    ModelRegistry().register(bundle.path, run_id=run_id)


@pytest.mark.parametrize(
    "version", ["digits/1", "models:/digits/1", "digits@champion", "models:/digits@candidate"]
)
def test_version_leads_to_the_checkpoint_of_its_training_run(version, client, tmp_path):
    run_id = make_run(client, tmp_path, "best.ckpt", "last.ckpt")
    register(tmp_path, run_id)
    found = find(tmp_path / "work", version=version)
    assert (found.name, found.read_bytes()) == ("best.ckpt", b"weights")
    assert found.with_name("best.ckpt.json").is_file()


def test_version_is_refused_when_its_run_has_other_checkpoints_by_now(client, tmp_path):
    run_id = make_run(client, tmp_path, "best.ckpt")
    register(tmp_path, run_id, content=b"of another day")
    with pytest.raises(SourceError, match="the checkpoint that it was made of is not among"):
        find(tmp_path / "work", version="digits/1")


@pytest.mark.parametrize("version", ["digits", "digits@", "models:/digits/one", "a/b/1"])
def test_version_is_refused_when_it_names_none(version, client, tmp_path):
    with pytest.raises(SourceError, match="does not name a version in the registry"):
        find(tmp_path / "work", version=version)


def test_version_is_refused_when_it_does_not_exist(client, tmp_path):
    with pytest.raises(NotFoundError, match="there is no model 'digits'"):
        find(tmp_path / "work", version="digits/1")
