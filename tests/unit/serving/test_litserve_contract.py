"""Every name of LitServe that we override or call, so that an upgrade fails here first."""

from __future__ import annotations

import inspect
from importlib.metadata import version

import litserve
import pytest
from fastapi import FastAPI
from litserve.callbacks import CallbackRunner
from litserve.loops import LitLoop, inference_worker

from serving.loop import EngineLoop
from serving.server import TrainyardServer
from serving.settings import Settings
from serving.worker import ModelsAPI


@pytest.fixture
def server(tmp_path) -> TrainyardServer:
    return TrainyardServer(Settings(workers=2), directory=tmp_path)


def test_litserve_is_the_version_that_this_was_written_for():
    assert version("litserve") == "0.2.19"


@pytest.mark.parametrize("name", ["register_endpoints", "_register_middleware", "lifespan"])
def test_server_overrides_methods_that_litserve_has_and_calls(name):
    assert inspect.signature(getattr(litserve.LitServer, name)).parameters.keys() == (
        inspect.signature(getattr(TrainyardServer, name)).parameters.keys()
    )
    own = inspect.getsource(litserve.LitServer.__init__)
    assert f"self.{name}" in own


def test_litserve_builds_an_application_without_paths_of_its_own(server):
    assert isinstance(server.app, FastAPI)
    assert server.app.openapi_url == ""
    assert [route.path for route in server.app.routes if hasattr(route, "methods")] == []
    assert server.app.user_middleware == []


def test_litserve_lists_a_device_for_each_worker(server):
    devices = server._inference_workers_config_for_api(server.lit_api.api_path)
    assert devices == ["cpu", "cpu"]


def test_litserve_starts_a_worker_by_setup_and_then_its_loop():
    class ToldError(Exception):
        pass

    class Loop(LitLoop):
        def run(self, lit_api, *arguments):
            raise ToldError(lit_api.seen, *arguments[:4])

    class API(litserve.LitAPI):
        def setup(self, device):
            self.seen = device

    api = API(loop=Loop())
    with pytest.raises(ToldError) as told:
        inference_worker(
            api,
            "cpu",
            1,
            request_queue="queue",
            transport="port",
            workers_setup_status={},
            callback_runner=CallbackRunner(),
            restart_workers=True,
        )
    assert told.value.args == ("cpu", "cpu", 1, "queue", "port")


def test_litserve_passes_a_loop_what_ours_takes():
    ours = inspect.signature(EngineLoop.run).parameters
    assert ours.keys() == inspect.signature(LitLoop.run).parameters.keys()


def test_litserve_keeps_the_loop_that_an_api_is_given():
    api = ModelsAPI(Settings())
    assert isinstance(api.loop, EngineLoop)
    assert api.stream is False
    assert api.spec is None


def test_litserve_lets_an_exit_from_setup_through():
    class API(litserve.LitAPI):
        def setup(self, device):
            raise SystemExit(3)

    with pytest.raises(SystemExit):
        inference_worker(API(), "cpu", 0, None, None, {}, CallbackRunner(), True)
