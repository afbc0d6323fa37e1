"""A model in a registry of its own, and a server that follows it."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bundle.registry import ModelRegistry
from tests.running_server import RunningServer, running_server
from tests.tiny_bundle import Parts, image_parts

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path

    import httpx

NAME = "digits"
SAMPLE = {"inputs": {"image": [[[100] * 5] * 6] * 3}}
ADMIN_KEY = "a-key-that-may-do-it-all"


@dataclass
class FollowedModel:
    """`digits`, whose version N was made with the seed N."""

    folder: Path
    registry: ModelRegistry

    @classmethod
    def create(cls, folder: Path, empty_registry: Path, *, versions: int) -> FollowedModel:
        database = folder / "mlflow.db"
        shutil.copy(empty_registry, database)
        model = cls(folder, ModelRegistry(f"sqlite:///{database}"))
        for _ in range(versions):
            model.register()
        return model

    @property
    def database(self) -> Path:
        return self.folder / "mlflow.db"

    def register(self, parts: Parts | None = None) -> int:
        """The number of a new version."""
        path = self.folder / f"bundle-{len(list(self.folder.glob('bundle-*')))}"
        (parts or image_parts(seed=len(path.name))).write(path)
        return self.registry.register(path).number

    def artifacts(self, number: int) -> Path:
        """Where the registry keeps the files of the version."""
        from pathlib import Path

        return Path(self.registry.get(NAME, number).source.removeprefix("file://"))

    @property
    def environment(self) -> dict[str, str]:
        return {
            "MLFLOW_TRACKING_URI": self.registry.uri,
            "TRAINYARD_CACHE": str(self.folder / "cache"),
        }

    def serve(
        self,
        *arguments: str,
        uri: str = f"models:/{NAME}",
        admin: bool = False,
        environment: dict[str, str] | None = None,
    ) -> AbstractContextManager[RunningServer]:
        """A server that asks the registry twice a second unless `arguments` say otherwise."""
        keys = {"TRAINYARD_API_KEYS": f"boss:predict+metrics+admin:{ADMIN_KEY}"} if admin else {}
        return running_server(
            *("--model", uri, "--threads", "1", "--poll-seconds", "0.5", *arguments),
            folder=self.folder,
            environment=self.environment | keys | (environment or {}),
        )


def ask(client: httpx.Client, **options: Any) -> httpx.Response:
    """A prediction; options are fields of the body, but for `headers`."""
    headers = options.pop("headers", {})
    return client.post("/predict", json={**SAMPLE, **options}, headers=headers)


def version(client: httpx.Client, **options: Any) -> str:
    """Which version answers."""
    response = ask(client, **options)
    assert response.status_code == 200, response.text
    assert response.json()["version"] == response.headers["X-Model-Version"]
    return response.headers["X-Model-Version"]


def versions(client: httpx.Client, keys: Iterable[object]) -> Counter[str]:
    """How many of the keys each version answers."""
    return Counter(version(client, key=str(key)) for key in keys)


def index(client: httpx.Client) -> dict[str, tuple[str, str]]:
    """State and reason by version."""
    return {
        entry["version"]: (entry["state"], entry["reason"])
        for entry in client.post("/v2/repository/index").json()
    }


def events(server: RunningServer, event: str) -> list[dict[str, Any]]:
    """The lines of the log that say this."""
    lines = [line for line in server.log.splitlines() if line.startswith("{")]
    return [found for line in lines if (found := json.loads(line))["event"] == event]


def watcher_pid(server: RunningServer) -> int:
    """Of the process that asks the registry; 0 until it is ready."""
    ready = [e["pid"] for e in events(server, "process ready") if e["process"] == "watcher-0"]
    return ready[-1] if ready else 0
