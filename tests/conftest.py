"""Fixtures that more than one room uses, and who shares a process."""

from __future__ import annotations

import gc
import shutil
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from hypothesis import settings

from tests.session_folder import session_folder
from tests.sharing import Sharing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx
    from xdist.remote import Producer

    from tests.running_server import RunningServer

settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables, made once a session: the migrations take seconds."""
    shared = session_folder(tmp_path_factory) / "empty-mlflow.db"
    with FileLock(f"{shared}.lock"):
        if not shared.exists():
            from mlflow.tracking import MlflowClient  # takes seconds, and few tests need it

            building = shared.with_suffix(".building")
            MlflowClient(f"sqlite:///{building}").search_experiments()
            building.rename(shared)
    return shared


@pytest.fixture
def tracking_uri(empty_registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh MLflow of the test's own, also set as MLFLOW_TRACKING_URI."""
    database = tmp_path / "mlflow.db"
    shutil.copy(empty_registry, database)
    uri = f"sqlite:///{database}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """image, text: folders; double.onnx, log.onnx, slow.onnx: bare files."""
    from tests import served_bundles as made  # needs onnx, and few tests need it

    folder = tmp_path_factory.mktemp("bundles")
    made.image_bundle(folder / "image")
    made.text_bundle(folder / "text")
    (folder / "double.onnx").write_bytes(made.double_onnx())
    (folder / "log.onnx").write_bytes(made.logarithm_onnx())
    (folder / "slow.onnx").write_bytes(made.slow_onnx())
    return folder


@pytest.fixture(scope="module", autouse=True)
def _settled() -> None:
    """What earlier files have loaded is not searched for garbage again: that takes a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def client(server: RunningServer) -> Iterator[httpx.Client]:
    """Of the module's `server`."""
    with server.client() as client:
        yield client


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Sharing:
    return Sharing(config, log)
