"""The registry is looked at before the work, and a version is made once."""

from __future__ import annotations

import contextlib
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from bundle.errors import RegistryError
from bundle.registry import ModelRegistry, store
from bundle.registry.store import MlflowStore
from optimize.progress import StageProgress
from optimize.publication import record, register
from tests.tiny_bundle import image_parts


def test_registry_that_does_not_exist_yet_is_fine_and_stays_so(tmp_path):
    MlflowStore(f"sqlite:///{tmp_path}/mlflow.db").check_writable()
    assert list(tmp_path.iterdir()) == []


def test_empty_file_is_no_registry_yet_and_becomes_one(tmp_path, tracking_uri):
    bundle = image_parts().write(tmp_path / "bundle")
    file = tmp_path / "empty.db"
    file.touch()
    uri = f"sqlite:///{file}"
    MlflowStore(uri).check_writable()
    assert file.stat().st_size == 0
    progress = StageProgress()
    version = register(bundle, name="digits", run_id=None, tracking_uri=uri, progress=progress)
    assert version.number == 1


def test_registry_is_refused_when_its_folder_is_missing(tmp_path):
    with pytest.raises(RegistryError, match=r"the folder of the registry .* does not exist"):
        MlflowStore(f"sqlite:///{tmp_path}/none/mlflow.db").check_writable()


def test_registry_is_refused_when_its_file_is_no_database(tmp_path):
    (tmp_path / "mlflow.db").write_text("thesis")
    with pytest.raises(RegistryError, match="is not a sqlite database"):
        MlflowStore(f"sqlite:///{tmp_path}/mlflow.db").check_writable()


def test_registry_is_refused_in_plain_words_when_another_process_holds_it(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "LOCK_SECONDS", 0.01)
    file = tmp_path / "mlflow.db"
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("CREATE TABLE t (x)")
        MlflowStore(f"sqlite:///{file}").check_writable()
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(RegistryError, match=r"is locked by another process$") as caught:
            MlflowStore(f"sqlite:///{file}").check_writable()
    assert "run the same command again" in caught.value.remedy


def test_bundle_that_has_a_version_gets_no_second_one_and_another_bundle_does(
    tmp_path, tracking_uri
):
    def version(bundle) -> int:
        return register(
            bundle, name="digits", run_id=None, tracking_uri=None, progress=StageProgress()
        ).number

    first = image_parts().write(tmp_path / "first")
    second = image_parts(checkpoint={"sha256": "1"}).write(tmp_path / "second")
    assert [version(each) for each in (first, first, second, first)] == [1, 1, 2, 1]


def test_exports_of_one_bundle_at_the_same_time_make_one_version(tmp_path, tracking_uri):
    bundle = image_parts().write(tmp_path / "bundle")

    def version(_: int) -> int:
        return register(
            bundle, name="digits", run_id=None, tracking_uri=None, progress=StageProgress()
        ).number

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(version, range(4))) == {1}
    assert len(ModelRegistry().versions("digits")) == 1


def test_notice_is_given_when_a_registered_version_cannot_be_recorded(
    tmp_path, tracking_uri, monkeypatch, capfd
):
    version = ModelRegistry().register(image_parts().write(tmp_path / "b").path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/gone.db")
    with pytest.raises(RegistryError):
        record(version, {}, [], tracking_uri=None, progress=StageProgress())
    assert "version 1 of digits is registered, but" in capfd.readouterr().err
