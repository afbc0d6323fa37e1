"""Prometheus, Alertmanager and MLflow's database, all real, around a server under load.

What cannot happen here is put in by hand: a GPU (a stand-in for NVIDIA's module in the server,
and its metrics in a run on MLflow), and a run that was killed while it trained.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
import yaml
from mlflow.tracking import MlflowClient

from deploy.monitoring.dashboards.__main__ import FOLDER
from tests.deploy.nvml_stand_in import write_pynvml
from tests.deploy.process import postgresql, program, running
from tests.deploy.prometheus import Prometheus, prometheus, sides
from tests.deploy.test_monitoring import MONITORING, rules
from tests.deploy.webhook import Webhook, webhook
from tests.followed_model import NAME, FollowedModel, ask, events
from tests.integration.serving.test_rollback import slow_parts
from tests.mlflow_server import free_port
from tests.running_server import ROOT, RunningServer, eventually, running_server
from tests.tiny_bundle import pictures
from tests.training_run import TrainingRun

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

pytestmark = [
    pytest.mark.deploy,
    pytest.mark.slow,
    pytest.mark.timeout(900),
]

PATIENCE = 90.0
CLIENTS = 12
TOKEN = "what-the-receiver-knows"
ADAPTER = ROOT / "deploy" / "kubernetes" / "prometheus-adapter"
DASHBOARDS = sorted(FOLDER.glob("*.json"))


@dataclass
class Monitored:
    """Everything that runs."""

    server: RunningServer
    prometheus: Prometheus
    database: str
    received: Webhook


@pytest.fixture(scope="module")
def monitored(tmp_path_factory, empty_registry) -> Iterator[Monitored]:
    for name in ("prometheus", "prometheus-alertmanager", "prometheus-postgres-exporter"):
        program(name, name)
    folder = tmp_path_factory.mktemp
    with ExitStack() as stack:
        start = stack.enter_context
        database = start(postgresql("mlflow"))
        train(database, folder("training"))
        server = start(serving(folder("server"), empty_registry))
        received = start(webhook())
        targets = {
            "trainyard": urlsplit(server.url).netloc,
            "training": start(exporter(folder("exporter"), database)),
            "alertmanager": start(alertmanager(folder("alertmanager"), received)),
        }
        watching = start(prometheus(folder("prometheus"), targets=targets))
        start(load(server))
        kill_worker(server)
        yield Monitored(server, watching, database, received)


def train(database: str, folder: Path) -> None:
    """A run that was started twice, one that says it runs and does not, two that ended badly."""
    options = ("tracking=mlflow", f"tracking.uri={database}", "tracking.log_checkpoint=false")
    for epochs in (1, 2):
        length = f"trainer.max_epochs={epochs}"
        TrainingRun(folder / "run", *options, length, "trainer.peak_tflops=1").finish()
    client = MlflowClient(database)
    experiment = client.get_experiment_by_name("trainyard").experiment_id
    run = client.create_run(experiment, run_name="killed").info.run_id
    for metric in ("memory_usage_megabytes", "utilization_percentage"):
        client.log_metric(run, f"system/gpu_0_{metric}", 40.0)
    for status in ("FAILED", "KILLED"):
        client.set_terminated(client.create_run(experiment).info.run_id, status)


def serving(folder: Path, empty_registry: Path) -> AbstractContextManager[RunningServer]:
    """A model whose second version is so slow that it will be rolled back, and a small queue."""
    model = FollowedModel.create(folder, empty_registry, versions=1)
    model.registry.split(NAME, {1: 50, model.register(slow_parts(400)): 50})
    path = [write_pynvml(folder / "stand-in"), os.environ.get("PYTHONPATH", "")]
    return running_server(
        *("--model", f"models:/{NAME}", "--threads", "1", "--poll-seconds", "0.5"),
        *("--api-processes", "1", "--batch-size", "2", "--cache-mb", "1"),
        *("--queue-size", "8", "--max-batch-instances", "8"),
        folder=folder,
        environment=model.environment | {"PYTHONPATH": ":".join(filter(None, path))},
    )


def kill_worker(server: RunningServer) -> None:
    """The one that computes; another takes its place."""
    [pid] = [e["pid"] for e in events(server, "process ready") if e["process"] == "worker-0"]
    os.kill(pid, signal.SIGKILL)


@contextmanager
def exporter(folder: Path, database: str) -> Iterator[str]:
    """postgres_exporter with our queries; HOST:PORT."""
    address = f"127.0.0.1:{free_port()}"
    command = [
        program("prometheus-postgres-exporter", "prometheus-postgres-exporter"),
        "--disable-default-metrics",
        "--disable-settings-metrics",
        f"--extend.query-path={MONITORING / 'postgres-exporter' / 'queries.yaml'}",
        f"--web.listen-address={address}",
    ]
    environment = {"DATA_SOURCE_NAME": f"{database}?sslmode=disable"}
    with running(
        command, ready=f"http://{address}/metrics", folder=folder, environment=environment
    ):
        yield address


@contextmanager
def alertmanager(folder: Path, received: Webhook) -> Iterator[str]:
    """With our configuration, that receiver and no patience; HOST:PORT."""
    text = (MONITORING / "alertmanager" / "alertmanager.yml").read_text()
    text, receivers = re.subn(r"url: http://\S+", f"url: {received.url}", text)
    text, waits = re.subn(r"group_wait: \w+", "group_wait: 0s", text)
    assert (receivers, waits) == (1, 2)
    (folder / "alertmanager.yml").write_text(text)
    (folder / "secrets").mkdir()
    (folder / "secrets" / "webhook-token").write_text(TOKEN)
    address = f"127.0.0.1:{free_port()}"
    command = [
        program("prometheus-alertmanager", "prometheus-alertmanager"),
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    ]
    with running(command, ready=f"http://{address}/-/ready", folder=folder):
        yield address


@contextmanager
def load(server: RunningServer) -> Iterator[None]:
    """More than the queue holds, from many clients; from one of them what is wrong or too late."""
    over = threading.Event()
    [picture] = pictures(1)

    def client(number: int) -> None:
        with server.client() as client:
            while not over.is_set():
                ask(client, key=f"{number}-{time.monotonic()}")
                client.post("/predict", content=picture, headers={"Content-Type": "image/png"})
                if number == 0:
                    client.post("/predict", json={})
                    ask(client, timeout_ms=5)
                time.sleep(0.05)

    with ThreadPoolExecutor(CLIENTS) as pool:
        asking = [pool.submit(client, number) for number in range(CLIENTS)]
        try:
            yield
        finally:
            over.set()
        assert [future.exception() for future in asking] == [None] * CLIENTS


def filled(expression: str) -> str:
    """The expression as Grafana sends it when all values of its variables are chosen."""
    text = expression.replace("$__rate_interval", "15s")
    return re.sub(r"\$(\w+|\{\w+:regex\})", ".*", text)


def asked_whatever_comes(alert: str) -> str:
    """An alert's expression without its limits: each comparison says 0 or 1 instead."""
    parts = re.split(r"(\{[^}]*\})", alert.replace("absent(", "count("))
    compared = re.compile(r"(==|!=|>=|<=|>|<)")
    return "".join(part if part[:1] == "{" else compared.sub(r"\1 bool", part) for part in parts)


def without_data(prometheus: Prometheus, expressions: dict[str, str]) -> dict[str, str]:
    """Those of which a side has none, however long one waits."""
    missing = {
        f"{name}: {side.strip()}": side
        for name, expression in expressions.items()
        for side in sides(expression)
    }

    def all_there() -> bool:
        for name, expression in [*missing.items()]:
            if prometheus.values(expression):
                del missing[name]
        return not missing

    try:
        eventually(all_there, seconds=PATIENCE)
    except AssertionError:
        return missing
    return {}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_panel_and_every_choice_has_data(monitored, path):
    board = json.loads(path.read_text())
    expressions = {
        f"{panel['title']} {target['refId']}": filled(target["expr"])
        for panel in board["panels"]
        for target in panel.get("targets", ())
        if "expr" in target
    }
    assert without_data(monitored.prometheus, expressions) == {}
    for variable in board["templating"]["list"]:
        if variable["datasource"]["uid"] == "prometheus":
            metric, name = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]).groups()
            assert monitored.prometheus.label_values(metric, name), variable["query"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_question_to_mlflows_database_has_an_answer(monitored, path):
    board = json.loads(path.read_text())
    chosen: dict[str, list[str]] = {}

    with psycopg.connect(monitored.database) as connection:

        def ask_database(text: str) -> list[tuple[Any, ...]]:
            for name, values in chosen.items():
                quoted = ",".join(f"'{value}'" for value in values)
                text = text.replace(f"${{{name}:sqlstring}}", quoted)
            text = re.sub(
                r"\$__unixEpochFilter\((.*?)\)", rf"\1 >= 0 AND \1 <= {int(time.time())}", text
            )
            return connection.execute(text).fetchall()

        for variable in board["templating"]["list"]:
            if variable["datasource"]["uid"] == "mlflow":
                chosen[variable["name"]] = [str(row[-1]) for row in ask_database(variable["query"])]
                assert chosen[variable["name"]]
        empty = {
            panel["title"]
            for panel in board["panels"]
            for target in panel.get("targets", ())
            if "rawSql" in target and not ask_database(target["rawSql"])
        }
    assert empty == set()


def test_every_rule_is_evaluated_and_every_record_and_alert_has_data(monitored):
    recorded = {rule["record"]: rule["record"] for rule in rules("record")}
    computed = {rule["record"]: rule["expr"] for rule in rules("record")}
    alerts = {rule["alert"]: asked_whatever_comes(rule["expr"]) for rule in rules("alert")}
    expressions = computed | alerts
    assert len(expressions) > 25
    assert without_data(monitored.prometheus, recorded) == {}
    assert without_data(monitored.prometheus, expressions) == {}
    groups = monitored.prometheus.get("rules")["groups"]
    states = {(rule["name"], rule["health"]) for group in groups for rule in group["rules"]}
    assert states == {(name, "ok") for name in expressions}


def test_what_the_autoscaler_asks_for_has_data(monitored):
    config = yaml.safe_load((ADAPTER / "config.yaml").read_text())
    here = {"LabelMatchers": 'job="trainyard"', "GroupBy": "instance"}
    expressions = {}
    for rule in config["rules"]:
        known = {**here, "Series": rule["seriesQuery"].partition("{")[0]}
        query = re.sub(
            r"<<\.(\w+)>>", lambda match, known=known: known[match[1]], rule["metricsQuery"]
        )
        expressions[rule["name"]["as"]] = query
    assert without_data(monitored.prometheus, expressions) == {}


def test_an_alert_reaches_the_webhook_which_is_told_the_secret(monitored):
    def told() -> list[dict[str, Any]]:
        alerts = monitored.received.alerts
        return [a for a in alerts if a["labels"]["alertname"] == "TrainyardRolledBack"]

    eventually(lambda: bool(told()), seconds=PATIENCE)
    labels = {"alertname": "TrainyardRolledBack", "severity": "ticket"}
    labels |= {"job": "trainyard", "model": NAME, "version": "2"}
    assert told()[0]["labels"] == labels
    assert told()[0]["status"] == "firing"
    assert told()[0]["annotations"]["summary"] == f"version 2 of {NAME} was rolled back"
    assert monitored.received.authorizations == {f"Bearer {TOKEN}"}


def test_promtool_has_nothing_against_our_metrics(monitored):
    text = httpx.get(f"{monitored.server.url}/metrics").text
    checked = subprocess.run(
        [program("promtool", "prometheus"), "check", "metrics"],
        check=False,
        input=text,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    complaints = [line for line in checked.stderr.splitlines() if not line.startswith("nv_")]
    assert complaints == [], "Triton's names are Triton's business, all others are ours"
