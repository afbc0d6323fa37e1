from __future__ import annotations

import errno
import os

import mlflow.artifacts
import pytest
from mlflow.exceptions import MlflowException

from bundle.cache import CACHE_VARIABLE, caching
from bundle.errors import BundleError, IntegrityError
from bundle.registry.artifacts import download

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
OF_MLFLOW = MlflowException(
    "The following failures occurred while downloading one or more artifacts from /mlruns/1/a:\n"
    "##### File bundle/golden.json #####\n[Errno 28] No space left on device: '/mlruns/1/a/golden'"
)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "models" / "digits"


@pytest.mark.parametrize(
    "error",
    [FULL, OSError(errno.EDQUOT, "Disk quota exceeded"), OF_MLFLOW],
)
def test_full_cache_is_named_whoever_tells_it(error, target):
    with pytest.raises(BundleError) as found, caching(target):
        raise error

    assert str(found.value) == f"the cache {target.parent} is full"
    assert found.value.field == CACHE_VARIABLE
    assert "make room" in found.value.remedy


def test_full_cache_is_no_fault_of_the_bundles_storage(target, monkeypatch):
    def fail(**arguments):
        raise OF_MLFLOW

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", fail)

    with pytest.raises(BundleError, match="is full"):
        download("/mlruns/1/a", target, manifest_sha256="0", tracking_uri="sqlite:///x.db")

    assert list(target.parent.iterdir()) == []


def test_cache_that_is_no_folder_is_named(target):
    target.parents[1].touch()

    with (
        pytest.raises(BundleError, match="cannot be written: Not a directory") as found,
        caching(target),
    ):
        raise AssertionError("nothing is fetched")

    assert found.value.field == CACHE_VARIABLE


@pytest.mark.parametrize(
    "error", [MlflowException("[Errno 13] Permission denied: '/mlruns'"), KeyError("x")]
)
def test_what_the_cache_is_not_to_blame_for_stays_what_it_is(error, target):
    with pytest.raises(type(error)), caching(target):
        raise error


def test_reason_names_the_target_where_the_hidden_folder_was_read(target):
    with pytest.raises(IntegrityError) as found, caching(target) as folder:
        raise IntegrityError(f"{folder / 'labels'} is missing", field="labels")

    assert str(found.value) == f"{target / 'labels'} is missing"
    assert found.value.field == "labels"
