"""The files of deploy/monitoring, read by the tools that will read them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.monitoring.dashboards.__main__ import FOLDER, dashboards
from tests.deploy.absence import absent
from tests.deploy.prometheus import sides

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
PROMETHEUS = MONITORING / "prometheus"
RULES = sorted(PROMETHEUS.glob("rules/*.yml"))
"""Names of our metrics, of those recorded from them, and of Triton's."""
DOCUMENTED = [ROOT / "docs" / name for name in ("serving.md", "rollout.md", "monitoring.md")]
METRIC = re.compile(r"\b(?:[a-z_]+:)?(?:trainyard|nv)_[a-z_]+(?::[a-z0-9_]+)?")


def tool(*command: str) -> str:
    """What it prints; skips where Prometheus's tools are not installed."""
    if shutil.which(command[0]) is None:
        absent(f"{command[0]} is not installed (Debian: prometheus, prometheus-alertmanager)")
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules(kind: str) -> list[dict[str, str]]:
    """Every rule that has the key `record` or `alert`."""
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def test_prometheus_takes_its_configuration_and_its_rules():
    shown = tool("promtool", "check", "config", "--lint-fatal", str(PROMETHEUS / "prometheus.yml"))
    assert f"{len(RULES)} rule files found" in shown


def test_every_alert_fires_when_it_should_and_only_then():
    tests = PROMETHEUS / "tests" / "alerts.yml"
    tool("promtool", "test", "rules", str(tests))
    tried = [
        (case["alertname"], bool(case.get("exp_alerts")))
        for test in yaml.safe_load(tests.read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    names = {rule["alert"] for rule in rules("alert")}
    assert set(tried) == {(name, fires) for name in names for fires in (True, False)}


def test_alertmanager_takes_its_configuration():
    tool("amtool", "check-config", str(MONITORING / "alertmanager" / "alertmanager.yml"))


def test_alerts_that_are_routed_or_inhibited_exist():
    text = (MONITORING / "alertmanager" / "alertmanager.yml").read_text()
    assert set(re.findall(r"Trainyard\w+", text)) <= {rule["alert"] for rule in rules("alert")}


def test_the_runbook_has_a_section_for_every_alert_and_none_besides():
    runbook = (ROOT / "docs" / "monitoring.md").read_text()
    sections = re.findall(r"^### (Trainyard\w+)$", runbook, re.MULTILINE)
    assert sections == [rule["alert"] for rule in rules("alert")]


def test_sides_of_an_expression_are_asked_one_by_one():
    assert sides("a > 1") == ["a > 1"]
    assert sides("sum(a) or vector(0)") == ["sum(a) ", " vector(0)"]
    assert sides("sum by (b) ((a > 0) or 0 * c) / (d)") == [
        "sum by (b) ((a > 0) ) / (d)",
        "sum by (b) ( 0 * c) / (d)",
    ]
    assert sides("a or (b or c)") == ["a ", " (b )", " ( c)"]


def test_dashboards_are_what_their_code_makes():
    made = dashboards()
    assert {path.name for path in made} == {path.name for path in FOLDER.iterdir()}
    for path, text in made.items():
        assert path.read_text() == text, "run python -m deploy.monitoring.dashboards"


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.stem)
def test_grafanas_schema_knows_every_field_of_a_dashboard(path):
    written = json.loads(path.read_text())
    read = json.loads(json.dumps(Dashboard.from_json(written), cls=JSONEncoder))
    for panel in written["panels"]:  # the SDK has no type for queries of PostgreSQL
        if panel.get("datasource", {}).get("uid") == "mlflow":
            panel["targets"] = []
    for panel in read["panels"]:
        if panel.get("datasource", {}).get("uid") == "mlflow":
            panel["targets"] = []
    assert read == written


def test_dashboards_ask_the_data_sources_that_are_provisioned():
    provisioned = yaml.safe_load(
        (MONITORING / "grafana/provisioning/datasources/trainyard.yml").read_text()
    )
    known = {(source["uid"], source["type"]) for source in provisioned["datasources"]}
    asked = set()
    for path in FOLDER.iterdir():
        board = json.loads(path.read_text())
        for part in [*board["panels"], *board["templating"]["list"]]:
            if part["type"] != "row":
                asked.add((part["datasource"]["uid"], part["datasource"]["type"]))
    assert asked == known


def test_metrics_that_are_asked_for_are_documented_or_recorded():
    documented = " ".join(path.read_text() for path in DOCUMENTED)
    recorded = {rule["record"] for rule in rules("record")}
    expressions = [rule["expr"] for rule in [*rules("record"), *rules("alert")]]
    expressions += [text for path in FOLDER.iterdir() for text in path.read_text().splitlines()]
    asked = {name for text in expressions for name in METRIC.findall(text)}
    assert len(asked) > 40
    unknown = {
        name
        for name in asked - recorded
        if f"`{re.sub(r'_(bucket|sum|count)$', '', name)}" not in documented
        and f"`{name}" not in documented
    }
    assert unknown == set()
