"""What is counted is read from files, some of which are just being made."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from serving.metrics import DIRECTORY_VARIABLE, collect


@pytest.mark.parametrize("content", [b"", bytes(2**16)])
def test_a_file_that_has_just_been_made_has_nothing_to_tell(tmp_path, monkeypatch, content):
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path))
    (tmp_path / "counter_1.db").write_bytes(content)
    assert collect() == []


def test_numbers_are_read_by_prometheus_client_as_its_own(tmp_path):
    script = """
from serving.metrics import MetricsCollector, RequestRecord, collect

collector = MetricsCollector()
record = RequestRecord("/predict", "m", "1", "v", 3, {"infer": 0.002, "queue": 70.0})
for _ in range(2):
    collector.in_flight(record).inc(1)
    collector.request(record, status=200, error="", seconds=0.001)
collector.in_flight(record).inc(-1)
for sample in (sample for metric in collect() for sample in metric.samples if sample.value):
    labels = [sample.labels.get(label, "") for label in ("phase", "le")]
    print(sample.name, *labels, sample.value)
"""
    environment = os.environ | {DIRECTORY_VARIABLE: str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    found = set(done.stdout.splitlines())
    assert {
        "trainyard_requests_total   2.0",
        "trainyard_samples_total   6.0",
        "trainyard_requests_in_flight   1.0",
        "trainyard_request_seconds_sum   0.002",
        "trainyard_request_seconds_count   2.0",
        "trainyard_request_seconds_bucket  0.001 2.0",
        "trainyard_phase_seconds_bucket infer 0.0025 2.0",
        "trainyard_phase_seconds_bucket queue +Inf 2.0",
        "trainyard_phase_seconds_count queue  2.0",
        "trainyard_phase_seconds_sum queue  140.0",
    } <= found
    assert not any(line.startswith("trainyard_request_seconds_bucket  0.0005") for line in found)
    assert not any(line.startswith("trainyard_phase_seconds_bucket queue 60") for line in found)
