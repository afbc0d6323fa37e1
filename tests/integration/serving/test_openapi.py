"""The OpenAPI document says what the server does: Schemathesis tries to prove otherwise."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from serving.routes.open_inference import UNSUPPORTED_PATHS
from tests.running_server import running_server
from tests.served_bundles import negative_onnx

KEY = "a-key-for-the-robot"
ROOT = Path(__file__).resolve().parents[3]
CHECKS = """
[checks.negative_data_rejection]
# 413 is Schemathesis's own word for bodies, not for too many instances.
expected-statuses = ["400", "401", "403", "404", "405", "413", "415"]
"""


@pytest.fixture(scope="module")
def server(bundles, tmp_path_factory):
    with running_server(
        *("--model", str(bundles / "image"), "--model", str(bundles / "text")),
        *("--model", str(bundles / "double.onnx"), "--threads", "1", "--batch-delay-ms", "0"),
        folder=tmp_path_factory.mktemp("server"),
    ) as server:
        yield server


def test_the_document_lists_what_the_server_answers(client):
    document = client.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    paths = document["paths"]
    assert {"/predict", "/predict/batch", "/health", "/metrics", "/openapi.json"} <= paths.keys()
    assert "/v2/models/shades/infer" in paths
    hidden = {path for path, _ in UNSUPPORTED_PATHS}
    assert not hidden & paths.keys()
    assert "securitySchemes" not in document["components"]
    for path, operations in paths.items():
        for method, operation in operations.items():
            address = re.sub(r"{model}", "moods", path).replace("{version}", "0")
            response = client.request(method, address)
            assert response.status_code not in {405, 500}, path
            if response.status_code not in {200, 404}:
                assert str(response.status_code) in operation["responses"], (path, method)
            assert response.headers["x-request-id"]


def test_the_document_has_the_shapes_of_each_model(client):
    paths = client.get("/openapi.json").json()["paths"]
    content = paths["/predict"]["post"]["requestBody"]["content"]
    assert set(content) == {
        "application/json", "multipart/form-data", "image/png", "image/jpeg", "text/plain",
    }  # fmt: skip
    bodies = content["application/json"]["schema"]["anyOf"]
    [double] = [b for b in bodies if b["properties"]["model"]["enum"] == ["double"]]
    row = double["properties"]["inputs"]["properties"]["x"]
    assert (row["minItems"], row["maxItems"], row["items"]["type"]) == (4, 4, "number")
    assert double["required"] == ["inputs", "model"]
    assert not double["additionalProperties"]
    [shades] = [b for b in bodies if "image" in b["properties"]]
    assert shades["required"] == ["image"], "the first model answers what names none"
    infer = paths["/v2/models/double/infer"]["post"]["requestBody"]["content"]
    entry = infer["application/json"]["schema"]["properties"]["inputs"]["items"]["properties"]
    assert entry["shape"]["prefixItems"] == [{"type": "integer", "minimum": 1}, {"const": 4}]


@pytest.mark.slow
@pytest.mark.parametrize(
    "keyed", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["open", "with keys"]
)
def test_schemathesis_finds_nothing(tmp_path, keyed):
    (tmp_path / "negative.onnx").write_bytes(negative_onnx())
    (tmp_path / "schemathesis.toml").write_text(CHECKS)
    keys = {"TRAINYARD_API_KEYS": f"robot:predict+metrics:{KEY}"} if keyed else {}
    model = str(tmp_path / "negative.onnx")
    with running_server(
        *("--model", model, "--threads", "1", "--batch-delay-ms", "0"),
        folder=tmp_path,
        environment=keys,
    ) as server:
        url = f"{server.url}/openapi.json"
        assert httpx.get(url, verify=False).status_code == (401 if keyed else 200)
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "schemathesis"), "run", url, "--no-color",
                *("--seed", "1", "--max-examples", "8", "--continue-on-failure"),
                *("--phases", "examples,coverage,fuzzing"),
                *(("-H", f"Authorization: Bearer {KEY}") if keyed else ()),
            ],
            env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.schemathesis_hooks",
                 "PYTHONPATH": str(ROOT)},
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr
        assert re.search(r"Tested: 3\d", done.stdout), done.stdout[-3000:]
        assert "Traceback" not in server.log
