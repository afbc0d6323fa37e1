"""TorchServe with its batches. Needs Java 17."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.servers.port import free_port
from benchmarks.servers.subject import Order, Subject

MODEL = "subject"
_subjects: list[Subject] = []


def handle(data: list[dict[str, Any]] | None, context: Any) -> list[list[float]] | None:  # noqa: ARG001
    """What a worker of TorchServe calls: without data when it starts, then with each batch."""
    if not _subjects:
        _subjects.append(Subject.load(Order.read()))
    return None if data is None else _subjects[0].answer([request["body"] for request in data])


def main() -> None:
    """Serve what the environment says, from an archive and settings in this folder."""
    order = Order.read()
    tools = Path(sys.executable).parent
    subprocess.run(
        [
            str(tools / "torch-model-archiver"), "--model-name", MODEL, "--version", "1.0",
            "--handler", __file__, "--export-path", ".", "--force",
        ],
        check=True,
    )  # fmt: skip
    model = {
        "defaultVersion": True, "marName": f"{MODEL}.mar", "minWorkers": 1, "maxWorkers": 1,
        "batchSize": order.batch_size, "maxBatchDelay": round(order.delay_ms),
        "responseTimeout": 120,
    }  # fmt: skip
    settings = {
        "inference_address": f"http://127.0.0.1:{order.port}",
        "management_address": f"http://127.0.0.1:{free_port()}",
        "metrics_address": f"http://127.0.0.1:{free_port()}",
        "grpc_inference_port": free_port(),
        "grpc_management_port": free_port(),
        "model_store": str(Path.cwd()),
        "models": json.dumps({MODEL: {"1.0": model}}),
        "load_models": f"{MODEL}.mar",
        "job_queue_size": 1024,
        "disable_token_authorization": "true",
        "install_py_dep_per_model": "false",
    }
    lines = [f"{key}={value}\n" for key, value in settings.items()]
    Path("config.properties").write_text("".join(lines), encoding="utf-8")
    log = Path("log4j2.xml")
    log.write_text(QUIET, encoding="utf-8")
    os.environ["PATH"] = f"{tools}{os.pathsep}{os.environ['PATH']}"
    command = str(tools / "torchserve")
    options = ["--start", "--foreground", "--ts-config", "config.properties", "--log-config"]
    os.execv(command, [command, *options, str(log)])  # noqa: S606 - its own command


QUIET = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration><Appenders><Console name="console" target="SYSTEM_OUT"/></Appenders>
<Loggers><Root level="error"><AppenderRef ref="console"/></Root></Loggers></Configuration>
"""


if __name__ == "__main__":
    main()
